//! Tests of the browser's state of all rooms.

use super::{room::PAGE, *};
use crate::{
    chat::message::{ChatMessage, Joined, TOO_MANY_ROOMS},
    session::User,
};
use realtime::{channel::NOT_JOINED, message::ErrorCode, position::Epoch};

const LOBBY: &str = "lobby";
const DAY: fn(u64) -> i64 = |_| 0;

fn user(number: u128) -> User {
    User::new(
        Uuid::from_u128(number),
        ["", "Me", "Ada", "Grace", "Linus", "Ken"][number as usize].into(),
    )
}

fn me() -> Uuid {
    Uuid::from_u128(1)
}

fn stored(offset: u64, by: u128) -> ChatMessage {
    ChatMessage {
        offset,
        id: Uuid::from_u128(1_000 + u128::from(offset)).into(),
        from: user(by),
        text: format!("{offset}"),
        at: offset,
    }
}

fn message(offset: u64, by: u128) -> ChatEvent {
    ChatEvent::Message {
        room: LOBBY.into(),
        message: stored(offset, by),
    }
}

/// A page of history, newest first.
fn history(offsets: std::ops::Range<u64>, more: bool) -> ChatEvent {
    let messages = offsets.rev().map(|offset| stored(offset, 2)).collect();
    ChatEvent::History {
        room: LOBBY.into(),
        messages,
        more,
    }
}

fn joined(head: u64, recovered: bool, replayed: usize) -> Joined {
    Joined {
        room: LOBBY.into(),
        epoch: Epoch::new("a").unwrap(),
        head,
        recovered,
        replayed,
        unread: 0,
        members: (1..=5).map(user).collect(),
        read: vec![],
    }
}

/// Connected, and joined to the lobby with messages of Ada's at `1..=head`, all of them on the page.
fn in_lobby(head: u64) -> ChatState {
    let mut state = ChatState::new(None, LOBBY, None);
    state.connected(me());
    joins(&mut state, LOBBY);
    state.apply(ChatEvent::Joined(joined(head, false, head as usize)), 0.0);
    for offset in 1..=head {
        state.apply(message(offset, 2), 0.0);
    }
    room(&mut state).shown();
    state
}

/// The joins that are due at the beginning of time.
fn joins(state: &mut ChatState, first: &str) -> Vec<ChatCommand> {
    state.joins_due(first, 0.0).0
}

fn lobby(state: &ChatState) -> &RoomState {
    state.room(LOBBY).unwrap()
}

fn room(state: &mut ChatState) -> &mut RoomState {
    state.room_mut(LOBBY).unwrap()
}

fn offsets(state: &ChatState) -> Vec<u64> {
    lobby(state)
        .log
        .rows(DAY)
        .iter()
        .map(|row| row.message.offset)
        .collect()
}

fn mark(by: u128, offset: u64) -> ChatEvent {
    ChatEvent::Read {
        room: LOBBY.into(),
        user_id: Uuid::from_u128(by),
        offset,
    }
}

#[test]
fn the_permanent_rooms_and_the_visited_one_are_joined_the_visited_one_first() {
    let mut state = ChatState::new(None, "den", None);
    state.connected(me());
    let rooms: Vec<_> = joins(&mut state, "den")
        .iter()
        .map(|join| join.room().to_owned())
        .collect();
    assert_eq!(rooms, ["den", "lobby", "rust", "random"]);
    assert!(
        joins(&mut state, "den").is_empty(),
        "each once a connection"
    );
    state.connected(me());
    assert_eq!(joins(&mut state, "den").len(), 4);
}

#[test]
fn many_rooms_are_joined_a_few_at_a_time() {
    let mut state = ChatState::new(None, LOBBY, None);
    (0..20).for_each(|number| state.enter(&format!("room-{number}")));
    state.connected(me());
    assert_eq!(joins(&mut state, LOBBY).len(), 8);
    state.apply(ChatEvent::Joined(joined(0, false, 0)), 0.0);
    assert_eq!(joins(&mut state, LOBBY).len(), 1);
}

#[test]
fn a_room_is_resumed_after_its_last_message() {
    let mut state = in_lobby(3);
    state.connected(me());
    let join = joins(&mut state, LOBBY).remove(0);
    let after = Position::new(Epoch::new("a").unwrap(), 3);
    assert_eq!(
        join,
        ChatCommand::Join {
            room: LOBBY.into(),
            after: Some(after)
        }
    );
    state.apply(ChatEvent::Joined(joined(5, true, 2)), 0.0);
    state.apply(message(4, 2), 0.0);
    state.apply(message(4, 2), 0.0);
    state.apply(message(5, 2), 0.0);
    assert_eq!(offsets(&state), [1, 2, 3, 4, 5]);
}

