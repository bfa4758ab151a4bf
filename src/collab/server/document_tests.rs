//! Tests the guarded document: what it refuses, and what it survives.

use proptest::prelude::*;
use yrs::{Any, Array, Text};

use super::*;
use crate::collab::{fuzzing, protocol::write_number, server::test_client::TestClient};

/// Makes `apply_update` of yrs 0.28.1 panic, and then the transaction's destructor, which would abort the process.
const REPRODUCER: &str = "0104fcfeb288b8f2800b00010107636f6e74656e749bffffffff0f84fcfeb288b8f2800b03066f2061626364c4fcfeb288b8f2800b03fcfeb288b8f2800b040a68656c6c6f2061626364c4fcfeb288b8f2800b03fcfeb288b8f2800b0a0a68656c6c6f206162636401fcfeb288b8f2800b010004";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    let pair = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(pair).collect()
}

fn of(updates: &[Vec<u8>]) -> Document {
    let mut document = Document::default();
    for update in updates {
        document.take(update).unwrap();
    }
    document
}

#[test]
fn an_update_is_applied_once_and_passed_on_unchanged() {
    let ana = TestClient::new(1);
    let hello = ana.insert(0, "hello");
    let mut document = Document::default();
    let applied = document.take(&hello).unwrap();
    assert_eq!(document.text(), "hello");
    assert!(!applied.incomplete);
    let ben = TestClient::new(2);
    ben.apply(&applied.change.unwrap());
    assert_eq!(ben.string(), "hello");
    assert_eq!(document.take(&hello).unwrap(), Applied::default());
    assert_eq!(document.state_vector(), ana.state_vector());
    assert_eq!(ben.state_vector(), ana.state_vector());
    assert_eq!(of(&[hello, ana.remove(1, 3)]).text(), "ho");
}

#[test]
fn an_update_that_builds_on_unknown_ones_is_not_kept_but_requested() {
    let ana = TestClient::new(1);
    let updates = [
        ana.insert(0, "one "),
        ana.insert(4, "two"),
        ana.remove(0, 4),
    ];
    let mut document = Document::default();
    let ahead = document.take(&updates[1]).unwrap();
    assert_eq!((ahead.change, ahead.incomplete), (None, true));
    let removal = document.take(&updates[2]).unwrap();
    assert!(removal.incomplete, "what is removed is not here yet");
    let first = document.take(&updates[0]).unwrap();
    assert!(first.change.is_some() && !first.incomplete);
    assert_eq!(document.text(), "one ", "nothing was kept");
    // An update that leaves a gap in the clocks is not kept either, even if it refers to nothing that is missing.
    let ben = TestClient::new(2);
    let (_lost, other) = (ben.insert(0, "lost"), {
        let mut transaction = ben.doc.transact_mut();
        let list = transaction.get_or_insert_array("list");
        list.insert(&mut transaction, 0, 1);
        transaction.encode_update_v1()
    });
    let gap = document.take(&other).unwrap();
    assert_eq!((gap.change, gap.incomplete), (None, true));
    // The answer to a sync step 1 repairs it.
    let state_vector = StateVector::decode_v1(&document.state_vector()).unwrap();
    let answer = ana.doc.transact().encode_state_as_update_v1(&state_vector);
    assert!(!document.take(&answer).unwrap().incomplete);
    assert_eq!(document.text(), "two");
}

#[test]
fn a_peer_gets_what_it_lacks() {
    let ana = TestClient::new(1);
    let hello = ana.insert(0, "hello");
    let document = of(&[hello.clone(), ana.insert(5, " there")]);
    let ben = TestClient::new(2);
    ben.apply(&hello);
    let difference = document.difference(&ben.state_vector()).unwrap();
    assert!(difference.len() < document.difference(&[0]).unwrap().len());
    ben.apply(&difference);
    assert_eq!(ben.string(), "hello there");
    for hostile in [&[0xff, 0xff, 0xff, 0x7a][..], &[1], &[1, 1, 1, 1], &[]] {
        assert!(document.difference(hostile).is_err(), "{hostile:?}");
    }
}

