//! Tests the checker of the jobs: watched jobs without a violation, and one for each violation that it must find.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    jobs_checker::{Event, Report, Stream, Watch, check},
    stream::Hello,
};

fn event(name: &str, offset: u64, data: Value) -> Event {
    let (name, place) = (name.into(), ("abc".into(), offset));
    Event { name, place, data }
}

fn progress(name: &str, offset: u64, done: u64) -> Event {
    event(name, offset, json!({"status": "running", "done": done}))
}

fn done(offset: u64) -> Event {
    event("done", offset, json!({"result": {"steps": 9}}))
}

/// A stream from an offset on: of a client that comes with it, or that begins.
fn stream(offset: u64, recovered: bool, events: Vec<Event>) -> Stream {
    Stream {
        after: recovered.then(|| ("abc".into(), offset)),
        hello: Hello {
            epoch: "abc".into(),
            offset,
            recovered,
            replayed: 0,
        },
        events,
    }
}

fn watch(streams: Vec<Stream>) -> Watch {
    Watch {
        job: "job".into(),
        streams,
        refused: BTreeMap::new(),
        finished: true,
    }
}

/// A client that begins, resumes and sees the end.
fn right() -> Watch {
    watch(vec![
        stream(
            2,
            false,
            vec![progress("state", 2, 1), progress("progress", 3, 2)],
        ),
        stream(3, true, vec![progress("progress", 4, 5), done(5)]),
    ])
}

fn view() -> Value {
    json!({"id": "job", "status": "done", "done": 9, "result": {"steps": 9}})
}

fn checked(watches: &[Watch], views: Vec<Value>) -> Report {
    check(watches, &BTreeMap::from([("job".to_owned(), views)]))
}

#[track_caller]
fn finds(words: &str, watches: &[Watch]) {
    let violations = checked(watches, vec![view(), view()]).violations;
    let found = violations.iter().any(|violation| violation.contains(words));
    assert!(found, "{words:?} is not among {violations:?}");
}

#[test]
fn clients_that_see_one_end_are_right() {
    let report = checked(&[right(), right()], vec![view(), view(), view()]);
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!((report.streams, report.recovered, report.events), (4, 2, 8));
    assert_eq!(report.ends, BTreeMap::from([("done".to_owned(), 1)]));
}

#[test]
fn a_new_beginning_may_be_older_and_the_end_may_be_told_again() {
    let mut late = stream(
        3,
        false,
        vec![progress("state", 3, 1), progress("progress", 4, 5), done(5)],
    );
    late.after = Some(("abc".into(), 3));
    let mut again = stream(4, false, vec![progress("state", 4, 5), done(5)]);
    again.after = Some(("abc".into(), 5));
    let report = checked(
        &[watch(vec![right().streams.remove(0), late, again])],
        vec![view()],
    );
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!((report.set_back, report.repeated), (1, 1));
}

#[test]
fn a_hole_and_a_repeated_step_are_found() {
    for offset in [4, 6] {
        let mut broken = right();
        broken.streams[1].events[1].place.1 = offset;
        finds("came where 5 comes next", &[broken]);
    }
}

#[test]
fn progress_that_goes_back_is_found() {
    let mut broken = right();
    broken.streams[1].events[0].data["done"] = 1.into();
    finds("went back from (1, 2) to (1, 1)", &[broken.clone()]);
    broken.streams[1].events[0].data["status"] = "queued".into();
    finds("went back from (1, 2) to (0, 1)", &[broken]);
}

#[test]
fn a_wrong_beginning_is_found() {
    let mut elsewhere = right();
    elsewhere.streams[1].hello.offset = 2;
    finds("was recovered at", &[elsewhere]);
    let mut forgotten = right();
    forgotten.streams[1].after = None;
    finds("its last id was", &[forgotten]);
    let mut bare = right();
    bare.streams[0].events.remove(0);
    finds("1 of the stream is", &[bare]);
}

#[test]
fn an_end_that_is_missing_or_followed_by_something_is_found() {
    let mut endless = right();
    endless.streams[1].events.pop();
    finds("which never came", &[endless.clone()]);
    endless.finished = false;
    finds("never saw the end", &[endless]);
    let mut untold = right();
    untold.finished = false;
    finds("is not told that it has", &[untold]);
    let mut more = right();
    more.streams[1].events.push(progress("progress", 6, 9));
    finds("came after the end", &[more]);
}

#[test]
fn two_ends_are_found_at_one_client_at_two_and_at_the_nodes() {
    let failed = |offset| event("failed", offset, json!({"error": "It was lost."}));
    let mut other = right();
    other.streams[1].events[1] = failed(5);
    finds("another one failed", &[right(), other.clone()]);
    finds("and a node says", &[other]);
    let mut twice = right();
    let mut again = stream(5, true, vec![failed(6)]);
    again.after = Some(("abc".into(), 5));
    twice.streams.push(again);
    finds("then failed", &[twice]);
    let mut differs = view();
    differs["done"] = 8.into();
    let violations = checked(&[right()], vec![view(), differs]).violations;
    assert!(violations[0].contains("and a node says"), "{violations:?}");
}

#[test]
fn a_failure_without_words_is_found() {
    let mut mute = right();
    mute.streams[1].events[1] = event("failed", 5, json!({"error": ""}));
    finds("failed without words", &[mute]);
}