#[test]
fn rendered_messages_are_continued() {
    let position = Position::new(Epoch::new("a").unwrap(), 3);
    let first = FirstMessages {
        position: position.clone(),
        members: vec![],
        messages: (1..=3).map(|offset| stored(offset, 2)).collect(),
    };
    let mut state = ChatState::new(None, LOBBY, Some(first));
    state.connected(me());
    let resume = ChatCommand::Join {
        room: LOBBY.into(),
        after: Some(position),
    };
    assert_eq!(joins(&mut state, LOBBY)[0], resume);
    state.apply(ChatEvent::Joined(joined(4, true, 1)), 0.0);
    state.apply(message(3, 2), 0.0);
    state.apply(message(4, 2), 0.0);
    assert_eq!(offsets(&state), [1, 2, 3, 4]);
}

#[test]
fn a_message_before_the_room_is_joined_is_not_taken() {
    let mut state = ChatState::new(None, LOBBY, None);
    state.connected(me());
    state.apply(message(1, 2), 0.0);
    assert!(offsets(&state).is_empty());
}

#[test]
fn where_an_announced_message_is_missing_the_room_is_joined_again() {
    let mut state = in_lobby(0);
    state.connected(me());
    joins(&mut state, LOBBY);
    state.apply(ChatEvent::Joined(joined(2, true, 2)), 0.0);
    let applied = state.apply(message(2, 2), 0.0);
    assert!(
        matches!(applied, Applied::Gap { rejoins: true, .. }),
        "{applied:?}"
    );
    assert!(offsets(&state).is_empty(), "not out of order");
    assert_eq!(room(&mut state).typing_due(9_000.0), None);
    assert_eq!(joins(&mut state, LOBBY).len(), 1);
}

#[test]
fn another_epoch_empties_the_room_and_fills_it_again() {
    let mut state = in_lobby(3);
    state.apply(mark(2, 3), 0.0);
    let other = Joined {
        epoch: Epoch::new("b").unwrap(),
        ..joined(1, false, 1)
    };
    state.apply(ChatEvent::Joined(other), 0.0);
    assert!(offsets(&state).is_empty());
    state.apply(message(1, 1), 0.0);
    assert_eq!(offsets(&state), [1]);
    assert_eq!(
        state.receipts(LOBBY),
        BTreeMap::from([(1, 0)]),
        "the old marks are of the old messages"
    );
}

#[test]
fn a_join_that_was_refused_for_the_rate_is_made_again_after_the_wait() {
    let mut state = ChatState::new(None, LOBBY, None);
    state.connected(me());
    assert_eq!(joins(&mut state, LOBBY).len(), 3);
    let refusal = |code| ChatSocket::in_channel(SocketError::new(code, "no"), "rust");
    let again_at = state.refused(&refusal(ErrorCode::RateLimited), 0.0);
    let again_at = again_at.expect("it may be made again");
    assert_eq!(state.joins_due(LOBBY, 0.0), (vec![], Some(again_at)));
    assert_eq!(state.joins_due(LOBBY, again_at).0.len(), 1);
    assert_eq!(state.refused(&refusal(TOO_MANY_ROOMS), again_at), None);
    state.retry("rust");
    assert_eq!(state.joins_due(LOBBY, 9.0 * again_at), (vec![], None));
    assert_eq!(state.room("rust").unwrap().refusal.as_deref(), Some("no"));
    let again_at = state.refused(&refusal(NOT_JOINED), 0.0);
    let again_at = again_at.expect("the server put us out");
    assert_eq!(state.joins_due(LOBBY, again_at).0.len(), 1);
}

#[test]
fn commands_refused_for_the_rate_are_sent_again_after_the_wait() {
    let mut state = in_lobby(3);
    assert!(state.read_due(LOBBY).is_some());
    assert!(room(&mut state).history_due().is_some());
    let refusal = ChatSocket::in_channel(SocketError::new(ErrorCode::RateLimited, "no"), LOBBY);
    assert!(state.refused(&refusal, 0.0).is_some());
    assert_eq!(room(&mut state).history_due(), None);
    assert_eq!(state.read_due(LOBBY), None);
    state.retry(LOBBY);
    assert!(room(&mut state).history_due().is_some());
    assert!(state.read_due(LOBBY).is_some());
    assert_eq!(lobby(&state).refusal, None, "nothing to tell the person");
}

