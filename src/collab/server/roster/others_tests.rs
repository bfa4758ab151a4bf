//! Tests what the rosters of two nodes tell each other, and what their clients hear of it.

use std::time::Duration;

use axum::extract::ws::Message as Frame;

use super::*;
use crate::{
    collab::protocol::{ClientState, GONE, Message, decode, decode_awareness},
    session::User,
};
use realtime::server::queue::OutQueue;

/// The id of the other node, at which the ids of peers are 100 and more.
const NODE: Uuid = Uuid::from_u128(2);
/// Longer than a node may be silent.
const LONG: Duration = Duration::from_secs(30);

/// Adds a client of ours.
fn join(roster: &mut Roster, id: PeerId) -> OutQueue {
    let (queue, user) = (OutQueue::default(), User::new(Uuid::new_v4(), "Ana".into()));
    let welcome = |others: Vec<Peer>| {
        let others: Vec<PeerId> = others.iter().map(|peer| peer.id).collect();
        Frame::Text(format!("{others:?}").into())
    };
    roster.join(id, user, queue.clone(), welcome);
    queue
}

/// What a queue holds in words: the type and the peer of each event, and each awareness state.
async fn heard_in(queue: &OutQueue) -> Vec<String> {
    let mut heard = vec![];
    if queue.pending_bytes() == 0 {
        return heard;
    }
    for message in queue.take().await.messages {
        match message {
            Frame::Binary(frame) => {
                let Some(Ok(Message::Awareness(states))) = decode(&frame).next() else {
                    panic!("not awareness");
                };
                let states = decode_awareness(states).unwrap();
                heard.extend(
                    states
                        .iter()
                        .map(|state| format!("{} {}", state.client, state.state)),
                );
            }
            Frame::Text(text) => match serde_json::from_str::<serde_json::Value>(&text).unwrap() {
                event if event["type"] == "joined" => {
                    heard.push(format!("joined {}", event["peer"]["id"]))
                }
                event if event["type"] == "moved" => {
                    heard.push(format!("moved {}", event["moves"]))
                }
                event if event.is_object() => {
                    heard.push(format!(
                        "{} {}",
                        event["type"].as_str().unwrap(),
                        event["id"]
                    ));
                }
                welcome => heard.push(format!("welcome {welcome}")),
            },
            other => panic!("{other:?}"),
        }
    }
    heard
}

fn state(client: u64, clock: u64, state: &str) -> ClientState {
    ClientState {
        client,
        clock,
        state: state.to_owned(),
    }
}

/// Announces a tick of one roster to another.
fn tick(from: &mut Roster, to: &mut Roster) {
    if let Some(news) = from.tick() {
        to.heard(
            Announcement::Changed { node: NODE, news },
            1,
            Instant::now(),
        );
    }
}

/// Announces everybody of one roster to another.
fn renew(from: &mut Roster, to: &mut Roster, now: Instant) {
    if let Some((peers, states)) = from.everybody() {
        let here = Announcement::Here {
            node: NODE,
            peers,
            states,
        };
        to.heard(here, 1, now);
    }
}

#[tokio::test]
async fn peers_of_another_node_come_move_hide_and_leave_as_those_who_are_here() {
    let (mut here, mut there) = (Roster::shared(), Roster::shared());
    let ana = join(&mut here, 1);
    join(&mut there, 100);
    tick(&mut there, &mut here);
    there.move_to(100, 0.1, 0.5);
    there.move_to(100, 0.2, 0.5);
    tick(&mut there, &mut here);
    assert_eq!(heard_in(&ana).await, ["welcome []", "joined 100"]);
    here.move_to(1, 0.3, 0.5);
    // One message for those who are here, and only what happened here for the other nodes.
    let news = here.tick().unwrap();
    assert_eq!(heard_in(&ana).await, ["moved [[1,0.3,0.5],[100,0.2,0.5]]"]);
    assert_eq!(
        (news.joined.len(), &news.moves[..]),
        (1, &[(1, 0.3, 0.5)][..])
    );
    let ben = join(&mut here, 2);
    assert_eq!(heard_in(&ben).await, ["welcome [1,100]"]);
    there.hide(100);
    tick(&mut there, &mut here);
    let news = here.tick().unwrap();
    assert_eq!((news.hidden, news.left), (vec![], vec![]));
    there.leave(100, 100);
    tick(&mut there, &mut here);
    assert_eq!(heard_in(&ben).await, ["hidden 100", "left 100"]);
    assert_eq!(here.tick(), None, "what was heard is not announced");
}

