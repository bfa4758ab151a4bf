//! Tests clients against a minimal server: a document and a count of durable updates for each connection, without a
//! network.

use super::{awareness::StateUser, *};

/// A server for one document; [`Server::flush`] moves its text to disk.
struct Server {
    document: SharedText,
    on_disk: Vec<u8>,
    /// The number of updates received on each connection.
    received: Vec<u64>,
}

impl Server {
    fn new() -> Self {
        let document = SharedText::new(0);
        let on_disk = document.state_vector();
        Self {
            document,
            on_disk,
            received: vec![0; 8],
        }
    }

    /// Opens a connection: sends step 1, as after `welcome`.
    fn greet(&mut self, number: usize, client: &mut Client) {
        self.received[number] = 0;
        let frames = client.connected(0.0);
        let step_1 = Message::SyncStep1(&self.document.state_vector()).encode();
        let answers = receive(client, &step_1);
        for frame in frames.into_iter().chain(answers) {
            self.handle(number, client, &frame);
        }
    }

    /// Handles a frame of a client and answers it. Returns the updates for the other clients.
    fn handle(&mut self, number: usize, client: &mut Client, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut updates = vec![];
        for message in decode(frame).map(Result::unwrap) {
            match message {
                Message::SyncStep1(vector) => {
                    let lacks = self.document.difference(vector).unwrap();
                    let answers = receive(client, &Message::SyncStep2(&lacks).encode());
                    for answer in answers {
                        self.handle(number, client, &answer);
                    }
                }
                Message::SyncStep2(update) | Message::Update(update) => {
                    assert_eq!(self.document.apply([update]).1, Ok(()));
                    self.received[number] += 1;
                    updates.push(Message::Update(update).encode());
                }
                _ => {}
            }
        }
        updates
    }

    fn flush(&mut self) {
        self.on_disk = self.document.state_vector();
    }

    fn send_saved(&self, number: usize, client: &mut Client) {
        client.saved(&STANDARD.encode(&self.on_disk), self.received[number]);
    }
}

/// Receives a frame and applies what then waits. Returns the frames to be sent.
fn receive(client: &mut Client, frame: &[u8]) -> Vec<Vec<u8>> {
    let (outcome, read) = client.receive(frame, 0.0);
    assert_eq!(read, Ok(()));
    let mut frames = outcome.frames;
    if outcome.text_waits {
        let (_, more, applied) = client.take_waiting();
        assert_eq!(applied, Ok(()));
        frames.extend(more);
    }
    frames
}

fn append(client: &mut Client, what: &str) -> Vec<Vec<u8>> {
    let value = format!("{}{what}", client.shown());
    client.edit(&value, u32::MAX, 0.0).unwrap()
}

#[test]
fn nothing_can_be_typed_before_the_servers_text_is_received() {
    let mut server = Server::new();
    server.document.edit("what was there", 0, 0.0).unwrap();
    let mut client = Client::new(1, false, None);
    assert_eq!(
        (client.is_editable(), client.mark()),
        (false, Mark::Loading)
    );
    server.greet(0, &mut client);
    assert_eq!(
        (client.is_editable(), client.shown()),
        (true, "what was there")
    );
    assert_eq!(client.mark(), Mark::Saving);
    server.flush();
    server.send_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saved);
}

#[test]
fn saved_is_displayed_only_when_everything_is_on_disk_deletions_too() {
    let mut server = Server::new();
    let mut client = Client::new(1, false, None);
    server.greet(0, &mut client);
    server.send_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saved);
    let frames = append(&mut client, "text");
    assert_eq!(client.mark(), Mark::Saving);
    server.handle(0, &mut client, &frames[0]);
    client.saved(&STANDARD.encode(&server.on_disk), 1);
    assert_eq!(
        client.mark(),
        Mark::Saving,
        "a deletion was: its state vector is old"
    );
    server.flush();
    server.send_saved(0, &mut client);
    assert_eq!((client.mark(), client.to_keep()), (Mark::Saved, None));
    let frames = client.edit("", 0, 0.0).unwrap();
    server.send_saved(0, &mut client);
    assert_eq!(
        client.mark(),
        Mark::Saving,
        "the vector covers, the count does not"
    );
    assert!(client.to_keep().is_some());
    server.handle(0, &mut client, &frames[0]);
    server.send_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saved);
    // An invalid state vector is ignored.
    client.saved("%", 99);
    assert_eq!(client.mark(), Mark::Saved);
}

