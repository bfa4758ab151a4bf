//! Tests of fast, slow, late and filtered readers, and of resumes from every position that a client ever held.

use std::collections::HashMap;

use proptest::prelude::*;
use serde::Serialize;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Value { key: u8, value: u64 },
}

fn event(key: u8, value: u64) -> Event {
    Event::Value { key, value }
}

/// Key, value and offset of each event in a take, read from the encoded frames.
fn read(pending: &Pending) -> Vec<(u8, u64, u64)> {
    let Pending::Events(bytes) = pending else {
        return vec![];
    };
    let text = std::str::from_utf8(bytes).unwrap();
    let frame = |frame: &str| {
        let id = frame
            .lines()
            .find_map(|line| line.strip_prefix("id: "))
            .unwrap();
        let data = frame
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let position: Position = id.parse().unwrap();
        (
            data["key"].as_u64().unwrap() as u8,
            data["value"].as_u64().unwrap(),
            position.offset,
        )
    };
    text.split("\n\n")
        .filter(|frame| !frame.is_empty())
        .map(frame)
        .collect()
}

/// The newest value of each key, and the history of the values.
type Values = Topic<HashMap<u8, u64>, u8>;

fn publish(topic: &Values, key: u8, value: u64) -> Position {
    topic.publish_all(|newest| {
        newest.insert(key, value);
        [(key, event(key, value))]
    })
}

fn resume(
    topic: &Values,
    after: Option<&Position>,
    wanted: impl Fn(&u8) -> bool + Send + Sync + 'static,
) -> Opened<u8> {
    open(topic, after, Selection::of(wanted))
}

fn open(topic: &Values, after: Option<&Position>, selection: Selection<u8>) -> Opened<u8> {
    topic.open(after, selection, |newest, includes| {
        let newest = newest.iter().filter(|(key, _)| includes(key));
        newest.map(|(key, value)| event(*key, *value)).collect()
    })
}

fn recovered(opened: Opened<u8>) -> (Reader<u8>, usize) {
    (opened.reader, opened.recovered.expect("recovered"))
}

fn is_fresh(opened: Opened<u8>) -> bool {
    opened.recovered.is_none()
}

fn filled(delivery: Delivery, capacity: usize, events: u64) -> Values {
    let topic = Topic::new(HashMap::new(), delivery, capacity);
    for value in 1..=events {
        publish(&topic, (value % 4) as u8, value);
    }
    topic
}

fn at(topic: &Values, offset: u64) -> Position {
    Position {
        offset,
        ..topic.head()
    }
}

#[test]
fn late_subscriber_gets_what_it_missed_then_what_follows() {
    let topic = filled(Delivery::EveryEvent, 100, 10);
    let (mut reader, replayed) = recovered(resume(&topic, Some(&at(&topic, 7)), |_| true));
    publish(&topic, 0, 11);
    assert_eq!(replayed, 3);
    let offsets: Vec<u64> = read(&reader.take(usize::MAX))
        .iter()
        .map(|entry| entry.2)
        .collect();
    assert_eq!(offsets, [8, 9, 10, 11]);
    assert_eq!(reader.take(usize::MAX), Pending::Nothing);
}

#[test]
fn foreign_future_and_dropped_positions_start_anew() {
    let topic = filled(Delivery::EveryEvent, 5, 10);
    let other = filled(Delivery::EveryEvent, 5, 10);
    assert!(is_fresh(resume(&topic, None, |_| true)));
    assert!(is_fresh(resume(&topic, Some(&other.head()), |_| true)));
    assert!(is_fresh(resume(&topic, Some(&at(&topic, 11)), |_| true)));
    assert!(
        is_fresh(resume(&topic, Some(&at(&topic, 4)), |_| true)),
        "offset 5 is no longer held"
    );
    assert_eq!(
        recovered(resume(&topic, Some(&at(&topic, 5)), |_| true)).1,
        5
    );
    assert_eq!(
        recovered(resume(&topic, Some(&topic.head()), |_| true)).1,
        0
    );
}