#[test]
fn a_refused_message_has_its_own_line_and_the_room_says_nothing() {
    let mut state = in_lobby(0);
    let refusal = ChatSocket::in_channel(SocketError::new(ErrorCode::InvalidField, "no"), LOBBY);
    assert_eq!(state.refused(&refusal.clone().about("an id"), 0.0), None);
    assert_eq!(lobby(&state).refusal, None);
    assert_eq!(state.refused(&refusal, 0.0), None);
    assert_eq!(lobby(&state).refusal.as_deref(), Some("no"));
}

#[test]
fn events_of_a_room_that_was_left_are_ignored() {
    let mut state = in_lobby(1);
    assert_eq!(
        state.leave(LOBBY),
        Some(ChatCommand::Leave { room: LOBBY.into() })
    );
    state.apply(message(2, 2), 0.0);
    assert!(state.room(LOBBY).is_none());
}

#[test]
fn messages_of_others_after_the_servers_count_are_unread() {
    let mut state = ChatState::new(None, LOBBY, None);
    state.connected(me());
    joins(&mut state, LOBBY);
    let read = vec![crate::chat::message::ReadMark {
        user_id: me(),
        offset: 3,
    }];
    state.apply(
        ChatEvent::Joined(Joined {
            unread: 2,
            read,
            ..joined(5, false, 5)
        }),
        0.0,
    );
    for offset in 1..=5 {
        state.apply(message(offset, 2), 0.0);
    }
    assert_eq!(lobby(&state).unread, 2, "the backlog is counted already");
    state.apply(message(6, 2), 0.0);
    state.apply(message(7, 1), 0.0);
    assert_eq!(
        (lobby(&state).unread, state.unread()),
        (3, 3),
        "one's own are read"
    );
    state.apply(mark(1, 5), 0.0);
    assert_eq!(lobby(&state).unread, 1, "another tab read on");
    room(&mut state).shown();
    assert_eq!(
        state.read_due(LOBBY),
        Some(ChatCommand::Read {
            room: LOBBY.into(),
            offset: 7
        })
    );
    assert_eq!(lobby(&state).unread, 0);
    assert_eq!(state.read_due(LOBBY), None, "once is enough");
    state.apply(mark(1, 2), 0.0);
    assert_eq!(state.read_due(LOBBY), None, "a mark never goes back");
}

#[test]
fn a_message_that_is_not_on_the_page_yet_is_not_read() {
    let mut state = in_lobby(3);
    state.apply(message(4, 2), 0.0);
    let read = |offset| {
        Some(ChatCommand::Read {
            room: LOBBY.into(),
            offset,
        })
    };
    assert_eq!(state.read_due(LOBBY), read(3));
    assert_eq!(lobby(&state).unread, 1);
    room(&mut state).shown();
    assert_eq!(state.read_due(LOBBY), read(4));
    assert_eq!(lobby(&state).unread, 0);
    // Offsets of one epoch mean nothing in another.
    state.connected(me());
    state.apply(ChatEvent::Joined(joined(9, false, 1)), 0.0);
    state.apply(message(9, 2), 0.0);
    assert_eq!(state.read_due(LOBBY), None);
}

#[test]
fn a_read_mark_that_the_server_missed_is_sent_again() {
    let mut state = in_lobby(3);
    assert!(state.read_due(LOBBY).is_some());
    state.connected(me());
    assert_eq!(state.read_due(LOBBY), None, "not before it has joined");
    joins(&mut state, LOBBY);
    state.apply(
        ChatEvent::Joined(Joined {
            read: vec![crate::chat::message::ReadMark {
                user_id: me(),
                offset: 1,
            }],
            unread: 2,
            ..joined(3, true, 0)
        }),
        0.0,
    );
    assert_eq!(lobby(&state).unread, 2);
    assert!(state.read_due(LOBBY).is_some());
}

#[test]
fn reading_the_end_leaves_nothing_unread_even_if_messages_are_not_held() {
    let mut state = ChatState::new(None, LOBBY, None);
    state.connected(me());
    joins(&mut state, LOBBY);
    state.apply(
        ChatEvent::Joined(Joined {
            unread: 700,
            ..joined(900, false, 1)
        }),
        0.0,
    );
    state.apply(message(900, 2), 0.0);
    assert_eq!(lobby(&state).unread, 700);
    state.apply(mark(1, 850), 0.0);
    assert_eq!(lobby(&state).unread, 700, "not known here");
    room(&mut state).shown();
    state.read_due(LOBBY);
    assert_eq!(lobby(&state).unread, 0);
}

