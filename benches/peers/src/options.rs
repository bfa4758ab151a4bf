//! What the command line says.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::workloads::{CHAT, EVENTS, MEMORY, PAGES, STORM, TICKS};

pub const HELP: &str = "Measures Wirewise beside servers that do the same with other tools.

Usage: wirewise-peers run [OPTIONS]    (from the folder of the repository: make bench)

  --quick              one short round: shows that all of it works, and roughly where things stand
  --rounds NUMBER      rounds of the full benchmark (5)
  --only WORKLOAD      measures one workload, and leaves the document as it is: events, ticks, chat, memory, storm, pages
  --wirewise FILE      the release of the server (target/release/wirewise)
  --site-root FOLDER   its files for the browser (target/site)
  --node FOLDER        the peers for Node.js (benches/peers/node)
  --work FOLDER        data folders and raw results (target/peers)
  --results FILE       the document whose tables are replaced (benches/RESULTS.md)
  --picture FILE       the picture (benches/results.svg)";

/// What can be measured alone.
const WORKLOADS: [&str; 6] = [EVENTS, TICKS, CHAT, MEMORY, STORM, PAGES];

pub struct Options {
    pub quick: bool,
    pub rounds: usize,
    pub only: Option<String>,
    pub wirewise: PathBuf,
    pub site_root: PathBuf,
    pub node: PathBuf,
    pub work: PathBuf,
    pub results: PathBuf,
    pub picture: PathBuf,
}

/// How long and how much: the quick run shows that everything works, the full one measures.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub warm_up: Duration,
    pub span: Duration,
    pub pages: Duration,
    /// Connections whose memory is compared.
    pub idle: usize,
    /// Streams that a storm cuts.
    pub storm: usize,
}

impl Options {
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut options = Self {
            quick: false,
            rounds: 5,
            only: None,
            wirewise: absolute("target/release/wirewise".as_ref())?,
            site_root: absolute("target/site".as_ref())?,
            node: absolute("benches/peers/node".as_ref())?,
            work: absolute("target/peers".as_ref())?,
            results: absolute("benches/RESULTS.md".as_ref())?,
            picture: absolute("benches/results.svg".as_ref())?,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            if name == "--quick" {
                options.quick = true;
                options.rounds = 1;
                continue;
            }
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value.\n\n{HELP}"))?;
            let path = || absolute(value.as_ref());
            let text = value.to_string_lossy();
            match name.as_str() {
                "--rounds" => options.rounds = text.parse().context("--rounds takes a number")?,
                "--only" if WORKLOADS.contains(&text.as_ref()) => {
                    options.only = Some(text.into_owned());
                }
                "--only" => bail!("--only takes one of: {}", WORKLOADS.join(", ")),
                "--wirewise" => options.wirewise = path()?,
                "--site-root" => options.site_root = path()?,
                "--node" => options.node = path()?,
                "--work" => options.work = path()?,
                "--results" => options.results = path()?,
                "--picture" => options.picture = path()?,
                _ => bail!("{name} is not known.\n\n{HELP}"),
            }
        }
        if options.rounds == 0 {
            bail!("--rounds takes a number above 0");
        }
        options.expect_files()?;
        Ok(options)
    }

    fn expect_files(&self) -> Result<()> {
        if !self.wirewise.exists() || !self.site_root.exists() {
            bail!(
                "{} or its site is not there. Build it with: make build",
                self.wirewise.display()
            );
        }
        if !self.node.join("node_modules").exists() {
            bail!(
                "The packages of the peers are not installed: npm ci in {}",
                self.node.display()
            );
        }
        Ok(())
    }

    pub fn scale(&self) -> Scale {
        if self.quick {
            return Scale {
                warm_up: Duration::from_millis(300),
                span: Duration::from_secs(1),
                pages: Duration::from_secs(1),
                idle: 400,
                storm: 1_000,
            };
        }
        Scale {
            warm_up: Duration::from_secs(1),
            span: Duration::from_secs(5),
            pages: Duration::from_secs(5),
            idle: 2_000,
            storm: 5_000,
        }
    }
}

/// Servers run in folders of their own.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
