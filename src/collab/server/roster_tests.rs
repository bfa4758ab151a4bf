use uuid::Uuid;

use super::*;
use crate::collab::protocol::decode_state_vector;

/// Somebody of ours on the board.
fn enter(people: &mut People, id: PeerId) -> OutQueue {
    let (queue, user) = (OutQueue::default(), User::new(Uuid::new_v4(), "Ana".into()));
    let welcome = |others: Vec<Peer>| {
        let others: Vec<PeerId> = others.iter().map(|peer| peer.id).collect();
        Frame::Text(format!("welcome {others:?}").into())
    };
    people.enter(id, user, queue.clone(), welcome);
    queue
}

/// What waits in a queue, as far as it is text.
async fn told(queue: &OutQueue) -> Vec<String> {
    let messages = queue.take().await.messages;
    let texts = messages.into_iter().filter_map(|message| match message {
        Frame::Text(text) => Some(text.as_str().to_owned()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test]
async fn the_welcome_is_first_and_what_is_told_meanwhile_comes_after_it() {
    let mut people = People::default();
    let ana = enter(&mut people, 1);
    let ben = enter(&mut people, 2);
    people.leave(1, 2);
    let ana = told(&ana).await;
    assert_eq!(ana[0], "welcome []");
    assert!(ana[1].starts_with(r#"{"type":"joined""#), "{ana:?}");
    assert_eq!(
        told(&ben).await,
        ["welcome [1]", r#"{"type":"left","id":1}"#]
    );
}

#[tokio::test]
async fn a_pointer_that_comes_and_goes_is_told_once_a_tick() {
    let mut people = People::default();
    let ana = enter(&mut people, 1);
    enter(&mut people, 2);
    told(&ana).await;
    for step in 0..1_000 {
        people.move_to(2, step as f32 / 1_000.0, 0.5);
        people.hide(2);
    }
    people.tick();
    people.tick();
    assert_eq!(told(&ana).await, [r#"{"type":"hidden","id":2}"#]);
}

#[tokio::test]
async fn an_answer_with_all_that_a_socket_has_counts_for_what_was_refused_before() {
    let mut people = People::default();
    let ana = enter(&mut people, 1);
    people.brief(1);
    told(&ana).await;
    // The second of three is refused.
    for _ in 0..3 {
        people.came(1);
    }
    people.took(1, 1, false);
    people.took(1, 2, false);
    people.saved(2, Clocks::new());
    assert!(told(&ana).await[0].ends_with(r#""updates":2}"#));
    // What lacks it is no such answer; one that has everything is.
    people.came(1);
    people.took(1, 3, true);
    people.saved(3, Clocks::new());
    assert!(told(&ana).await[0].ends_with(r#""updates":4}"#));
}

#[tokio::test]
async fn what_is_saved_is_told_in_full_once_then_as_it_moves_and_encoded_once() {
    let mut people = People::default();
    people.loaded(&Clocks::from([(7, 1), (8, 1)]));
    let [ana, ben, late] = [1, 2, 3].map(|id| enter(&mut people, id));
    let vector = |clocks: &[(u64, u32)]| {
        BASE64_STANDARD.encode(encode_state_vector(&clocks.iter().copied().collect()))
    };
    people.brief(1);
    people.brief(2);
    let first = told(&ana).await;
    let first: serde_json::Value = serde_json::from_str(first.last().unwrap()).unwrap();
    let first = BASE64_STANDARD.decode(first["state_vector"].as_str().unwrap());
    let all = decode_state_vector(&first.unwrap());
    assert_eq!(all, Ok(Clocks::from([(7, 1), (8, 1)])));
    told(&ben).await;
    told(&late).await;
    people.saved(1, Clocks::from([(8, 2)]));
    let [to_ana, to_ben] = [ana.take().await.messages, ben.take().await.messages];
    assert!(to_ana[0].to_text().unwrap().contains(&vector(&[(8, 2)])));
    let place = |messages: &[Frame]| messages[0].to_text().unwrap().as_ptr();
    assert_eq!(place(&to_ana), place(&to_ben), "the same bytes");
    // A deletion moves no clock: it is news only to who made it.
    people.came(1);
    people.took(1, 2, false);
    people.saved(2, Clocks::new());
    assert_eq!(told(&ana).await.len(), 1);
    assert_eq!(ben.pending_bytes(), 0);
    // Who was not told everything yet is not told what moved, but then everything.
    assert_eq!(late.pending_bytes(), 0);
    people.brief(3);
    let first = told(&late).await;
    let first: serde_json::Value = serde_json::from_str(first.last().unwrap()).unwrap();
    let first = BASE64_STANDARD.decode(first["state_vector"].as_str().unwrap());
    let all = decode_state_vector(&first.unwrap());
    assert_eq!(all, Ok(Clocks::from([(7, 1), (8, 2)])));
}

#[test]
fn the_same_sent_again_and_again_takes_no_memory_while_nothing_is_written() {
    let mut saving = Saving::default();
    for _ in 0..1_000 {
        saving.took(7, 1);
        // Nothing to say, between: its sequence is older.
        saving.took(0, 1);
    }
    assert_eq!(saving.unsaved.len(), 1);
    assert!(!saving.count(6) && saving.count(7));
    assert_eq!((saving.saved, saving.waiting), (2_000, 0));
}