#[test]
fn the_known_hostile_update_is_refused_and_nobody_is_harmed() {
    let ana = TestClient::new(1);
    let log = [ana.insert(0, "what was there")];
    let mut document = of(&log);
    let hostile = bytes(REPRODUCER);
    assert_eq!(
        document.take(&hostile),
        Err(Refusal::Malformed(ScanError::Clock))
    );
    document.take(&ana.insert(0, "still, ")).unwrap();
    assert_eq!(document.text(), "still, what was there");
}

#[test]
fn a_panic_inside_yrs_ends_neither_the_process_nor_the_text() {
    let ana = TestClient::new(1);
    let log = [ana.insert(0, "what was there")];
    let mut document = of(&log);
    // Skips the first check, as an unforeseen hostile update might.
    let hostile = decode(&bytes(REPRODUCER)).and_then(|update| document.apply(update, false));
    assert!(
        matches!(hostile, Err(Refusal::Undecodable | Refusal::Harmful)),
        "{hostile:?}"
    );
    // The document's owner does the same: it loads a new one from the log.
    document = of(&log);
    assert_eq!(document.text(), "what was there");
}

#[test]
fn a_few_bytes_reserve_no_memory() {
    // If its counts were trusted, the first one would reserve half a gigabyte.
    for hostile in [
        &[0xff, 0xff, 0xff, 0x7a, 1, 1, 0, 0][..],
        &[1, 0xff, 0xff, 0xff, 0x7a, 1, 0, 0],
    ] {
        let refused = Document::default().take(hostile);
        assert_eq!(refused, Err(Refusal::Malformed(ScanError::Count)));
    }
}

#[test]
fn a_full_document_refuses_and_goes_on() {
    let ana = TestClient::new(1);
    let mut document = Document::default();
    let megabyte = "x".repeat(1024 * 1024);
    for _ in 0..7 {
        document.take(&ana.insert(0, &megabyte)).unwrap();
    }
    let before = document.state_vector();
    let too_much = ana.insert(0, &megabyte);
    assert_eq!(document.take(&too_much), Err(Refusal::Full));
    assert_eq!(document.state_vector(), before);
    let ben = TestClient::new(2);
    ben.apply(&document.snapshot().unwrap());
    document.take(&ben.remove(0, 3 * 1024 * 1024)).unwrap();
    // Removed text takes no room. This is found out when more room is needed, but not again immediately, which would be
    // unbounded work.
    let more = ben.insert(0, &megabyte);
    // On a slow machine the refusal above may be long ago.
    document.measured = Some(Instant::now());
    assert_eq!(document.take(&more), Err(Refusal::Full));
    document.measured = None;
    document.take(&more).unwrap();
    assert!(document.bytes() < 6 * 1024 * 1024);
}

#[test]
fn a_full_document_is_measured_now_and_then_and_not_for_each_refusal() {
    let ana = TestClient::new(1);
    let mut document = Document::default();
    document.take(&ana.insert(0, &"x".repeat(1_000))).unwrap();
    document.snapshot().unwrap();
    let one = ana.insert(0, "x");
    let measured = |document: &Document| document.work_of(one.len()) > DOCUMENT_BYTES / 2;
    document.bytes = DOCUMENT_BYTES;
    assert!(
        !measured(&document),
        "nothing was taken since it was measured"
    );
    document.unmeasured = 1;
    assert!(measured(&document));
    document.measured = Some(Instant::now());
    assert!(!measured(&document), "little was taken since, and lately");
    assert_eq!(document.take(&one), Err(Refusal::Full));
    document.unmeasured = MEASURE_AFTER;
    assert!(measured(&document));
    assert!(document.take(&one).is_ok(), "measured, it is far from full");
    assert!(document.bytes() < 2_000);
    document.bytes = 0;
    assert!(!measured(&document), "there is room");
}

