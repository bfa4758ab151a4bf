use super::*;
use crate::{
    channel::{Ack, ChannelCommand, ChannelEvent, Entry as Stored, TOO_MANY_CHANNELS},
    contract::SocketContract,
    message::ErrorCode,
};

type Command = ChannelCommand<String>;
type Event = ChannelEvent<String>;

#[derive(Clone, PartialEq)]
struct Wall;

impl SocketContract for Wall {
    const NAME: &'static str = "wall";
    const ROUTE: &'static str = "/api/wall";
    const SUBPROTOCOL: &'static str = "wall.v1";
    type Welcome = ();
    type Command = Command;
    type Event = Event;
}

/// A contract whose offsets may have gaps.
#[derive(Clone, PartialEq)]
struct Sparse;

impl SocketContract for Sparse {
    const NAME: &'static str = "sparse";
    const ROUTE: &'static str = "/api/sparse";
    const SUBPROTOCOL: &'static str = "sparse.v1";
    type Welcome = ();
    type Command = Command;
    type Event = SparseEvent;
}

#[derive(serde::Serialize, serde::Deserialize, strum::VariantNames)]
enum SparseEvent {
    Channel(Event),
    Unrelated,
}

impl ChannelContract for Sparse {
    type Draft = ();
    type Message = ();

    fn join(channel: &str, after: Option<Position>) -> Command {
        Wall::join(channel, after)
    }

    fn leave(channel: &str) -> Command {
        Wall::leave(channel)
    }

    fn send(channel: &str, id: Uuid, (): ()) -> Command {
        Wall::send(channel, id, String::new())
    }

    fn message(_: &str, _: &Stored<()>) -> SparseEvent {
        SparseEvent::Unrelated
    }

    fn ack(_: &str, _: Ack) -> SparseEvent {
        SparseEvent::Unrelated
    }

    fn meaning(event: &SparseEvent) -> Option<(&str, Meaning)> {
        match event {
            SparseEvent::Channel(event) => Wall::meaning(event),
            SparseEvent::Unrelated => None,
        }
    }
}

fn epoch(name: &str) -> Epoch {
    Epoch::new(name).unwrap()
}

fn joined(channel: &str, head: u64, recovered: bool, replayed: u64) -> Event {
    Event::Joined {
        channel: channel.into(),
        joined: Joined {
            epoch: epoch("a"),
            head,
            recovered,
            replayed,
        },
        members: vec![],
    }
}

fn message(channel: &str, offset: u64) -> Event {
    Event::Message {
        channel: channel.into(),
        entry: Stored {
            offset,
            id: Uuid::nil().into(),
            at: 0,
            message: String::new(),
        },
    }
}

fn join(channel: &str, after: Option<u64>) -> Command {
    Wall::join(channel, after.map(|after| Position::new(epoch("a"), after)))
}

fn list(names: &[&str]) -> ChannelList<Wall> {
    let mut list = ChannelList::default();
    names.iter().for_each(|name| list.add(name, None));
    list
}

/// A list with the channel `a`, joined at head `head` without a backlog.
fn inside(head: u64) -> ChannelList<Wall> {
    let mut list = list(&["a"]);
    assert_eq!(list.joins_due("a", 0.0), [join("a", None)]);
    let recovered = false;
    assert_eq!(
        list.apply(&joined("a", head, false, 0)),
        Applied::Joined { recovered }
    );
    list
}

fn refusal(code: ErrorCode, wait: Option<u64>) -> SocketError {
    let mut error = Wall::in_channel(SocketError::new(code, ""), "a");
    error.retry_after_ms = wait;
    error
}