#[test]
fn a_replay_is_counted_and_capped_after_filtering() {
    let topic = filled(Delivery::EveryEvent, 10_000, REPLAY_CAP as u64 * 4 + 4);
    let start = at(&topic, 4);
    assert!(is_fresh(resume(&topic, Some(&start), |_| true)));
    assert_eq!(
        recovered(resume(&topic, Some(&start), |key| *key == 1)).1,
        REPLAY_CAP
    );
    assert!(
        is_fresh(resume(&topic, Some(&at(&topic, 0)), |key| *key == 1)),
        "one more than the cap"
    );
}

#[test]
fn a_reader_of_every_event_lags_once_the_ring_drops_its_next_event() {
    let topic = filled(Delivery::EveryEvent, 5, 0);
    let (mut reader, _) = recovered(resume(&topic, Some(&topic.head()), |_| true));
    for value in 1..=6 {
        publish(&topic, 0, value);
    }
    assert_eq!(reader.take(usize::MAX), Pending::Lagged);
}

#[test]
fn a_slow_reader_gets_the_newest_of_each_key_in_offset_order() {
    let topic = filled(Delivery::LatestPerKey, 5, 0);
    let (mut reader, _) = recovered(resume(&topic, Some(&topic.head()), |_| true));
    for value in 1..=1_000 {
        publish(&topic, (value % 4) as u8, value);
    }
    assert_eq!(
        read(&reader.take(usize::MAX)),
        [
            (1, 997, 997),
            (2, 998, 998),
            (3, 999, 999),
            (0, 1_000, 1_000)
        ]
    );
    assert_eq!(reader.take(usize::MAX), Pending::Nothing);
}

#[test]
fn a_reader_too_slow_for_its_replay_gets_the_newest_of_each_key() {
    let topic = filled(Delivery::LatestPerKey, 10, 10);
    let (mut reader, replayed) = recovered(resume(&topic, Some(&at(&topic, 2)), |_| true));
    assert_eq!(replayed, 8);
    assert_eq!(read(&reader.take(1)), [(3, 3, 3)]);
    for value in 11..=100 {
        publish(&topic, (value % 4) as u8, value);
    }
    assert_eq!(
        reader.position().offset,
        3,
        "what is pending is not covered"
    );
    assert_eq!(
        read(&reader.take(usize::MAX)),
        [(1, 97, 97), (2, 98, 98), (3, 99, 99), (0, 100, 100)]
    );
}

#[test]
fn a_slow_reader_of_a_replay_gets_all_of_it_and_then_the_newest() {
    let topic = filled(Delivery::LatestPerKey, 100, 10);
    let (mut reader, _) = recovered(resume(&topic, Some(&at(&topic, 7)), |_| true));
    for value in 11..=50 {
        publish(&topic, (value % 4) as u8, value);
    }
    let offsets: Vec<u64> = read(&reader.take(usize::MAX))
        .iter()
        .map(|entry| entry.2)
        .collect();
    assert_eq!(offsets, [8, 9, 10, 47, 48, 49, 50]);
}

#[test]
fn keys_whose_state_is_sent_are_not_replayed_and_go_on_live() {
    let topic = filled(Delivery::LatestPerKey, 100, 12);
    let stated = |key: &u8| *key == 1;
    let selection = Selection::of(|key| *key < 2).with_state_of(stated);
    let opened = open(&topic, Some(&at(&topic, 4)), selection);
    let state = read(&Pending::Events(opened.state.concat().into()));
    assert_eq!(state, [(1, 9, 4)], "at the position of the client");
    let (mut reader, replayed) = recovered(opened);
    assert_eq!(replayed, 2);
    publish(&topic, 1, 13);
    let events = read(&reader.take(usize::MAX));
    assert_eq!(events, [(0, 8, 8), (0, 12, 12), (1, 13, 13)]);
}

#[test]
fn events_beyond_the_budget_of_a_write_follow_in_the_next() {
    let topic = filled(Delivery::EveryEvent, 100, 10);
    let (mut reader, _) = recovered(resume(&topic, Some(&at(&topic, 0)), |_| true));
    let mut offsets = vec![];
    loop {
        let pending = reader.take(1);
        let Pending::Events(_) = &pending else { break };
        let taken = read(&pending);
        assert_eq!(taken.len(), 1);
        offsets.extend(taken.iter().map(|entry| entry.2));
    }
    assert_eq!(offsets, (1..=10).collect::<Vec<_>>());
}