#[test]
fn a_receipt_is_shown_at_the_newest_message_and_where_a_reader_stopped() {
    let mut state = in_lobby(0);
    for offset in 1..=4 {
        state.apply(message(offset, 1), 0.0);
    }
    assert_eq!(state.receipts(LOBBY), BTreeMap::from([(4, 0)]));
    state.apply(mark(2, 2), 0.0);
    state.apply(mark(3, 4), 0.0);
    state.apply(mark(1, 4), 0.0);
    assert_eq!(
        state.receipts(LOBBY),
        BTreeMap::from([(2, 2), (4, 1)]),
        "one's own mark does not count"
    );
    state.apply(mark(2, 1), 0.0);
    assert_eq!(state.receipts(LOBBY)[&2], 2, "marks only grow");
    state.apply(mark(2, 4), 0.0);
    assert_eq!(state.receipts(LOBBY), BTreeMap::from([(4, 2)]));
}

#[test]
fn typing_is_shown_in_words_and_expires() {
    let mut state = in_lobby(0);
    let typing = |by: u128| ChatEvent::Typing {
        room: LOBBY.into(),
        user_id: Uuid::from_u128(by),
    };
    state.apply(typing(1), 0.0);
    assert_eq!(
        lobby(&state).typing_sentence(),
        "",
        "one knows that oneself"
    );
    for (by, sentence) in [
        (2, "Ada is typing"),
        (3, "Ada and Grace are typing"),
        (4, "Ada, Grace and Linus are typing"),
        (5, "4 people are typing"),
    ] {
        state.apply(typing(by), by as f64 * 1_000.0);
        assert_eq!(lobby(&state).typing_sentence(), sentence);
    }
    state.expire(2_000.0 + TYPING_MS);
    assert_eq!(
        lobby(&state).typing_sentence(),
        "Grace, Ken and Linus are typing"
    );
    state.apply(message(1, 3), 0.0);
    assert_eq!(
        lobby(&state).typing_sentence(),
        "Ken and Linus are typing",
        "the message is what was typed"
    );
    state.apply(
        ChatEvent::UserLeft {
            room: LOBBY.into(),
            user_id: Uuid::from_u128(4),
        },
        0.0,
    );
    assert_eq!(lobby(&state).typing_sentence(), "Ken is typing");
    state.expire(5_000.0 + TYPING_MS);
    assert_eq!(lobby(&state).typing_sentence(), "");
}

#[test]
fn own_typing_is_sent_at_most_once_in_three_seconds() {
    let mut state = in_lobby(0);
    assert_eq!(
        room(&mut state).typing_due(10_000.0),
        Some(ChatCommand::Typing { room: LOBBY.into() })
    );
    assert_eq!(room(&mut state).typing_due(12_999.0), None);
    assert!(room(&mut state).typing_due(13_000.0).is_some());
    state.connected(me());
    assert_eq!(
        room(&mut state).typing_due(99_000.0),
        None,
        "not before it has joined"
    );
}

#[test]
fn history_is_asked_for_once_at_a_time_and_joins_above() {
    let mut state = in_lobby(0);
    state.apply(ChatEvent::Joined(joined(60, false, 10)), 0.0);
    for offset in 51..=60 {
        state.apply(message(offset, 2), 0.0);
    }
    let ask = ChatCommand::History {
        room: LOBBY.into(),
        before: 51,
        limit: PAGE,
    };
    assert_eq!(room(&mut state).history_due(), Some(ask));
    assert_eq!(room(&mut state).history_due(), None);
    state.apply(history(1..51, false), 0.0);
    let shown = offsets(&state);
    assert!(shown[0] < 51, "a step of the page is shown at once");
    assert_eq!(shown, (shown[0]..=60).collect::<Vec<_>>());
    // The rest follows as the reader scrolls.
    while room(&mut state).log.show_older() {}
    assert_eq!(offsets(&state), (1..=60).collect::<Vec<_>>());
    assert_eq!(room(&mut state).history_due(), None, "there is no more");
}

#[test]
fn history_that_comes_before_the_frame_of_a_step_adds_no_second_step_to_it() {
    let mut state = in_lobby(0);
    state.apply(ChatEvent::Joined(joined(300, false, 250)), 0.0);
    for offset in 51..=300 {
        state.apply(message(offset, 2), 0.0);
    }
    room(&mut state).shown();
    room(&mut state).scrolled_up(true);
    // Step by step, each in its frame, until the last one asks for history.
    while room(&mut state).history_due().is_none() {
        room(&mut state).shown();
        assert!(room(&mut state).log.show_older());
    }
    let before = offsets(&state);
    assert_eq!(before[0], 51);
    state.apply(history(1..51, false), 0.0);
    assert_eq!(offsets(&state), before);
    room(&mut state).shown();
    while room(&mut state).log.show_older() {}
    assert_eq!(offsets(&state)[0], 1);
}