#[tokio::test]
async fn carets_of_another_node_come_with_their_newest_state_and_leave_with_their_peer() {
    let (mut here, mut there) = (Roster::shared(), Roster::shared());
    let ana = join(&mut here, 1);
    there.join_yjs(100, OutQueue::default());
    here.tick();
    heard_in(&ana).await;
    for clock in 1..=3 {
        let states = vec![state(70, clock, &clock.to_string()), state(71, clock, "{}")];
        there.apply_awareness(100, 100, states).unwrap();
    }
    tick(&mut there, &mut here);
    assert_eq!(heard_in(&ana).await, ["70 3", "71 {}"]);
    assert!(!here.has_news());
    there
        .apply_awareness(100, 100, vec![state(71, 3, GONE)])
        .unwrap();
    tick(&mut there, &mut here);
    assert_eq!(heard_in(&ana).await, ["71 null"]);
    there.leave(100, 100);
    tick(&mut there, &mut here);
    assert_eq!(heard_in(&ana).await, ["70 null"]);
}

#[tokio::test]
async fn an_announcement_of_everybody_repairs_what_was_lost() {
    let (mut here, mut there) = (Roster::shared(), Roster::shared());
    let ana = join(&mut here, 1);
    heard_in(&ana).await;
    for id in [100, 101] {
        join(&mut there, id);
        let states = vec![state(id, 1, "{}"), state(10 * id, 1, "{}")];
        there.apply_awareness(id, 101, states).unwrap();
    }
    tick(&mut there, &mut here);
    heard_in(&ana).await;
    // All of this is lost.
    join(&mut there, 102);
    there.move_to(100, 0.1, 0.5);
    there.leave(101, 102);
    let changed = vec![state(100, 2, "\"new\""), state(1_000, 2, GONE)];
    there.apply_awareness(100, 102, changed).unwrap();
    there.tick();
    let now = Instant::now();
    renew(&mut there, &mut here, now);
    here.tick();
    let repaired = heard_in(&ana).await;
    let expected = [
        "1000 null",
        "joined 102",
        "100 \"new\"",
        "left 101",
        "101 null",
        "1010 null",
        "moved [[100,0.1,0.5]]",
    ];
    assert_eq!(repaired, expected);
    renew(&mut there, &mut here, now);
    assert_eq!((heard_in(&ana).await, here.tick()), (vec![], None));
}

#[tokio::test]
async fn the_peers_of_a_node_that_is_gone_or_silent_leave() {
    let (mut here, mut there) = (Roster::shared(), Roster::shared());
    let ana = join(&mut here, 1);
    join(&mut there, 100);
    there
        .apply_awareness(100, 100, vec![state(70, 1, "{}")])
        .unwrap();
    let (start, left) = (Instant::now(), ["left 100", "70 null"]);
    renew(&mut there, &mut here, start);
    heard_in(&ana).await;
    here.expire(1, start + LONG / 2);
    assert_eq!(heard_in(&ana).await, [] as [&str; 0]);
    here.expire(1, start + LONG);
    assert_eq!(heard_in(&ana).await, left);
    renew(&mut there, &mut here, start + LONG);
    assert_eq!(heard_in(&ana).await, ["joined 100", "70 {}"]);
    here.gone(NODE, 1);
    assert_eq!(heard_in(&ana).await, left);
}

#[tokio::test]
async fn a_roster_that_is_not_shared_or_says_goodbye_announces_nothing() {
    for mut roster in [Roster::default(), Roster::shared()] {
        roster.fall_silent();
        join(&mut roster, 1);
        roster.move_to(1, 0.5, 0.5);
        roster
            .apply_awareness(1, 1, vec![state(70, 1, "{}")])
            .unwrap();
        assert!(!roster.has_news());
        assert_eq!((roster.tick(), roster.everybody()), (None, None));
    }
    // With nobody here there is nothing to announce, but who left is not forgotten.
    let mut roster = Roster::shared();
    join(&mut roster, 1);
    roster.tick();
    roster.leave(1, 1);
    assert_eq!(roster.everybody(), None);
    assert_eq!(roster.tick().unwrap().left, [1]);
}