#[test]
fn an_edit_of_one_client_is_encoded_as_yrs_would_encode_it() {
    let (ana, ben) = (TestClient::new(1), TestClient::new(2));
    let before = ana.insert(0, "before");
    ben.apply(&before);
    let typed = ben.insert(3, " 🦀 ");
    let mut transaction = ben.doc.transact_mut();
    ben.text.remove_range(&mut transaction, 0, 2);
    ben.text.insert(&mut transaction, 0, "over");
    let typed_over = transaction.encode_update_v1();
    drop(transaction);
    let removed = ben.remove(0, 3);
    let edits = [&before, &typed, &typed_over, &removed];
    let moved = [vec![(1, 6)], vec![(2, 4)], vec![(2, 8)], vec![]];
    let mut document = Document::default();
    for (edit, moved) in edits.into_iter().zip(moved) {
        let found = document.scan(edit).unwrap();
        assert!(!found.special);
        let mut other = of(&[document.snapshot().unwrap()]);
        let general = other.apply(decode(edit).unwrap(), true).unwrap();
        let applied = document.take(edit).unwrap();
        assert_eq!(
            applied, general,
            "by the blocks it brings and by all clocks"
        );
        assert_eq!(applied.moved, moved);
    }
    assert_eq!(document.text(), ben.string());
    // An update that is partly known, comes from several clients or brings a type is left to yrs.
    let whole = ben.whole();
    assert!(document.scan(&whole).unwrap().special);
}

#[test]
fn a_completely_full_document_can_be_emptied() {
    let ana = TestClient::new(1);
    let mut document = Document::default();
    document.take(&ana.insert(0, &"x".repeat(1_000))).unwrap();
    document.bytes = DOCUMENT_BYTES;
    document.measured = Some(Instant::now());
    let one = ana.insert(0, "x");
    assert_eq!(document.take(&one), Err(Refusal::Full));
    let ben = TestClient::new(2);
    ben.apply(&document.snapshot().unwrap());
    document.bytes = DOCUMENT_BYTES;
    document.take(&ben.remove(0, 1_000)).unwrap();
    assert_eq!(document.text(), "");
}

#[test]
fn the_clients_of_a_document_are_bounded() {
    // Blocks of one character each (GC, of length 1) from the given clients, without deletions.
    let of_clients = |clients: std::ops::Range<u64>| {
        let mut update = vec![];
        write_number(&mut update, clients.end - clients.start);
        for client in clients {
            for number in [1, client, 0, 0, 1] {
                write_number(&mut update, number);
            }
        }
        update.push(0);
        update
    };
    let mut document = Document::default();
    document.take(&of_clients(0..CLIENTS as u64)).unwrap();
    // A new connection is sent it in binary and in base64.
    assert!(document.state_vector().len() * 7 / 3 < 1024 * 1024);
    let one_more = of_clients(CLIENTS as u64..CLIENTS as u64 + 1);
    assert_eq!(document.take(&one_more), Err(Refusal::Clients));
    // A client that is already in the document may go on.
    let mut known = of_clients(5..6);
    known[3] = 1;
    assert!(document.take(&known).unwrap().change.is_some());
}

#[test]
fn nesting_is_bounded_and_a_deep_nest_can_be_deleted() {
    let doc = Doc::with_client_id(3);
    let root = doc.get_or_insert_array("list");
    let mut document = Document::default();
    let mut inner = root.clone();
    for depth in 0..=NESTED_TYPES {
        let mut transaction = doc.transact_mut();
        inner = inner.insert(&mut transaction, 0, yrs::ArrayPrelim::from([Any::Null]));
        let update = transaction.encode_update_v1();
        drop(transaction);
        let applied = document.take(&update);
        assert_eq!(
            applied.is_ok(),
            depth < NESTED_TYPES,
            "at {depth}: {applied:?}"
        );
    }
    let mut transaction = doc.transact_mut();
    root.remove_range(&mut transaction, 0, 1);
    let update = transaction.encode_update_v1();
    drop(transaction);
    // It also deletes the refused type, which the document lacks.
    assert!(document.take(&update).unwrap().incomplete);
    assert!(document.snapshot().is_ok());
}

