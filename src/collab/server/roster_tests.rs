//! Tests the roster of a board: who receives what, and when an update counts as saved.

use uuid::Uuid;

use super::*;
use crate::collab::protocol::decode_state_vector;

/// Adds a client of ours to the board.
fn join(roster: &mut Roster, id: PeerId) -> OutQueue {
    let (queue, user) = (OutQueue::default(), User::new(Uuid::new_v4(), "Ana".into()));
    let welcome = |others: Vec<Peer>| {
        let others: Vec<PeerId> = others.iter().map(|peer| peer.id).collect();
        Frame::Text(format!("welcome {others:?}").into())
    };
    roster.join(id, user, queue.clone(), welcome);
    queue
}

/// The text messages in a queue.
async fn texts_in(queue: &OutQueue) -> Vec<String> {
    let messages = queue.take().await.messages;
    let texts = messages.into_iter().filter_map(|message| match message {
        Frame::Text(text) => Some(text.as_str().to_owned()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test]
async fn the_welcome_is_first_and_later_events_come_after_it() {
    let mut roster = Roster::default();
    let ana = join(&mut roster, 1);
    let ben = join(&mut roster, 2);
    roster.leave(1, 2);
    let ana = texts_in(&ana).await;
    assert_eq!(ana[0], "welcome []");
    assert!(ana[1].starts_with(r#"{"type":"joined""#), "{ana:?}");
    assert_eq!(
        texts_in(&ben).await,
        ["welcome [1]", r#"{"type":"left","id":1}"#]
    );
}

#[tokio::test]
async fn a_pointer_that_shows_and_hides_is_sent_once_a_tick() {
    let mut roster = Roster::default();
    let ana = join(&mut roster, 1);
    join(&mut roster, 2);
    texts_in(&ana).await;
    for step in 0..1_000 {
        roster.move_to(2, step as f32 / 1_000.0, 0.5);
        roster.hide(2);
    }
    roster.tick();
    roster.tick();
    assert_eq!(texts_in(&ana).await, [r#"{"type":"hidden","id":2}"#]);
}

#[tokio::test]
async fn a_complete_answer_counts_for_updates_refused_before() {
    let mut roster = Roster::default();
    let ana = join(&mut roster, 1);
    roster.send_initial_state(1);
    texts_in(&ana).await;
    // The second of three is refused.
    for _ in 0..3 {
        roster.received(1);
    }
    roster.accepted(1, 1, false);
    roster.accepted(1, 2, false);
    roster.saved(2, Clocks::new());
    assert!(texts_in(&ana).await[0].ends_with(r#""updates":2}"#));
    // An answer that lacks it does not count for it; one with everything does.
    roster.received(1);
    roster.accepted(1, 3, true);
    roster.saved(3, Clocks::new());
    assert!(texts_in(&ana).await[0].ends_with(r#""updates":4}"#));
}

#[tokio::test]
async fn saved_clocks_are_sent_in_full_once_then_as_changes_and_encoded_once() {
    let mut roster = Roster::default();
    roster.found_saved(Clocks::from([(7, 1), (8, 1)]));
    let [ana, ben, late] = [1, 2, 3].map(|id| join(&mut roster, id));
    let vector = |clocks: &[(u64, u32)]| {
        BASE64_STANDARD.encode(encode_state_vector(&clocks.iter().copied().collect()))
    };
    roster.send_initial_state(1);
    roster.send_initial_state(2);
    let first = texts_in(&ana).await;
    let first: serde_json::Value = serde_json::from_str(first.last().unwrap()).unwrap();
    let first = BASE64_STANDARD.decode(first["state_vector"].as_str().unwrap());
    let all = decode_state_vector(&first.unwrap());
    assert_eq!(all, Ok(Clocks::from([(7, 1), (8, 1)])));
    texts_in(&ben).await;
    texts_in(&late).await;
    roster.saved(1, Clocks::from([(8, 2)]));
    let [to_ana, to_ben] = [ana.take().await.messages, ben.take().await.messages];
    assert!(to_ana[0].to_text().unwrap().contains(&vector(&[(8, 2)])));
    let place = |messages: &[Frame]| messages[0].to_text().unwrap().as_ptr();
    assert_eq!(place(&to_ana), place(&to_ben), "the same bytes");
    // A deletion moves no clock, so only its sender is notified.
    roster.received(1);
    roster.accepted(1, 2, false);
    roster.saved(2, Clocks::new());
    assert_eq!(texts_in(&ana).await.len(), 1);
    assert_eq!(ben.pending_bytes(), 0);
    // A client that was not sent everything yet is not sent the changes either. Later it is sent everything.
    assert_eq!(late.pending_bytes(), 0);
    roster.send_initial_state(3);
    let first = texts_in(&late).await;
    let first: serde_json::Value = serde_json::from_str(first.last().unwrap()).unwrap();
    let first = BASE64_STANDARD.decode(first["state_vector"].as_str().unwrap());
    let all = decode_state_vector(&first.unwrap());
    assert_eq!(all, Ok(Clocks::from([(7, 1), (8, 2)])));
}

#[test]
fn a_repeated_update_takes_no_memory_while_nothing_is_written() {
    let mut saving = Saving::default();
    for _ in 0..1_000 {
        saving.accepted(7, 1);
        // An empty answer in between has an older sequence.
        saving.accepted(0, 1);
    }
    assert_eq!(saving.unsaved.len(), 1);
    assert!(!saving.count(6) && saving.count(7));
    assert_eq!((saving.saved, saving.waiting), (2_000, 0));
}
