use super::*;

const LANE: &str = "lobby";

fn id(number: u32) -> Uuid {
    Uuid::from_u128(number.into())
}

fn filled(count: u32) -> Outbox<u32> {
    let mut outbox = Outbox::default();
    for number in 1..=count {
        outbox.push(id(number), LANE, number).unwrap();
    }
    outbox
}

fn ready(count: u32) -> Outbox<u32> {
    let mut outbox = filled(count);
    outbox.ready(LANE);
    outbox
}

#[test]
fn nothing_leaves_before_its_lane_is_ready() {
    let mut outbox = filled(3);
    outbox.ready("elsewhere");
    assert!(outbox.take_due(0.0).is_empty());
    outbox.ready(LANE);
    assert_eq!(outbox.take_due(0.0), [1, 2, 3]);
    assert!(outbox.take_due(0.0).is_empty(), "each once");
}

#[test]
fn what_was_not_acknowledged_goes_again_in_order() {
    let mut outbox = ready(3);
    outbox.take_due(0.0);
    assert_eq!(outbox.remove(id(2)), Some(2));
    assert_eq!(outbox.remove(id(2)), None);
    outbox.lost();
    outbox.push(id(4), LANE, 4).unwrap();
    assert!(outbox.take_due(0.0).is_empty());
    outbox.ready(LANE);
    assert_eq!(outbox.take_due(0.0), [1, 3, 4]);
}

#[test]
fn only_a_window_is_under_way() {
    let mut outbox = ready(40);
    assert_eq!(outbox.take_due(0.0).len(), WINDOW);
    assert!(outbox.take_due(0.0).is_empty());
    outbox.remove(id(1));
    assert_eq!(outbox.take_due(0.0), [WINDOW as u32 + 1]);
}

#[test]
fn after_a_refusal_everything_from_it_on_goes_again_in_its_lane() {
    let mut outbox = ready(4);
    outbox.push(id(5), "rust", 5).unwrap();
    outbox.ready("rust");
    outbox.take_due(0.0);
    outbox.remove(id(1));
    outbox.refused(id(2), 1_000.0, 50.0, false);
    outbox.refused(id(3), 1_010.0, 50.0, false);
    assert!(outbox.take_due(1_059.0).is_empty(), "held back");
    assert_eq!(outbox.due_at(1_059.0), Some(1_060.0));
    assert_eq!(
        outbox.take_due(1_060.0),
        [2, 3, 4],
        "5 is under way in a lane of its own"
    );
    assert_eq!(outbox.due_at(1_060.0), None);
}

#[test]
fn after_a_refusal_for_the_rate_one_goes_at_a_time() {
    let mut outbox = ready(4);
    outbox.take_due(0.0);
    outbox.refused(id(1), 0.0, 50.0, true);
    assert_eq!(outbox.take_due(50.0), [1]);
    assert!(outbox.take_due(99.0).is_empty());
    assert!(
        outbox.take_due(100.0).is_empty(),
        "not before the answer either"
    );
    outbox.remove(id(1));
    assert_eq!(outbox.take_due(100.0), [2]);
    for number in 2..=4 {
        outbox.remove(id(number));
    }
    outbox.push(id(5), LANE, 5).unwrap();
    outbox.push(id(6), LANE, 6).unwrap();
    assert_eq!(
        outbox.take_due(1_000.0),
        [5, 6],
        "nothing waited: at full speed again"
    );
}

#[test]
fn a_mistaken_server_does_not_silence_the_page_for_hours() {
    let mut outbox = ready(1);
    outbox.take_due(0.0);
    outbox.refused(id(1), 0.0, 1e12, true);
    assert_eq!(outbox.due_at(0.0), Some(LONGEST_WAIT_MS));
}

#[test]
fn what_is_due_moves_earlier_with_a_new_connection() {
    let mut outbox = ready(2);
    outbox.take_due(0.0);
    outbox.refused(id(1), 0.0, 50_000.0, false);
    assert_eq!(outbox.due_at(0.0), Some(50_000.0));
    outbox.lost();
    outbox.ready(LANE);
    assert_eq!(outbox.take_due(1_000.0), [1, 2]);
    outbox.refused(id(1), 1_000.0, 2_000.0, false);
    assert_eq!(outbox.due_at(1_000.0), Some(3_000.0));
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_longer() {
    let mut outbox = ready(1);
    outbox.take_due(1e12);
    outbox.refused(id(1), 1e12, 1_000.0, true);
    assert!(outbox.take_due(1e12).is_empty());
    // An hour back.
    assert_eq!(outbox.take_due(1e12 - 3_600_000.0), [1]);
}

#[test]
fn a_lane_that_is_left_holds_its_own_until_it_is_ready_again() {
    let mut outbox = ready(2);
    outbox.take_due(0.0);
    outbox.not_ready(LANE);
    assert!(outbox.take_due(0.0).is_empty());
    outbox.ready(LANE);
    assert_eq!(outbox.take_due(0.0), [1, 2]);
}

#[test]
fn a_command_refused_for_good_stays_with_its_reason_until_it_is_removed() {
    let mut outbox = ready(2);
    outbox.take_due(0.0);
    assert!(outbox.fail(id(1), "too long"));
    assert!(!outbox.fail(id(9), "unknown"));
    outbox.lost();
    outbox.ready(LANE);
    assert_eq!(outbox.take_due(0.0), [2]);
    assert_eq!(outbox.waiting(), 1);
    assert_eq!(
        outbox.entries().next().map(|entry| &entry.state),
        Some(&EntryState::Failed("too long".into()))
    );
    assert_eq!(outbox.remove(id(1)), Some(1));
}

#[test]
fn a_full_outbox_says_so_and_keeps_what_it_has() {
    let mut outbox = filled(CAPACITY as u32);
    assert_eq!(outbox.push(Uuid::nil(), LANE, 0), Err(Full));
    assert_eq!(
        outbox.push(id(1), LANE, 1),
        Ok(()),
        "a known id is no new entry"
    );
    assert_eq!(outbox.waiting(), CAPACITY);
}

#[test]
fn a_reload_loses_nothing_and_keeps_the_order() {
    let mut before = ready(3);
    before.take_due(0.0);
    before.fail(id(2), "too long");
    let mut after = Outbox::default();
    after.push(id(4), LANE, 4).unwrap();
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
fn what_cannot_be_read_back_is_dropped() {
    for broken in ["", "{", "null", "7", "{\"id\":1}", "[1,null,{}]"] {
        let mut outbox = filled(1);
        outbox.restore(broken);
        assert_eq!(outbox, filled(1), "{broken:?}");
    }
    let mut outbox = Outbox::<u32>::default();
    let good = filled(2).to_json().unwrap();
    // One entry of another kind among good ones, and one twice.
    let mixed = good.replacen('[', "[{\"id\":\"no\"},", 1);
    outbox.restore(&mixed);
    outbox.restore(&mixed);
    assert_eq!(outbox, filled(2));
    let mut full = filled(CAPACITY as u32);
    let other = Outbox {
        entries: [Entry {
            id: Uuid::nil(),
            lane: LANE.into(),
            command: 0,
            state: EntryState::Waiting,
        }]
        .into(),
        ..Outbox::default()
    };
    full.restore(&other.to_json().unwrap());
    assert_eq!(full.waiting(), CAPACITY, "never more than it can hold");
}