/// Real updates of two clients that type, remove, format and embed. Each is part of the history before it.
fn history() -> Vec<Vec<u8>> {
    let (ana, ben) = (TestClient::new(1 << 31), TestClient::new(77));
    let mut updates = vec![ana.insert(0, "Grüße, 世界 🦀 and more")];
    ben.apply(&updates[0]);
    updates.extend([
        ben.insert(5, "in the middle"),
        ana.remove(1, 4),
        ana.insert(2, "\t\n"),
    ]);
    updates[1..].iter().for_each(|update| {
        ana.apply(update);
        ben.apply(update);
    });
    let mut transaction = ben.doc.transact_mut();
    ben.text.format(
        &mut transaction,
        0,
        4,
        [("bold".into(), true.into())].into(),
    );
    ben.text.insert_embed(
        &mut transaction,
        3,
        Any::from(std::collections::HashMap::from([(
            "a".to_owned(),
            Any::from(1.5),
        )])),
    );
    updates.push(transaction.encode_update_v1());
    drop(transaction);
    updates.extend([
        ben.remove(0, 7),
        ben.insert(0, "again"),
        ben.whole(),
        ana.whole(),
    ]);
    updates
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Double(prop::sample::Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..6))
            .prop_map(|(at, new)| Mutation::Insert(at, new)),
        (at(), 1..6_usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (at(), 1..16_usize).prop_map(|(at, length)| Mutation::Double(at, length)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Insert(at, new) => {
                let at = at.index(length);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, length) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + length);
                bytes.drain(at..end);
            }
            Self::Double(at, length) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + length);
                let again = bytes[at..end].to_vec();
                bytes.splice(end..end, again);
            }
        }
    }
}

/// Checks the promise of the guarded function for any bytes: they are refused, or they leave a document that can be
/// stored, read back and edited. After reading back it holds the same characters, but those of a forger may be
/// elsewhere: with contradicting origins, the position depends on the order of arrival. The algorithm assumes honest
/// peers there.
fn takes_or_refuses(history: &[Vec<u8>], known: usize, which: usize, mutations: &[Mutation]) {
    let mut hostile = history[which % history.len()].clone();
    mutations
        .iter()
        .for_each(|mutation| mutation.apply(&mut hostile));
    let mut log = history[..known % history.len()].to_vec();
    let mut document = of(&log);
    let before = document.text();
    match document.take(&hostile) {
        Ok(applied) => log.extend(applied.change),
        Err(Refusal::Harmful) => {
            document = of(&log);
            assert_eq!(document.text(), before);
        }
        Err(_) => assert_eq!(document.text(), before),
    }
    assert_eq!(
        clocks_of_yrs(&document),
        document.clocks,
        "counted and asked for"
    );
    let snapshot = document
        .snapshot()
        .expect("a document that took an update can be written down");
    let mut again = Document::default();
    again
        .restore(&snapshot)
        .expect("what was written down can be read");
    assert_eq!(
        characters(&again),
        characters(&document),
        "written down and read again"
    );
    let clocks = |document: &Document| StateVector::decode_v1(&document.state_vector()).unwrap();
    assert_eq!(clocks(&again), clocks(&document));
    let mut replayed = Document::default();
    for update in &log {
        replayed.restore(update).expect("the log can be read");
    }
    assert_eq!(
        characters(&replayed),
        characters(&document),
        "replayed from the log"
    );
    let client = TestClient::new(5);
    client.apply(&snapshot);
    document
        .take(&client.insert(0, "x"))
        .expect("it can be edited");
}

/// The clocks of the document as yrs counts them, for all clients.
fn clocks_of_yrs(document: &Document) -> Clocks {
    let known = document.doc.transact().state_vector();
    let known = known.iter().map(|(client, clock)| (client.get(), *clock));
    known.collect()
}

fn characters(document: &Document) -> Vec<char> {
    let mut characters: Vec<char> = document.text().chars().collect();
    characters.sort_unstable();
    characters
}

#[test]
fn mutated_updates_harm_nothing() {
    let history = history();
    // Panics are expected and caught. A hundred thousand panic messages would hide a real one.
    let config = ProptestConfig {
        cases: fuzzing::cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = (
        any::<usize>(),
        any::<usize>(),
        prop::collection::vec(mutation(), 1..5),
    );
    std::panic::set_hook(Box::new(|_| {}));
    let outcome =
        proptest::test_runner::TestRunner::new(config).run(&cases, |(known, which, mutations)| {
            let promise = AssertUnwindSafe(|| takes_or_refuses(&history, known, which, &mutations));
            catch_unwind(promise).map_err(|panic| {
                let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                TestCaseError::fail(why)
            })
        });
    drop(std::panic::take_hook());
    outcome.unwrap();
}