#[test]
fn an_ended_topic_delivers_everything_and_then_ends() {
    let topic = filled(Delivery::EveryEvent, 100, 3);
    let (mut reader, _) = recovered(resume(&topic, Some(&at(&topic, 1)), |_| true));
    assert_eq!(topic.end_position(), None);
    topic.end();
    publish(&topic, 0, 4);
    assert_eq!(topic.end_position(), Some(at(&topic, 3)));
    assert_eq!(read(&reader.take(usize::MAX)).len(), 2);
    assert_eq!(reader.take(usize::MAX), Pending::Ended);
}

#[test]
fn a_heartbeat_carries_the_head_only_if_no_selected_event_is_pending() {
    let topic = filled(Delivery::LatestPerKey, 100, 0);
    let (mut reader, _) = recovered(resume(&topic, Some(&topic.head()), |key| *key == 1));
    publish(&topic, 2, 1);
    assert_eq!(
        reader.position().offset,
        1,
        "a filtered stream can be resumed at the head"
    );
    publish(&topic, 1, 2);
    assert_eq!(
        reader.position().offset,
        1,
        "what is pending is not covered, and no heartbeat goes back behind the one before"
    );
    reader.take(usize::MAX);
    publish(&topic, 2, 3);
    assert_eq!(reader.position().offset, 3);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_an_event_and_by_the_end() {
    let topic = filled(Delivery::EveryEvent, 100, 0);
    let (mut reader, _) = recovered(resume(&topic, Some(&topic.head()), |_| true));
    let waiting = tokio::spawn(async move {
        let mut seen = vec![];
        loop {
            match reader.take(usize::MAX) {
                Pending::Ended => return seen,
                Pending::Nothing => reader.changed().await,
                pending => seen.extend(read(&pending)),
            }
        }
    });
    publish(&topic, 1, 1);
    tokio::task::yield_now().await;
    publish(&topic, 1, 2);
    topic.end();
    assert_eq!(waiting.await.unwrap().len(), 2);
}

/// What a client does next.
#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Read {
        budget: usize,
    },
    /// The connection is cut after some events of the last write, and resumed from the id that the client holds then.
    CutAndResume {
        keep: usize,
    },
    Heartbeat,
    /// Selects the keys whose bit is set, and gets the state of the keys that were not selected before.
    Change {
        keys: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..5_u8).prop_map(Step::Publish),
        2 => (1..400_usize).prop_map(|budget| Step::Read { budget }),
        1 => (0..6_usize).prop_map(|keep| Step::CutAndResume { keep }),
        1 => Just(Step::Heartbeat),
        1 => (1..32_u8).prop_map(|keys| Step::Change { keys }),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// The guarantee of a latest-value topic. After any sequence of cuts, changes and resumes, a client that has read
    /// everything holds the newest value of every selected key, has seen only increasing offsets, and no event twice.
    /// The same holds for a client that resumes from any id that it ever held.
    #[test]
    fn resuming_from_any_id_ever_held_ends_with_the_newest_values(
        steps in steps(), capacity in 1..60_usize, keys in 1..32_u8,
    ) {
        let topic = Topic::new(HashMap::new(), Delivery::LatestPerKey, capacity);
        let mut client = TestClient { keys, held: HashMap::new(), position: topic.head(), added: 0, settles_at: 0 };
        let (mut reader, _) = recovered(resume(&topic, Some(&client.position), selects(keys)));
        let mut ever = vec![];
        let mut value = 0;
        for step in steps {
            match step {
                Step::Publish(key) => {
                    value += 1;
                    publish(&topic, key, value);
                }
                Step::Read { budget } => client.take(&read(&reader.take(budget)))?,
                Step::Heartbeat => {
                    let at = reader.position().offset;
                    prop_assert!(at >= client.position.offset, "a heartbeat goes back to {}", at);
                    client.move_to(at);
                }
                Step::CutAndResume { keep } => {
                    let last = read(&reader.take(usize::MAX));
                    client.take(&last[..keep.min(last.len())])?;
                    reader = client.connect(&topic, client.keys);
                }
                Step::Change { keys } => reader = client.connect(&topic, keys),
            }
            ever.push(client.clone());
        }
        client.ends_with(reader, &topic)?;
        for mut client in ever {
            let reader = client.connect(&topic, client.keys);
            client.ends_with(reader, &topic)?;
        }
    }
}

