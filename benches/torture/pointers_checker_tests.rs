//! Tests the comparison of the pointers: views that agree, and one for each difference that it must find.

use super::pointers_checker::{View, differences};

fn place(id: u64) -> (u32, u32) {
    (id as u32 * 10, id as u32 * 20)
}

/// Clients that all see each other.
fn views(ids: &[u64]) -> Vec<View> {
    let view = |id: &u64| View {
        id: Some(*id),
        moved: Some(place(*id)),
        peers: ids
            .iter()
            .filter(|other| *other != id)
            .map(|other| (*other, Some(place(*other))))
            .collect(),
    };
    ids.iter().map(view).collect()
}

#[track_caller]
fn finds(views: &[View], expected: &str) {
    assert_eq!(differences(views), [expected]);
}

#[test]
fn views_that_agree_differ_in_nothing() {
    assert_eq!(differences(&views(&[3, 5, 9])), [] as [String; 0]);
}

#[test]
fn a_peer_that_is_unknown_or_gone_or_elsewhere_is_found() {
    let all = views(&[3, 5, 9]);
    let mut unknown = all.clone();
    unknown[1].peers.remove(&9);
    finds(&unknown, "client 1 sees of its peers 1 unknown");
    let mut ghost = all.clone();
    ghost[0].peers.insert(7, Some((1, 1)));
    finds(&ghost, "client 0 sees of its peers 1 gone and still there");
    let mut elsewhere = all.clone();
    elsewhere[2].peers.insert(3, Some((1, 1)));
    elsewhere[2].peers.insert(5, None);
    finds(&elsewhere, "client 2 sees of its peers 2 at another place");
    let mut own = all;
    own[0].peers.insert(3, Some(place(3)));
    finds(&own, "client 0 sees of its peers 1 gone and still there");
}

#[test]
fn a_client_that_is_away_and_an_id_that_two_have_are_found() {
    let mut away = views(&[3, 5]);
    away.push(View::default());
    finds(&away, "client 2 is not connected");
    finds(&views(&[3, 3]), "client 1 has the id 3, as another one has");
}