#[test]
fn a_text_of_which_nothing_is_stored_for_two_ticks_is_unsaved_until_something_is() {
    let mut server = Server::new();
    let mut client = Client::new(1, false, None);
    server.greet(0, &mut client);
    server.flush();
    server.send_saved(0, &mut client);
    client.tick(5_000.0);
    let frames = append(&mut client, "text");
    server.handle(0, &mut client, &frames[0]);
    client.tick(10_000.0);
    assert_eq!(client.mark(), Mark::Saving);
    client.tick(15_000.0);
    assert_eq!(client.mark(), Mark::Unsaved);
    append(&mut client, " and more");
    assert_eq!(client.mark(), Mark::Unsaved);
    // The first of both was stored.
    server.flush();
    server.send_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saving);
    client.tick(20_000.0);
    client.tick(25_000.0);
    assert_eq!(client.mark(), Mark::Unsaved);
    client.disconnected();
    assert_eq!(client.mark(), Mark::Offline { unsent: 1 });
}

#[test]
fn offline_edits_merge_after_a_reconnect_and_nothing_overtakes_them() {
    let mut server = Server::new();
    let (mut one, mut two) = (Client::new(1, false, None), Client::new(2, false, None));
    server.greet(0, &mut one);
    server.greet(1, &mut two);
    one.disconnected();
    assert_eq!(one.mark(), Mark::Offline { unsent: 0 });
    for letter in ["a", "b"] {
        assert_eq!(append(&mut one, letter), Vec::<Vec<u8>>::new());
    }
    assert_eq!(one.mark(), Mark::Offline { unsent: 2 });
    let frames = append(&mut two, "two ");
    server.handle(1, &mut two, &frames[0]);
    // After the reconnect an edit is made before the server has asked. It waits until the answer was sent.
    one.connected(0.0);
    assert_eq!(append(&mut one, "c"), Vec::<Vec<u8>>::new());
    server.greet(0, &mut one);
    assert_eq!(one.mark(), Mark::Saving);
    server.flush();
    server.send_saved(0, &mut one);
    assert_eq!(one.mark(), Mark::Saved);
    assert_eq!(server.document.shown(), one.shown());
    assert!(one.shown().contains("abc") && one.shown().contains("two "));
}

#[test]
fn unsaved_edits_survive_a_reload_and_are_forgotten_once_saved() {
    let mut server = Server::new();
    let mut before = Client::new(1, false, None);
    server.greet(0, &mut before);
    let frames = append(&mut before, "arrived ");
    server.handle(0, &mut before, &frames[0]);
    before.disconnected();
    append(&mut before, "never sent");
    before.edit("arrived never SENT", 0, 0.0).unwrap();
    let kept = before.to_keep();
    assert!(kept.is_some());

    let mut after = Client::new(7, false, kept.clone());
    assert_eq!(
        after.to_keep(),
        kept,
        "not lost by a visit that never connects"
    );
    server.greet(1, &mut after);
    assert_eq!(after.shown(), "arrived never SENT");
    assert_eq!(server.document.shown(), "arrived never SENT");
    assert!(after.to_keep().is_some(), "it left, and is not on disk");
    server.flush();
    server.send_saved(1, &mut after);
    assert_eq!((after.mark(), after.to_keep()), (Mark::Saved, None));
}

#[test]
fn updates_wait_during_a_composition_and_merge_with_it() {
    let mut server = Server::new();
    let (mut one, mut two) = (Client::new(1, false, None), Client::new(2, false, None));
    server.greet(0, &mut one);
    server.greet(1, &mut two);
    let frames = append(&mut two, "before ");
    let news = server.handle(1, &mut two, &frames[0]);
    receive(&mut one, &news[0]);
    // During a composition received updates wait, and the displayed text stays.
    let frames = two.edit("now before ", 4, 0.0).unwrap();
    let news = server.handle(1, &mut two, &frames[0]);
    let (outcome, _) = one.receive(&news[0], 0.0);
    assert!(outcome.text_waits);
    assert_eq!(one.shown(), "before ");
    let frames = one.edit("before 中文", 9, 0.0).unwrap();
    assert!(one.take_waiting().0);
    assert_eq!(one.shown(), "now before 中文");
    let news = server.handle(0, &mut one, &frames[0]);
    receive(&mut two, &news[0]);
    assert_eq!(two.shown(), one.shown());
}