#[test]
fn a_page_of_history_that_no_longer_touches_the_first_message_leaves_no_hole() {
    let mut state = in_lobby(0);
    state.apply(ChatEvent::Joined(joined(4_000, false, 1)), 0.0);
    state.apply(message(2_000, 2), 0.0);
    assert!(matches!(room(&mut state).seek(1), Sought::Ask(_)));
    room(&mut state).to_latest();
    // So many messages arrive that the oldest are dropped, among them the one before which the page was requested.
    for offset in 2_001..=4_001 {
        state.apply(message(offset, 2), 0.0);
    }
    let first = lobby(&state).log.first_offset().unwrap();
    assert!(first > 2_000);
    state.apply(history(1_800..2_000, true), 0.0);
    assert_eq!(lobby(&state).log.first_offset(), Some(first));
    assert_eq!(
        lobby(&state).sought(),
        None,
        "who went to the end is not taken away from there"
    );
}

#[test]
fn a_room_whose_backlog_did_not_arrive_is_joined_as_before() {
    let mut state = in_lobby(0);
    state.apply(ChatEvent::Joined(joined(4_000, false, 50)), 0.0);
    state.connected(me());
    let rejoin = ChatCommand::Join {
        room: LOBBY.into(),
        after: None,
    };
    assert_eq!(
        joins(&mut state, LOBBY)[0],
        rejoin,
        "not from the beginning"
    );
}

#[test]
fn a_message_further_up_is_looked_for_page_by_page() {
    let mut state = in_lobby(0);
    state.apply(ChatEvent::Joined(joined(1_000, false, 1)), 0.0);
    state.apply(message(1_000, 2), 0.0);
    assert_eq!(room(&mut state).seek(1_000), Sought::Shown);
    let mut pages = 0;
    loop {
        match room(&mut state).seek(500) {
            Sought::Ask(ChatCommand::History { before, limit, .. }) => {
                assert_eq!(lobby(&state).sought(), Some(500));
                assert_eq!(room(&mut state).seek(500), Sought::Coming);
                state.apply(history(before - limit as u64..before, true), 0.0);
                pages += 1;
            }
            found => {
                assert_eq!(found, Sought::Shown);
                break;
            }
        }
    }
    assert_eq!(pages, 3);
    assert!(offsets(&state).contains(&500));
    assert_eq!(
        room(&mut state).seek(2_000),
        Sought::Gone,
        "of another history"
    );
}

#[test]
fn messages_that_arrive_while_the_reader_is_further_up_are_counted() {
    let mut state = in_lobby(10);
    room(&mut state).scrolled_up(true);
    state.apply(message(11, 2), 0.0);
    state.apply(message(12, 1), 0.0);
    assert_eq!(lobby(&state).new_below(), 2);
    room(&mut state).scrolled_up(false);
    assert_eq!(lobby(&state).new_below(), 0);
}

#[test]
fn only_live_messages_of_others_are_announced() {
    let mut state = in_lobby(3);
    assert!(
        room(&mut state).take_news().is_empty(),
        "the backlog is old news"
    );
    state.apply(message(4, 2), 0.0);
    state.apply(message(5, 1), 0.0);
    let news: Vec<_> = room(&mut state)
        .take_news()
        .iter()
        .map(|message| message.offset)
        .collect();
    assert_eq!(news, [4]);
    assert!(room(&mut state).take_news().is_empty(), "each once");
}

#[test]
fn an_own_message_is_shown_from_its_acknowledgement_to_its_arrival() {
    let mut state = in_lobby(3);
    let own = |offset| Acknowledged {
        id: stored(offset, 1).id.value(),
        offset,
        text: "mine".into(),
    };
    state.acknowledge(LOBBY, own(5));
    assert_eq!(lobby(&state).acknowledged, [own(5)]);
    state.apply(message(4, 2), 0.0);
    state.apply(message(5, 1), 0.0);
    assert!(lobby(&state).acknowledged.is_empty());
    state.acknowledge(LOBBY, own(5));
    assert!(lobby(&state).acknowledged.is_empty(), "it is here already");
}

#[test]
fn a_message_that_arrived_before_its_acknowledgement_is_held() {
    let mut state = in_lobby(3);
    let ids = [stored(2, 1), stored(4, 1)]
        .map(|message| message.id.value())
        .into();
    assert_eq!(lobby(&state).held(&ids), [stored(2, 1).id.value()].into());
    state.apply(message(4, 1), 0.0);
    assert_eq!(lobby(&state).held(&ids), ids);
}