#[test]
fn the_visited_channel_is_joined_first_and_the_number_of_joins_is_bounded() {
    let names: Vec<_> = (0..JOINS + 3).map(|number| number.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut list = list(&names);
    let first = list.joins_due("9", 0.0);
    assert_eq!(first.len(), JOINS);
    assert_eq!(first[0], join("9", None));
    assert_eq!(first[1], join("0", None));
    assert_eq!(list.joins_due("9", 0.0), []);
    list.apply(&joined("3", 0, false, 0));
    assert_eq!(list.joins_due("9", 0.0), [join("7", None)]);
}

#[test]
fn a_channel_is_ready_while_it_is_joined_and_resumes_from_its_last_message() {
    let mut list = inside(4);
    assert!(list.is_ready("a"));
    assert_eq!(list.apply(&message("a", 5)), Applied::New);
    list.lost();
    assert!(!list.is_ready("a"));
    assert_eq!(list.joins_due("a", 0.0), [join("a", Some(5))]);
    let recovered = true;
    assert_eq!(
        list.apply(&joined("a", 7, true, 2)),
        Applied::Joined { recovered }
    );
    assert_eq!(
        list.position("a").unwrap().offset,
        5,
        "the answer to a join does not move the position"
    );
    assert_eq!(list.apply(&message("a", 5)), Applied::Duplicate);
    assert_eq!(list.apply(&message("a", 6)), Applied::New);
    assert_eq!(list.apply(&message("a", 7)), Applied::New);
    assert_eq!(list.apply(&message("a", 8)), Applied::New);
    assert_eq!(list.position("a"), Some(Position::new(epoch("a"), 8)));
}

#[test]
fn a_connection_that_is_lost_before_the_first_announced_message_joins_without_a_position() {
    let mut list = list(&["a"]);
    list.joins_due("a", 0.0);
    list.apply(&joined("a", 50, false, 50));
    list.lost();
    assert_eq!(list.joins_due("a", 0.0), [join("a", None)]);
}

#[test]
fn the_position_of_a_rendered_page_is_resumed() {
    let mut list = ChannelList::<Wall>::default();
    list.add("a", Some(Position::new(epoch("a"), 3)));
    list.add("a", None);
    assert_eq!(list.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(list.joins_due("a", 0.0), [join("a", Some(3))]);
}

#[test]
fn messages_of_channels_that_are_not_joined_are_not_taken() {
    let mut list = inside(4);
    assert_eq!(list.remove("a"), Some(Wall::leave("a")));
    assert_eq!(list.remove("a"), None);
    assert_eq!(list.apply(&message("a", 5)), Applied::Elsewhere);
    list.add("a", None);
    list.joins_due("a", 0.0);
    // Still from before the leave.
    assert_eq!(list.apply(&message("a", 6)), Applied::Elsewhere);
    list.apply(&joined("a", 6, false, 2));
    assert_eq!(list.apply(&message("a", 5)), Applied::New);
}

#[test]
fn an_acknowledgement_counts_wherever_it_comes_from() {
    let (id, channel) = (Uuid::new_v4(), "left".to_owned());
    let ack = Ack {
        id: id.into(),
        offset: 3,
        at: 0,
    };
    let event = Event::Ack { channel, ack };
    let offset = 3;
    let acknowledged = Applied::Acknowledged { id, offset };
    assert_eq!(list(&["a"]).apply(&event), acknowledged);
}

#[test]
fn a_skipped_offset_is_reported_and_requested_again_once() {
    let mut list = inside(4);
    let gap = |rejoins| Applied::Gap {
        after: 4,
        offset: 6,
        rejoins,
    };
    assert_eq!(list.apply(&message("a", 6)), gap(true));
    assert!(!list.is_ready("a"));
    assert_eq!(list.apply(&message("a", 7)), Applied::Elsewhere);
    assert_eq!(list.joins_due("a", 0.0), [join("a", Some(4))]);
    list.apply(&joined("a", 7, true, 3));
    let mut repaired = list.clone();
    for offset in 5..=8 {
        assert_eq!(repaired.apply(&message("a", offset)), Applied::New);
    }
    // Where that did not help, the gap is reported again, and the page gets what there is.
    assert_eq!(list.apply(&message("a", 6)), gap(false));
    assert!(list.is_ready("a"));
    assert_eq!(
        list.apply(&message("a", 7)),
        Applied::Gap {
            after: 6,
            offset: 7,
            rejoins: false
        }
    );
    assert_eq!(list.apply(&message("a", 8)), Applied::New);
    // The next connection tries again.
    list.lost();
    list.joins_due("a", 0.0);
    list.apply(&joined("a", 8, true, 0));
    assert!(matches!(
        list.apply(&message("a", 10)),
        Applied::Gap { rejoins: true, .. }
    ));
}

#[test]
fn where_offsets_may_skip_the_number_of_announced_messages_counts() {
    let event = |event| SparseEvent::Channel(event);
    let mut list = ChannelList::<Sparse>::default();
    list.add("a", Some(Position::new(epoch("a"), 10)));
    list.joins_due("a", 0.0);
    list.apply(&event(joined("a", 40, true, 3)));
    assert_eq!(list.apply(&SparseEvent::Unrelated), Applied::Elsewhere);
    for offset in [20, 30, 40, 50] {
        let applied = list.apply(&event(message("a", offset)));
        assert_eq!(applied, Applied::New, "{offset}");
    }
    // Two of three arrive.
    list.lost();
    list.joins_due("a", 0.0);
    list.apply(&event(joined("a", 80, true, 3)));
    assert_eq!(list.apply(&event(message("a", 60))), Applied::New);
    let mut at_head = list.clone();
    for (list, offset) in [(&mut at_head, 80), (&mut list, 90)] {
        let (after, rejoins) = (60, true);
        let gap = Applied::Gap {
            after,
            offset,
            rejoins,
        };
        assert_eq!(list.apply(&event(message("a", offset))), gap);
        assert_eq!(list.position("a"), None, "everything is requested anew");
    }
}

#[test]
fn a_join_that_was_refused_is_sent_again_at_its_time() {
    let mut list = list(&["a"]);
    list.joins_due("a", 0.0);
    let error = refusal(ErrorCode::RateLimited, Some(500));
    assert_eq!(list.refused(&error, 1_000.0), Some(1_500.0));
    assert_eq!(list.joins_due("a", 1_499.0), []);
    assert_eq!(list.due_at(), Some(1_500.0));
    assert_eq!(list.joins_due("a", 1_500.0), [join("a", None)]);
    assert_eq!(list.due_at(), None);
    // A wait beyond all bounds, and a clock that was set back.
    let error = refusal(ErrorCode::Unavailable, Some(u64::MAX));
    let until = 2_000.0 + LONGEST_WAIT_MS;
    assert_eq!(list.refused(&error, 2_000.0), Some(until));
    assert_eq!(list.joins_due("a", 1_999.0).len(), 1);
}

#[test]
fn a_join_that_was_refused_for_good_waits_for_the_next_connection() {
    let mut list = list(&["a"]);
    list.joins_due("a", 0.0);
    assert_eq!(list.refused(&refusal(TOO_MANY_CHANNELS, None), 0.0), None);
    assert_eq!(list.entry("a"), Some(Entry::Denied));
    assert_eq!(list.joins_due("a", f64::MAX), []);
    list.lost();
    assert_eq!(list.joins_due("a", 0.0).len(), 1);
}

#[test]
fn the_refusal_of_a_message_is_not_that_of_a_join() {
    let mut list = inside(4);
    let error = refusal(ErrorCode::RateLimited, Some(500)).about(Uuid::nil());
    assert_eq!(list.refused(&error, 0.0), Some(500.0));
    assert!(list.is_ready("a"));
    list.lost();
    list.joins_due("a", 0.0);
    let error = refusal(ErrorCode::InvalidField, None).about(Uuid::nil());
    assert_eq!(list.refused(&error, 0.0), None);
    assert_eq!(list.entry("a"), Some(Entry::Asked));
}

#[test]
fn a_server_that_does_not_know_the_socket_is_joined_again() {
    let mut list = inside(4);
    let error = refusal(NOT_JOINED, None).about(Uuid::nil());
    assert_eq!(list.refused(&error, 0.0), Some(1_000.0));
    assert!(!list.is_ready("a"));
    assert_eq!(list.joins_due("a", 1_000.0), [join("a", Some(4))]);
    let elsewhere = Wall::in_channel(SocketError::new(NOT_JOINED, ""), "b");
    assert_eq!(list.refused(&elsewhere, 0.0), None);
}
