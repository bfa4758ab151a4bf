//! The machine, and the versions of everything that was measured.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{machine, options::Options};

const PACKAGES: [&str; 5] = ["ws", "socket.io", "uwebsockets", "express", "compression"];
const CRATES: [&str; 3] = ["axum", "hyper", "tokio"];

/// Names and versions.
pub fn all(options: &Options) -> Result<Vec<(String, String)>> {
    let commit = said("git", &["rev-parse", "--short=10", "HEAD"])?;
    let changes = said("git", &["status", "--porcelain", "--untracked-files=no"])?;
    let commit = if changes.is_empty() {
        commit
    } else {
        format!("{commit}, with changes")
    };
    let mut versions = vec![
        ("date".into(), said("date", &["-u", "+%Y-%m-%d"])?),
        ("processor".into(), machine::processor()),
        ("kernel".into(), machine::kernel()),
        ("commit".into(), commit),
        (
            "rustc".into(),
            said("rustc", &["--version"])?.replace("rustc ", ""),
        ),
        ("Node.js".into(), said("node", &["--version"])?),
    ];
    for name in CRATES {
        let lock = include_str!("../../Cargo.lock");
        let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
        let version = entry.and_then(|(_, rest)| rest.split('"').next());
        versions.push((name.into(), version.context(name)?.into()));
    }
    for name in PACKAGES {
        let file = options
            .node
            .join("node_modules")
            .join(name)
            .join("package.json");
        let package = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let package: Value = serde_json::from_str(&package)?;
        versions.push((
            name.into(),
            package["version"].as_str().context(name)?.into(),
        ));
    }
    Ok(versions)
}

/// What a program prints.
fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| program.to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
