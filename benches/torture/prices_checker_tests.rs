//! Tests the checker of the prices: clients without a violation, and one for each violation that it must find.

use std::time::Duration;

use super::{
    prices_checker::{AT_ONCE, Client, Received, Report, Stream, What, check},
    stream::Hello,
};

const SYMBOLS: [&str; 3] = ["ACME", "INIT", "ZETA"];
/// The first prices of each client of these tests come in the first second.
const BEGIN: Duration = Duration::from_secs(1);

fn symbol(offset: u64) -> &'static str {
    SYMBOLS[(offset % 3) as usize]
}

fn price(offset: u64, at: Duration) -> Received {
    let what = What::Price {
        symbol: symbol(offset).into(),
        data: format!("price {offset}"),
    };
    let place = ("abc".into(), offset);
    Received { place, at, what }
}

fn other(offset: u64) -> Received {
    Received {
        what: What::Other,
        ..price(offset, BEGIN)
    }
}

fn hello(epoch: &str, offset: u64, recovered: bool, replayed: usize) -> Hello {
    Hello {
        epoch: epoch.into(),
        offset,
        recovered,
        replayed,
    }
}

/// A stream that begins anew at an offset, with these prices.
fn anew(after: Option<u64>, offset: u64, prices: impl IntoIterator<Item = u64>) -> Stream {
    let snapshot = Received {
        what: What::Snapshot,
        ..price(offset, BEGIN)
    };
    let prices = prices.into_iter().map(|offset| price(offset, BEGIN));
    Stream {
        after: after.map(|after| ("abc".into(), after)),
        hello: hello("abc", offset, false, 0),
        received: [snapshot].into_iter().chain(prices).collect(),
        ended: BEGIN,
    }
}

/// A stream that goes on after an offset, of whose prices so many are replayed.
fn resumed(after: u64, replayed: usize, prices: impl IntoIterator<Item = u64>) -> Stream {
    Stream {
        hello: hello("abc", after, true, replayed),
        received: prices
            .into_iter()
            .map(|offset| price(offset, BEGIN))
            .collect(),
        ..anew(Some(after), after, [])
    }
}

/// The first client has seen everything.
fn checked(streams: impl IntoIterator<Item = Stream>, wanted: Option<&str>) -> Report {
    let all = Client {
        number: 0,
        symbol: None,
        streams: vec![anew(None, 0, 1..=30)],
    };
    let other = Client {
        number: 1,
        symbol: wanted.map(str::to_owned),
        streams: streams.into_iter().collect(),
    };
    check(&[all, other])
}

#[track_caller]
fn is_right(streams: impl IntoIterator<Item = Stream>, wanted: Option<&str>) -> Report {
    let report = checked(streams, wanted);
    assert_eq!(report.violations, [] as [String; 0]);
    report
}

#[track_caller]
fn finds(words: &str, streams: impl IntoIterator<Item = Stream>, wanted: Option<&str>) {
    let violations = checked(streams, wanted).violations;
    let found = violations.iter().any(|violation| violation.contains(words));
    assert!(found, "{words:?} is not among {violations:?}");
}

#[test]
fn each_price_once_in_order_over_resumes_and_new_beginnings_is_right() {
    let streams = [
        anew(None, 3, 4..=9),
        resumed(9, 3, 10..=15),
        resumed(15, 0, []),
        anew(Some(15), 20, 21..=25),
        resumed(25, 5, 26..=27),
    ];
    let report = is_right(streams, None);
    assert_eq!(
        (report.streams, report.recovered, report.refused),
        (6, 3, 1)
    );
    assert_eq!(
        (report.epochs, report.published, report.conflated),
        (1, 30, 0)
    );
}

#[test]
fn a_client_of_one_symbol_gets_only_that_one_and_heartbeats_move_it_on() {
    let mut first = anew(None, 3, [4, 7]);
    first.received.push(other(9));
    is_right([first.clone(), resumed(9, 2, [10, 13])], Some("INIT"));
    finds(
        "is not among its symbols",
        [anew(None, 3, [4, 5])],
        Some("INIT"),
    );
    first.received.push(other(11));
    first.ended += 2 * AT_ONCE;
    finds("the price 10 of INIT was left out", [first], Some("INIT"));
}

#[test]
fn a_newer_price_of_the_symbol_may_come_at_once_and_not_later() {
    let conflated = anew(None, 3, [4, 6, 8, 10]);
    let report = is_right([conflated.clone()], None);
    assert_eq!(report.conflated, 3);
    let mut late = conflated.clone();
    late.received[3].at += 2 * AT_ONCE;
    late.received[4].at += 2 * AT_ONCE;
    finds("the price 5 of ZETA was left out", [late], None);
    let mut never = conflated;
    never.received.truncate(3);
    is_right([never.clone()], None);
    never.ended += 2 * AT_ONCE;
    finds("the price 5 of ZETA was left out", [never], None);
}

#[test]
fn a_price_twice_or_out_of_order_is_found() {
    finds("abc-5 came after abc-5", [anew(None, 3, [4, 5, 5])], None);
    finds("abc-5 came after abc-6", [anew(None, 3, [4, 6, 5])], None);
    finds(
        "abc-9 came after abc-9",
        [anew(None, 3, 4..=9), resumed(9, 2, 9..=11)],
        None,
    );
}

#[test]
fn a_price_that_is_missing_after_a_resume_is_found() {
    let first = anew(None, 3, 4..=9);
    finds(
        "abc-10 is missing before abc-11",
        [first.clone(), resumed(9, 5, 11..=15)],
        None,
    );
    finds(
        "abc-12 is missing before abc-13",
        [first, resumed(9, 4, [10, 11, 13])],
        None,
    );
}

#[test]
fn a_wrong_beginning_is_found() {
    let first = anew(None, 3, 4..=9);
    let mut elsewhere = resumed(9, 0, []);
    elsewhere.hello.offset = 8;
    finds("was recovered at", [first.clone(), elsewhere], None);
    finds("its last id was", [first.clone(), resumed(8, 0, [])], None);
    let mut bare = anew(Some(9), 12, 13..=14);
    bare.received.remove(0);
    finds("1 of the stream is", [first.clone(), bare], None);
    let mut older = anew(Some(9), 12, []);
    older.received[0].place.1 = 11;
    finds("the snapshot is of", [first, older], None);
}

#[test]
fn another_epoch_on_a_stream_and_two_prices_under_one_id_are_found() {
    let mut foreign = anew(None, 3, 4..=6);
    foreign.received[2].place.0 = "other".into();
    finds("came on a stream of abc", [foreign], None);
    let mut changed = anew(None, 3, 4..=6);
    changed.received[1].what = price(7, BEGIN).what;
    finds("two prices have the id abc-4", [changed], None);
}
