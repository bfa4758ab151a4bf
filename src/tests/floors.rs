//! Tests the floors of the modules: imports point down, and no two files import each other, directly or indirectly.
//!
//! `docs/architecture.md` shows the floors as a picture; `src/lib.rs` documents them in this order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules of the application, from low to high. Modules of one floor do not import each other.
const FLOORS: &[&[&str]] = &[
    &["background"],
    &["web"],
    &["ui"],
    &["bus"],
    &["session"],
    &["guard"],
    &["routes"],
    &["inspector"],
    &["ticker", "progress", "chat", "collab", "home"],
    &["settings", "app"],
    &["server"],
    &["lib", "main"],
];

/// A source file with the paths that it names.
struct Source {
    /// The module path, as in `["chat", "server", "room"]`; empty for `lib.rs`.
    module: Vec<String>,
    /// A line number, and an absolute path of this crate.
    paths: Vec<(usize, Vec<String>)>,
}

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The sources below a folder, by their path from there. Tests stand above all floors.
fn sources(folder: &str) -> BTreeMap<String, Source> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root(folder)]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root(folder)).unwrap();
            let name = name.to_str().unwrap().to_owned();
            if path.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !is_test(&name) {
                let source = read(&name, &fs::read_to_string(&path).unwrap());
                found.insert(name, source);
            }
        }
    }
    found
}

fn is_test(name: &str) -> bool {
    name.ends_with("_tests.rs") || name.ends_with("/tests.rs") || name.ends_with("test_client.rs")
}

fn read(name: &str, text: &str) -> Source {
    let mut module: Vec<String> = name
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if ["mod", "lib", "main"].contains(&module[module.len() - 1].as_str()) {
        module.pop();
    }
    // Only the code before the tests, which end the file.
    let text = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let mut paths = vec![];
    for (line, path) in named_paths(text) {
        let mut absolute = match path[0].as_str() {
            "crate" => vec![],
            _ => module.clone(),
        };
        for segment in &path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(absolute.pop()),
                other => absolute.push(other.to_owned()),
            }
        }
        paths.push((line, absolute));
    }
    Source { module, paths }
}

/// Every path that begins with `crate`, `self` or `super`, with its line number. The trees of `use` are expanded.
fn named_paths(text: &str) -> Vec<(usize, Vec<String>)> {
    let (mut found, mut line) = (vec![], 1);
    // The prefixes of the open braces, each with the segments before it.
    let mut open: Vec<Vec<String>> = vec![];
    let mut path: Vec<String> = vec![];
    let mut word = String::new();
    let mut in_use = false;
    let code = without_comments(text);
    let mut characters = code.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\n' {
            line += 1;
        }
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        let ended = std::mem::take(&mut word);
        if character == ':' && characters.peek() == Some(&':') {
            characters.next();
            path.push(ended);
            if in_use && characters.peek() == Some(&'{') {
                characters.next();
                let mut prefix = open.last().cloned().unwrap_or_default();
                prefix.append(&mut path);
                open.push(prefix);
            }
            continue;
        }
        if ended == "use" {
            in_use = true;
            continue;
        }
        if !ended.is_empty() && ended != "as" {
            path.push(ended);
        }
        // The name after `as` is not part of a path.
        let renamed = character == ' ' && in_use && code_follows(&characters, "as ");
        if !(path.is_empty() || in_use && character == ' ' && !renamed) {
            let mut whole = open.last().cloned().unwrap_or_default();
            whole.append(&mut path);
            if ["crate", "self", "super"].contains(&whole[0].as_str()) && whole.len() > 1 {
                found.push((line, whole));
            }
        }
        path.clear();
        match character {
            '}' if in_use => drop(open.pop()),
            ';' if in_use => {
                in_use = false;
                open.clear();
            }
            _ => {}
        }
    }
    found
}

fn code_follows(characters: &std::iter::Peekable<std::str::Chars<'_>>, text: &str) -> bool {
    characters.clone().take(text.len()).collect::<String>() == text
}

