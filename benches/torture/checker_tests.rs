//! Tests the checker: one history without a violation, and one for each violation that it must find.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    checker::{Report, RoomLog, check},
    history::{Logged, Record},
};

const ROOM: &str = "lobby";
const EPOCH: &str = "abc";

fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn text(number: u64) -> String {
    format!("text {number}")
}

/// A history of messages 1 to `count`, of writers 0 and 1 in turn, at offsets 10, 20, …, because no check may assume
/// steps of one.
struct Made {
    records: Vec<Record>,
    logs: BTreeMap<String, RoomLog>,
}

fn made(count: u64) -> Made {
    let (mut records, mut messages) = (vec![], vec![]);
    for number in 1..=count {
        records.push(Record::Wrote {
            writer: (number % 2) as usize,
            room: ROOM.into(),
            number,
            id: id(number),
            text: text(number),
        });
        records.push(Record::Acknowledged {
            room: ROOM.into(),
            id: id(number),
            offset: number * 10,
        });
        messages.push(Logged {
            offset: number * 10,
            id: id(number),
            text: text(number),
        });
    }
    let epoch = EPOCH.into();
    let logs = [(ROOM.to_owned(), RoomLog { epoch, messages })];
    Made {
        records,
        logs: logs.into(),
    }
}

impl Made {
    fn joined(
        mut self,
        subscription: u64,
        after: Option<u64>,
        recovered: bool,
        replayed: u64,
    ) -> Self {
        let head = self.log().last().map_or(0, |last| last.offset);
        self.records.push(Record::Joined {
            reader: 7,
            subscription,
            room: ROOM.into(),
            after: after.map(|after| (EPOCH.into(), after)),
            epoch: EPOCH.into(),
            head,
            recovered,
            replayed,
        });
        self
    }

    fn delivered(mut self, subscription: u64, numbers: impl IntoIterator<Item = u64>) -> Self {
        for number in numbers {
            self.records.push(Record::Delivered {
                subscription,
                offset: number * 10,
                id: id(number),
                text: text(number),
            });
        }
        self
    }

    fn settled(mut self, subscription: u64) -> Self {
        self.records.push(Record::Settled { subscription });
        self
    }

    fn log(&mut self) -> &mut Vec<Logged> {
        &mut self.logs.get_mut(ROOM).unwrap().messages
    }

    fn check(&self) -> Report {
        check(&self.records, &self.logs)
    }

    #[track_caller]
    fn finds(&self, words: &str) {
        let violations = self.check().violations;
        let found = violations.iter().any(|violation| violation.contains(words));
        assert!(found, "{words:?} is not among {violations:?}");
    }
}

#[test]
fn a_history_without_a_fault_has_none() {
    let history = made(9)
        .joined(1, None, false, 5)
        .delivered(1, 5..=9)
        .joined(2, Some(30), true, 6)
        .delivered(2, 4..=6)
        .joined(3, Some(60), true, 3)
        .delivered(3, 7..=9)
        .settled(3)
        .joined(4, Some(90), true, 0)
        .settled(4)
        .joined(5, None, false, 9);
    let report = history.check();
    assert_eq!(report.violations, [] as [String; 0]);
    assert_eq!(
        (report.written, report.acknowledged, report.logged),
        (9, 9, 9)
    );
    let subscriptions = (report.subscriptions, report.recovered, report.delivered);
    assert_eq!(subscriptions, (5, 3, 11));
}

#[test]
fn an_acknowledged_message_that_is_lost_is_found() {
    let mut history = made(5);
    history.log().remove(2);
    history.finds("acknowledged and is lost");
}

#[test]
fn an_id_that_is_stored_twice_is_found() {
    let mut history = made(5);
    let mut again = history.log()[1].clone();
    again.offset = 60;
    history.log().push(again);
    history.finds("is stored twice");
}

#[test]
fn an_acknowledgement_with_another_offset_is_found() {
    let mut history = made(5);
    history.records.push(Record::Acknowledged {
        room: ROOM.into(),
        id: id(2),
        offset: 50,
    });
    history.finds("was acknowledged at 50 and stands at 20");
}

