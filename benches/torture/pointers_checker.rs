//! Compares what each client knows of the pointers on a board with where their owners moved them last.

use std::collections::{BTreeMap, BTreeSet};

/// In ten-thousandths of the board's width and height, as the server rounds them.
pub type Point = (u32, u32);

/// What one client knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its own id, while it is connected.
    pub id: Option<u64>,
    /// Where it has moved its pointer on this connection.
    pub moved: Option<Point>,
    /// The others.
    pub peers: BTreeMap<u64, Option<Point>>,
}

/// What differs: a line for each client.
pub fn differences(views: &[View]) -> Vec<String> {
    let owned: BTreeMap<u64, Option<Point>> = views
        .iter()
        .filter_map(|view| Some((view.id?, view.moved)))
        .collect();
    let mut found = vec![];
    let mut ids = BTreeSet::new();
    for (number, view) in views.iter().enumerate() {
        let Some(id) = view.id else {
            found.push(format!("client {number} is not connected"));
            continue;
        };
        if !ids.insert(id) {
            found.push(format!(
                "client {number} has the id {id}, as another one has"
            ));
        }
        let others = || owned.iter().filter(|(other, _)| **other != id);
        let unknown = others().filter(|(other, _)| !view.peers.contains_key(other));
        let ghosts = view
            .peers
            .keys()
            .filter(|peer| **peer == id || !owned.contains_key(peer));
        let elsewhere = others().filter(|(other, place)| {
            let seen = view.peers.get(other);
            seen.is_some_and(|seen| seen != *place)
        });
        let counts = [
            ("unknown", unknown.count()),
            ("gone and still there", ghosts.count()),
            ("at another place", elsewhere.count()),
        ];
        let wrong: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        if !wrong.is_empty() {
            found.push(format!(
                "client {number} sees of its peers {}",
                wrong.join(", ")
            ));
        }
    }
    found
}