/// The code without line comments, line by line.
fn without_comments(text: &str) -> String {
    let code = |line: &str| match line.find("//") {
        Some(at) if !line[..at].contains('"') => line[..at].to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    text.lines().map(code).collect()
}

fn floor_of(module: &[String]) -> Option<usize> {
    let name = module.first().map_or("lib", String::as_str);
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// The violations in the imports of these sources, one line each.
fn imports_that_point_up(sources: &BTreeMap<String, Source>) -> Vec<String> {
    let mut wrong = vec![];
    for (name, source) in sources {
        let Some(from) = floor_of(&source.module) else {
            wrong.push(format!("src/{name}: its module stands on no floor"));
            continue;
        };
        for (line, path) in &source.paths {
            // A path to an item of the crate's root.
            let Some(to) = path.first().and_then(|_| floor_of(&path[..1])) else {
                continue;
            };
            let same = source.module.first() == path.first();
            if to > from || (to == from && !same && FLOORS[from].len() > 1) {
                wrong.push(format!(
                    "src/{name}:{line}: {} (floor {from}) imports {} (floor {to})",
                    source.module.first().map_or("lib", String::as_str),
                    path.join("::"),
                ));
            }
        }
    }
    wrong
}

/// The files that each file imports.
fn graph(sources: &BTreeMap<String, Source>) -> BTreeMap<&str, BTreeSet<&str>> {
    let by_module: BTreeMap<&[String], &str> = sources
        .iter()
        .filter(|(name, _)| name.as_str() != "main.rs")
        .map(|(name, source)| (source.module.as_slice(), name.as_str()))
        .collect();
    let file_of = |path: &[String]| {
        (1..=path.len())
            .rev()
            .find_map(|length| by_module.get(&path[..length]).copied())
    };
    sources
        .iter()
        .map(|(name, source)| {
            let files = source.paths.iter().filter_map(|(_, path)| file_of(path));
            (
                name.as_str(),
                files.filter(|file| *file != name.as_str()).collect(),
            )
        })
        .collect()
}

/// A cycle of imports from a file back to itself, if there is one.
fn cycle<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        let mut way: Vec<(&str, Vec<&str>)> = vec![(start, next_of(graph, start))];
        while let Some((_, next)) = way.last_mut() {
            let Some(file) = next.pop() else {
                let (file, _) = way.pop().unwrap();
                done.insert(file);
                continue;
            };
            if let Some(at) = way.iter().position(|(step, _)| *step == file) {
                return Some(way[at..].iter().map(|(step, _)| *step).collect());
            }
            if !done.contains(file) {
                way.push((file, next_of(graph, file)));
            }
        }
    }
    None
}

fn next_of<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, file: &str) -> Vec<&'a str> {
    graph
        .get(file)
        .map(|files| files.iter().copied().collect())
        .unwrap_or_default()
}

#[test]
fn every_import_points_down() {
    let wrong = imports_that_point_up(&sources("src"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_files_import_each_other_directly_or_indirectly() {
    for folder in ["src", "realtime/src"] {
        let sources = sources(folder);
        assert_eq!(cycle(&graph(&sources)), None, "in {folder}");
    }
}

#[test]
fn an_import_that_points_up_is_named_with_its_line_and_both_floors() {
    let planted = "//! A feature.\nuse std::io;\n\nuse crate::{\n    bus::Bus,\n    server::state::AppState,\n};\n";
    let sources = BTreeMap::from([("chat/log.rs".to_owned(), read("chat/log.rs", planted))]);
    let wrong = imports_that_point_up(&sources);
    assert_eq!(
        wrong,
        ["src/chat/log.rs:6: chat (floor 8) imports server::state::AppState (floor 10)"]
    );
    let sibling = read("chat/log.rs", "use crate::ticker::message::Quote;\n");
    let sources = BTreeMap::from([("chat/log.rs".to_owned(), sibling)]);
    assert_eq!(imports_that_point_up(&sources).len(), 1);
}

#[test]
fn a_cycle_through_a_third_file_is_found() {
    let source = |name: &str, text: &str| (name.to_owned(), read(name, text));
    let sources = BTreeMap::from([
        source("chat/a.rs", "use super::b::B;\n"),
        source("chat/b.rs", "use super::{c as other, d::D as E};\n"),
        source("chat/c.rs", "fn f() { crate::chat::a::go() }\n"),
        source("chat/d.rs", ""),
    ]);
    let cycle = cycle(&graph(&sources));
    assert_eq!(cycle, Some(vec!["chat/a.rs", "chat/b.rs", "chat/c.rs"]));
}
