//! Tests of the outbox: order, window, refusals, clocks, and reloads.

use super::*;

const ROOM: &str = "lobby";

fn id(number: u32) -> Uuid {
    Uuid::from_u128(number.into())
}

fn filled(count: u32) -> Outbox<u32> {
    let mut outbox = Outbox::default();
    for number in 1..=count {
        outbox.push(id(number), ROOM, number).unwrap();
    }
    outbox
}

fn ready(count: u32) -> Outbox<u32> {
    let mut outbox = filled(count);
    outbox.ready(ROOM);
    outbox
}

/// All commands to send now.
fn take_due(outbox: &mut Outbox<u32>, now: f64) -> Vec<u32> {
    let due = std::iter::from_fn(|| outbox.take_next(now)).collect::<Vec<_>>();
    assert!(!outbox.is_due(now));
    due
}

#[test]
fn nothing_is_sent_before_its_ordering_key_is_ready() {
    let mut outbox = filled(3);
    outbox.ready("elsewhere");
    assert!(take_due(&mut outbox, 0.0).is_empty());
    outbox.ready(ROOM);
    assert_eq!(take_due(&mut outbox, 0.0), [1, 2, 3]);
    assert!(take_due(&mut outbox, 0.0).is_empty(), "each once");
}

#[test]
fn unacknowledged_commands_are_sent_again_in_order() {
    let mut outbox = ready(3);
    take_due(&mut outbox, 0.0);
    assert_eq!(outbox.remove(id(2)), Some(2));
    assert_eq!(outbox.remove(id(2)), None);
    outbox.lost();
    outbox.push(id(4), ROOM, 4).unwrap();
    assert!(take_due(&mut outbox, 0.0).is_empty());
    outbox.ready(ROOM);
    assert_eq!(take_due(&mut outbox, 0.0), [1, 3, 4]);
}

#[test]
fn at_most_a_window_is_in_flight() {
    let mut outbox = ready(40);
    assert_eq!(take_due(&mut outbox, 0.0).len(), WINDOW);
    assert!(take_due(&mut outbox, 0.0).is_empty());
    outbox.remove(id(1));
    assert_eq!(take_due(&mut outbox, 0.0), [WINDOW as u32 + 1]);
}

#[test]
fn after_a_refusal_the_command_and_all_later_ones_of_its_room_are_sent_again() {
    let mut outbox = ready(4);
    outbox.push(id(5), "rust", 5).unwrap();
    outbox.ready("rust");
    take_due(&mut outbox, 0.0);
    outbox.remove(id(1));
    outbox.refused(id(2), 1_000.0, 50.0, false);
    outbox.refused(id(3), 1_010.0, 50.0, false);
    assert!(take_due(&mut outbox, 1_059.0).is_empty(), "held back");
    assert_eq!(outbox.due_at(1_059.0), Some(1_060.0));
    assert_eq!(
        take_due(&mut outbox, 1_060.0),
        [2, 3, 4],
        "5 is in flight in another room"
    );
    assert_eq!(outbox.due_at(1_060.0), None);
}

#[test]
fn after_a_refusal_for_the_rate_one_command_is_sent_at_a_time() {
    let mut outbox = ready(4);
    take_due(&mut outbox, 0.0);
    outbox.refused(id(1), 0.0, 50.0, true);
    assert_eq!(take_due(&mut outbox, 50.0), [1]);
    assert!(take_due(&mut outbox, 99.0).is_empty());
    assert!(
        take_due(&mut outbox, 100.0).is_empty(),
        "not before the answer either"
    );
    outbox.remove(id(1));
    assert_eq!(take_due(&mut outbox, 100.0), [2]);
    for number in 2..=4 {
        outbox.remove(id(number));
    }
    outbox.push(id(5), ROOM, 5).unwrap();
    outbox.push(id(6), ROOM, 6).unwrap();
    assert_eq!(
        take_due(&mut outbox, 1_000.0),
        [5, 6],
        "nothing waited: at full speed again"
    );
}

#[test]
fn the_wait_that_a_refusal_asks_for_is_capped() {
    let mut outbox = ready(1);
    take_due(&mut outbox, 0.0);
    outbox.refused(id(1), 0.0, 1e12, true);
    assert_eq!(outbox.due_at(0.0), Some(LONGEST_WAIT_MS));
}

#[test]
fn a_new_connection_cancels_the_wait() {
    let mut outbox = ready(2);
    take_due(&mut outbox, 0.0);
    outbox.refused(id(1), 0.0, 50_000.0, false);
    assert_eq!(outbox.due_at(0.0), Some(50_000.0));
    outbox.lost();
    outbox.ready(ROOM);
    assert_eq!(take_due(&mut outbox, 1_000.0), [1, 2]);
    outbox.refused(id(1), 1_000.0, 2_000.0, false);
    assert_eq!(outbox.due_at(1_000.0), Some(3_000.0));
}