#[test]
fn a_reader_asks_and_never_sends_updates() {
    let mut server = Server::new();
    server.document.edit("read me", 0, 0.0).unwrap();
    let mut reader = Client::new(1, true, None);
    server.greet(0, &mut reader);
    assert_eq!((reader.shown(), reader.mark()), ("read me", Mark::ReadOnly));
    assert!(!reader.is_editable() && !reader.can_undo());
    assert_eq!(server.received[0], 0);
    assert_eq!(reader.to_keep(), None);
}

#[test]
fn too_much_at_once_is_refused_and_nothing_is_changed() {
    let mut server = Server::new();
    let mut client = Client::new(1, false, None);
    server.greet(0, &mut client);
    let half = "x".repeat(2_000_000);
    client.edit(&half, 0, 0.0).unwrap();
    let more = half.repeat(2);
    assert_eq!(client.edit(&more, 0, 0.0), Err(Refusal::TooMuchUnsaved));
    assert_eq!(client.shown(), half);
    // A shorter text is always accepted.
    assert!(client.edit("x", 0, 0.0).is_ok());
}

#[test]
fn the_own_state_is_sent_while_connected_and_a_denial_is_reported() {
    let mut client = Client::new(1, false, None);
    let state = State {
        user: Some(StateUser::default()),
        cursor: None,
    };
    assert_eq!(
        client.set_state(Some(&state), 0.0),
        None,
        "not connected yet"
    );
    assert_eq!(client.connected(0.0).len(), 2);
    assert!(client.set_state(None, 1.0).is_some());
    let denied = Message::Denied("the document is full").encode();
    let (outcome, read) = client.receive(&denied, 0.0);
    assert_eq!(outcome.denied.as_deref(), Some("the document is full"));
    assert_eq!(read, Ok(()));
    let (_, read) = client.receive(&[0, 0, 9], 0.0);
    assert!(read.is_err());
}

#[test]
fn a_refused_update_is_sent_again_without_another_edit() {
    let mut server = Server::new();
    let (mut one, mut two) = (Client::new(1, false, None), Client::new(2, false, None));
    server.greet(0, &mut one);
    server.greet(1, &mut two);
    server.send_saved(0, &mut one);
    // The server has the text of `two`, but not on its disk. The text of `one` is refused.
    let frames = append(&mut two, "two ");
    let news = server.handle(1, &mut two, &frames[0]);
    receive(&mut one, &news[0]);
    let frames = append(&mut one, "refused");
    assert_eq!(frames.len(), 1, "and nobody hears it");
    assert_eq!((one.resend(), one.refused()), (None, 0));
    // Later edits wait, because they build on what the server lacks.
    assert_eq!(append(&mut one, ", and later"), Vec::<Vec<u8>>::new());
    let again = one.resend().unwrap();
    assert_eq!(one.resend(), None, "one message is enough");
    let [Ok(Message::SyncStep2(update))] = decode(&again).collect::<Vec<_>>()[..] else {
        panic!("a sync step 2");
    };
    let only_own = SharedText::new(9).apply([update]).1;
    assert_eq!(only_own, Ok(()));
    assert!(!update.windows(4).any(|four| four == b"two "));
    // Refused again, then accepted.
    assert_eq!(one.refused(), 1);
    let again = one.resend().unwrap();
    server.handle(0, &mut one, &again);
    assert_eq!(server.document.shown(), one.shown());
    let frames = append(&mut one, "!");
    assert_eq!(frames.len(), 1, "edits leave one by one again");
    server.handle(0, &mut one, &frames[0]);
    assert_eq!(one.mark(), Mark::Saving);
    server.flush();
    // The server counts a sync step 2 for the updates that it refused, too.
    one.saved(&STANDARD.encode(&server.on_disk), 5);
    assert_eq!(one.mark(), Mark::Saved);
    assert_eq!(
        one.refused(),
        0,
        "the next refusal waits no longer than the first"
    );
}

#[test]
fn edits_kept_by_a_former_visit_are_sent_again_too() {
    let mut server = Server::new();
    let mut before = Client::new(1, false, None);
    server.greet(0, &mut before);
    before.disconnected();
    append(&mut before, "kept");
    let mut after = Client::new(7, false, before.to_keep());
    after.connected(0.0);
    let step_2 = Message::SyncStep2(&server.document.difference(&[0]).unwrap()).encode();
    receive(&mut after, &step_2);
    after.refused();
    let again = after.resend().unwrap();
    server.handle(1, &mut after, &again);
    assert_eq!(server.document.shown(), "kept");
}
