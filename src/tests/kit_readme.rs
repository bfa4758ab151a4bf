//! Compares the kit's README with the tests that it names as sources of its claims.

use std::{collections::BTreeSet, fs, path::Path};

const README: &str = include_str!("../../realtime/README.md");

/// The text of all Rust files and browser tests below a folder.
fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The texts in backticks of the sources of the kit: those from "Kit:" up to the first alternative.
fn cited() -> BTreeSet<&'static str> {
    let sources = README
        .split("\nSources.")
        .nth(1)
        .expect("the list of sources");
    let of_the_kit = sources.split("Kit:").skip(1);
    let of_the_kit = of_the_kit.map(|entry| entry.split("leptos-use:").next().unwrap_or(entry));
    let of_the_kit = of_the_kit.map(|entry| entry.split("leptos_ws:").next().unwrap_or(entry));
    of_the_kit
        .flat_map(|entry| entry.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for folder in ["realtime/src", "realtime/tests", "src/tests"] {
        read_all(&root.join(folder), &mut sources);
    }
    let cited = cited();
    let is_test = |name: &&&str| name.matches('_').count() >= 3 && !name.contains(['.', '/', ' ']);
    let missing: Vec<_> = cited
        .iter()
        .filter(is_test)
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert_eq!(missing, [&""; 0], "no such test");
    let specs = cited.iter().filter(|name| name.ends_with(".spec.ts"));
    let gone: Vec<_> = specs
        .filter(|name| !root.join("end2end").join(name).is_file())
        .collect();
    assert_eq!(gone, [&""; 0], "no such browser test");
    assert!(cited.len() > 40, "{} sources", cited.len());
}