#[test]
fn a_writers_messages_out_of_order_are_found() {
    let mut history = made(6);
    let log = history.log();
    let (second, fourth) = (log[1].clone(), log[3].clone());
    (log[1].id, log[1].text) = (fourth.id, fourth.text);
    (log[3].id, log[3].text) = (second.id, second.text);
    history.finds("writer 0's message 2 stands after Some(4)");
}

#[test]
fn a_log_whose_offsets_do_not_grow_is_found() {
    let mut history = made(5);
    history.log().swap(1, 2);
    history.finds("offsets of the log do not grow");
}

#[test]
fn a_message_without_a_writer_is_found() {
    let mut history = made(5);
    history.log()[2].text = "changed".into();
    history.finds("nobody wrote what stands at 30");
}

#[test]
fn a_message_delivered_twice_or_out_of_order_is_found() {
    for numbers in [[4, 5, 5], [4, 6, 5]] {
        let history = made(6).joined(1, Some(30), true, 3).delivered(1, numbers);
        history.finds("offsets of a subscription do not grow");
    }
}

#[test]
fn a_resume_that_repeats_what_was_seen_is_found() {
    let history = made(6).joined(1, Some(30), true, 3).delivered(1, 3..=6);
    history.finds("got 30 where 40 comes next");
}

#[test]
fn a_resume_that_skips_the_next_message_is_found() {
    let history = made(6).joined(1, Some(30), true, 3).delivered(1, 5..=6);
    history.finds("got 50 where 40 comes next, and was told of no gap");
}

#[test]
fn a_hole_in_the_middle_is_found_whether_recovered_or_not() {
    let recovered = made(6)
        .joined(1, Some(10), true, 5)
        .delivered(1, [2, 3, 5, 6]);
    recovered.finds("got 50 where 40 comes next");
    let anew = made(6).joined(1, None, false, 5).delivered(1, [2, 3, 5, 6]);
    anew.finds("got 50 where 40 comes next");
}

#[test]
fn another_order_for_one_reader_is_found() {
    let mut history = made(6).joined(1, Some(30), true, 3).delivered(1, [4]);
    for (offset, number) in [(50, 6), (60, 5)] {
        history.records.push(Record::Delivered {
            subscription: 1,
            offset,
            id: id(number),
            text: text(number),
        });
    }
    history.finds("at 50 got another message than stands there");
}

#[test]
fn another_text_for_one_reader_is_found() {
    let mut history = made(6).joined(1, Some(50), true, 1);
    history.records.push(Record::Delivered {
        subscription: 1,
        offset: 60,
        id: id(6),
        text: "changed".into(),
    });
    history.finds("at 60 got another message than stands there");
}

#[test]
fn a_wrong_recovered_is_found_both_ways() {
    let denied = made(6).joined(1, Some(30), false, 3).delivered(1, 4..=6);
    denied.finds("came with Some(30) and was told recovered: false");
    let claimed = made(6).joined(1, None, true, 3).delivered(1, 4..=6);
    claimed.finds("came with None and was told recovered: true");
}

#[test]
fn a_wrong_number_of_missed_messages_is_found() {
    let history = made(6).joined(1, Some(30), true, 2).delivered(1, 4..=6);
    history.finds("was promised 2 messages where 3 are");
}

#[test]
fn a_foreign_epoch_is_found() {
    let mut history = made(6).joined(1, None, false, 6);
    history.logs.get_mut(ROOM).unwrap().epoch = "other".into();
    history.finds("was told epoch abc, the log's is other");
}

#[test]
fn messages_that_are_never_delivered_are_found_after_the_run() {
    let open = made(6).joined(1, Some(30), true, 3).delivered(1, 4..=5);
    assert_eq!(open.check().violations, [] as [String; 0]);
    open.settled(1).finds("never got the last 1 messages");
}

#[test]
fn a_message_without_a_joined_is_found() {
    made(6).delivered(1, 1..=2).finds("came before any joined");
}