#[test]
fn setting_the_clock_back_makes_no_wait_longer() {
    let mut outbox = ready(1);
    take_due(&mut outbox, 1e12);
    outbox.refused(id(1), 1e12, 1_000.0, true);
    assert!(take_due(&mut outbox, 1e12).is_empty());
    // The clock is set back by an hour.
    assert_eq!(take_due(&mut outbox, 1e12 - 3_600_000.0), [1]);
}

#[test]
fn a_wait_that_the_clock_made_meaningless_does_not_hide_the_next_one() {
    let mut outbox = ready(1);
    take_due(&mut outbox, 1e12);
    outbox.refused(id(1), 1e12, 1_000.0, false);
    let earlier = 1e12 - 3_600_000.0;
    assert_eq!(take_due(&mut outbox, earlier), [1]);
    outbox.refused(id(1), earlier, 2_000.0, false);
    assert_eq!(outbox.due_at(earlier), Some(earlier + 2_000.0));
    assert!(take_due(&mut outbox, earlier + 1_999.0).is_empty());
    assert_eq!(take_due(&mut outbox, earlier + 2_000.0), [1]);
}

#[test]
fn commands_of_a_room_that_was_left_wait_until_it_is_ready_again() {
    let mut outbox = ready(2);
    take_due(&mut outbox, 0.0);
    outbox.not_ready(ROOM);
    assert!(take_due(&mut outbox, 0.0).is_empty());
    outbox.ready(ROOM);
    assert_eq!(take_due(&mut outbox, 0.0), [1, 2]);
}

#[test]
fn a_permanently_refused_command_stays_with_its_reason_until_it_is_removed() {
    let mut outbox = ready(2);
    take_due(&mut outbox, 0.0);
    assert!(outbox.fail(id(1), "too long"));
    assert!(!outbox.fail(id(9), "unknown"));
    outbox.lost();
    outbox.ready(ROOM);
    assert_eq!(take_due(&mut outbox, 0.0), [2]);
    assert_eq!(outbox.waiting(), 1);
    assert_eq!(
        outbox.entries().next().map(|entry| &entry.state),
        Some(&EntryState::Failed("too long".into()))
    );
    assert_eq!(outbox.remove(id(1)), Some(1));
}

#[test]
fn a_full_outbox_refuses_new_commands_and_keeps_its_own() {
    let mut outbox = filled(CAPACITY as u32);
    assert_eq!(outbox.push(Uuid::nil(), ROOM, 0), Err(Full));
    assert_eq!(
        outbox.push(id(1), ROOM, 1),
        Ok(()),
        "a known id is no new entry"
    );
    assert_eq!(outbox.waiting(), CAPACITY);
}

#[test]
fn a_reload_loses_nothing_and_keeps_the_order() {
    let mut before = ready(3);
    take_due(&mut before, 0.0);
    before.fail(id(2), "too long");
    let mut after = Outbox::default();
    after.push(id(4), ROOM, 4).unwrap();
    after.restore(&before.to_json().unwrap());
    let states: Vec<_> = after
        .entries()
        .map(|entry| (entry.command, entry.state.clone()))
        .collect();
    let failed = EntryState::Failed("too long".into());
    let waiting = EntryState::Waiting;
    assert_eq!(
        states,
        [
            (1, waiting.clone()),
            (2, failed),
            (3, waiting.clone()),
            (4, waiting)
        ]
    );
    assert_eq!(Outbox::<u32>::default().to_json(), None);
}

#[test]
fn unreadable_entries_are_dropped() {
    for broken in ["", "{", "null", "7", "{\"id\":1}", "[1,null,{}]"] {
        let mut outbox = filled(1);
        outbox.restore(broken);
        assert_eq!(outbox, filled(1), "{broken:?}");
    }
    let mut outbox = Outbox::<u32>::default();
    let good = filled(2).to_json().unwrap();
    // An invalid entry among valid ones, restored twice.
    let mixed = good.replacen('[', "[{\"id\":\"no\"},", 1);
    outbox.restore(&mixed);
    outbox.restore(&mixed);
    assert_eq!(outbox, filled(2));
    let mut full = filled(CAPACITY as u32);
    let other = Outbox {
        entries: [Entry {
            id: Uuid::nil(),
            ordering_key: ROOM.into(),
            command: 0,
            state: EntryState::Waiting,
        }]
        .into(),
        ..Outbox::default()
    };
    full.restore(&other.to_json().unwrap());
    assert_eq!(full.waiting(), CAPACITY, "never more than it can hold");
}