fn selects(keys: u8) -> impl Fn(&u8) -> bool + Send + Sync + 'static {
    move |key| keys & (1 << key) != 0
}

#[derive(Clone)]
struct TestClient {
    /// A bit for each selected key.
    keys: u8,
    held: HashMap<u8, u64>,
    position: Position,
    /// Keys whose received state is newer than the position. Their state is requested again with every connection until
    /// the position has reached it.
    added: u8,
    settles_at: u64,
}

impl TestClient {
    /// Connects at the current position, perhaps for other keys. The state of newly selected keys is received at once.
    fn connect(&mut self, topic: &Values, keys: u8) -> Reader<u8> {
        let added = keys & (self.added | !self.keys);
        (self.keys, self.added) = (keys, added);
        self.settles_at = topic.head().offset;
        self.held.retain(|key, _| selects(keys)(key));
        let selection = Selection::of(selects(keys)).with_state_of(selects(added));
        let opened = open(topic, Some(&self.position), selection);
        if opened.recovered.is_none() {
            self.held.clear();
            self.move_to(opened.reader.written().offset);
        }
        let state = read(&Pending::Events(opened.state.concat().into()));
        self.held
            .extend(state.iter().map(|(key, value, _)| (*key, *value)));
        opened.reader
    }

    fn take(&mut self, events: &[(u8, u64, u64)]) -> Result<(), TestCaseError> {
        for (key, value, offset) in events {
            prop_assert!(
                *offset > self.position.offset,
                "offset {} after {}",
                offset,
                self.position.offset
            );
            prop_assert!(
                self.held.get(key) < Some(value),
                "{} came twice or late",
                value
            );
            self.move_to(*offset);
            self.held.insert(*key, *value);
        }
        Ok(())
    }

    fn move_to(&mut self, offset: u64) {
        self.position.offset = offset;
        if offset >= self.settles_at {
            self.added = 0;
        }
    }

    /// Reads every pending event, then compares with the newest values.
    fn ends_with(&mut self, mut reader: Reader<u8>, topic: &Values) -> Result<(), TestCaseError> {
        loop {
            let rest = read(&reader.take(64));
            if rest.is_empty() {
                break;
            }
            self.take(&rest)?;
        }
        let mut newest = topic.read(|newest, _| newest.clone());
        newest.retain(|key, _| selects(self.keys)(key));
        prop_assert_eq!(&self.held, &newest);
        Ok(())
    }
}

/// The count is the state, so every snapshot shows whether it belongs to its position.
#[test]
fn a_snapshot_belongs_to_its_position_while_others_publish() {
    let topic: Topic<u64> = Topic::new(0, Delivery::EveryEvent, 1_000_000);
    let publish = || {
        for _ in 0..10_000 {
            topic.publish(|count| {
                *count += 1;
                event(0, *count)
            });
        }
    };
    std::thread::scope(|scope| {
        let publishers = [scope.spawn(publish), scope.spawn(publish)];
        while !publishers.iter().all(|publisher| publisher.is_finished()) {
            let mut opened = topic.open(None, Selection::all(), |count, _| vec![event(0, *count)]);
            let state = read(&Pending::Events(opened.state.concat().into()));
            assert_eq!(state[0].1, state[0].2, "the state is that of its offset");
            let next = read(&opened.reader.take(1));
            let follows = |next: &(u8, u64, u64)| next.1 == state[0].1 + 1;
            assert!(
                next.first().is_none_or(follows),
                "the next event follows the state"
            );
        }
    });
    assert_eq!(
        topic.read(|count, head| (*count, head.offset)),
        (20_000, 20_000)
    );
}

#[test]
fn a_topic_that_has_ended_gives_the_state_and_then_the_last_event() {
    let topic = filled(Delivery::EveryEvent, 100, 3);
    topic.end();
    let mut opened = resume(&topic, None, |_| true);
    assert!(opened.recovered.is_none());
    assert_eq!(opened.reader.written().offset, 2);
    assert_eq!(read(&opened.reader.take(usize::MAX)), [(3, 3, 3)]);
    assert_eq!(opened.reader.take(usize::MAX), Pending::Ended);
    assert_eq!(publish(&topic, 0, 4).offset, 3, "nothing more is published");
}
