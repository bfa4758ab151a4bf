//! Clients and a server as the contract has it: a document, a count of what it has on disk for each, and no network.

use super::awareness::StateUser;
use super::*;

/// What a server does for one document; on disk is what [`Server::flush`] found.
struct Server {
    document: SharedText,
    on_disk: Vec<u8>,
    /// Updates heard on each connection.
    heard: Vec<u64>,
}

impl Server {
    fn new() -> Self {
        let document = SharedText::new(0);
        let on_disk = document.state_vector();
        Self {
            document,
            on_disk,
            heard: vec![0; 8],
        }
    }

    /// A connection begins: step 1, as after `welcome`.
    fn greet(&mut self, number: usize, client: &mut Client) {
        self.heard[number] = 0;
        let frames = client.connected(0.0);
        let step_1 = Message::SyncStep1(&self.document.state_vector()).encode();
        let answers = receive(client, &step_1);
        for frame in frames.into_iter().chain(answers) {
            self.hear(number, client, &frame);
        }
    }

    /// Hears a frame of a client and answers it. Returns the updates for the others.
    fn hear(&mut self, number: usize, client: &mut Client, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut told = vec![];
        for message in decode(frame).map(Result::unwrap) {
            match message {
                Message::SyncStep1(vector) => {
                    let lacks = self.document.difference(vector).unwrap();
                    let answers = receive(client, &Message::SyncStep2(&lacks).encode());
                    for answer in answers {
                        self.hear(number, client, &answer);
                    }
                }
                Message::SyncStep2(update) | Message::Update(update) => {
                    assert_eq!(self.document.apply([update]).1, Ok(()));
                    self.heard[number] += 1;
                    told.push(Message::Update(update).encode());
                }
                _ => {}
            }
        }
        told
    }

    fn flush(&mut self) {
        self.on_disk = self.document.state_vector();
    }

    fn tell_saved(&self, number: usize, client: &mut Client) {
        client.saved(&STANDARD.encode(&self.on_disk), self.heard[number]);
    }
}

/// Takes a frame, and what then waits. Returns what is to be sent.
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
fn nothing_is_typed_before_the_servers_text_is_here() {
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
    server.tell_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saved);
}

#[test]
fn saved_is_said_only_when_the_server_has_it_on_disk_deletions_too() {
    let mut server = Server::new();
    let mut client = Client::new(1, false, None);
    server.greet(0, &mut client);
    server.tell_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saved);
    let frames = append(&mut client, "text");
    assert_eq!(client.mark(), Mark::Saving);
    server.hear(0, &mut client, &frames[0]);
    client.saved(&STANDARD.encode(&server.on_disk), 1);
    assert_eq!(
        client.mark(),
        Mark::Saving,
        "a deletion was: its state vector is old"
    );
    server.flush();
    server.tell_saved(0, &mut client);
    assert_eq!((client.mark(), client.to_keep()), (Mark::Saved, None));
    let frames = client.edit("", 0, 0.0).unwrap();
    server.tell_saved(0, &mut client);
    assert_eq!(
        client.mark(),
        Mark::Saving,
        "the vector covers, the count does not"
    );
    assert!(client.to_keep().is_some());
    server.hear(0, &mut client, &frames[0]);
    server.tell_saved(0, &mut client);
    assert_eq!(client.mark(), Mark::Saved);
    // Nonsense is no news.
    client.saved("%", 99);
    assert_eq!(client.mark(), Mark::Saved);
}

#[test]
fn what_is_written_offline_merges_on_return_and_nothing_overtakes_it() {
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
    server.hear(1, &mut two, &frames[0]);
    // On return an edit comes before the server has asked: it waits for the answer to that.
    one.connected(0.0);
    assert_eq!(append(&mut one, "c"), Vec::<Vec<u8>>::new());
    server.greet(0, &mut one);
    assert_eq!(one.mark(), Mark::Saving);
    server.flush();
    server.tell_saved(0, &mut one);
    assert_eq!(one.mark(), Mark::Saved);
    assert_eq!(server.document.shown(), one.shown());
    assert!(one.shown().contains("abc") && one.shown().contains("two "));
}

#[test]
fn what_was_not_saved_survives_a_reload_and_is_forgotten_when_it_is() {
    let mut server = Server::new();
    let mut before = Client::new(1, false, None);
    server.greet(0, &mut before);
    let frames = append(&mut before, "arrived ");
    server.hear(0, &mut before, &frames[0]);
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
    server.tell_saved(1, &mut after);
    assert_eq!((after.mark(), after.to_keep()), (Mark::Saved, None));
}

#[test]
fn updates_wait_until_they_are_wanted_and_merge_with_what_was_composed() {
    let mut server = Server::new();
    let (mut one, mut two) = (Client::new(1, false, None), Client::new(2, false, None));
    server.greet(0, &mut one);
    server.greet(1, &mut two);
    let frames = append(&mut two, "before ");
    let news = server.hear(1, &mut two, &frames[0]);
    receive(&mut one, &news[0]);
    // Composing: what comes in waits, what is shown stays.
    let frames = two.edit("now before ", 4, 0.0).unwrap();
    let news = server.hear(1, &mut two, &frames[0]);
    let (outcome, _) = one.receive(&news[0], 0.0);
    assert!(outcome.text_waits);
    assert_eq!(one.shown(), "before ");
    let frames = one.edit("before 中文", 9, 0.0).unwrap();
    assert!(one.take_waiting().0);
    assert_eq!(one.shown(), "now before 中文");
    let news = server.hear(0, &mut one, &frames[0]);
    receive(&mut two, &news[0]);
    assert_eq!(two.shown(), one.shown());
}

#[test]
fn a_reader_asks_and_never_tells() {
    let mut server = Server::new();
    server.document.edit("read me", 0, 0.0).unwrap();
    let mut reader = Client::new(1, true, None);
    server.greet(0, &mut reader);
    assert_eq!((reader.shown(), reader.mark()), ("read me", Mark::ReadOnly));
    assert!(!reader.is_editable() && !reader.can_undo());
    assert_eq!(server.heard[0], 0);
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
    // Less is always taken.
    assert!(client.edit("x", 0, 0.0).is_ok());
}

#[test]
fn people_come_and_go_and_a_denial_is_heard() {
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
fn what_the_server_could_not_store_is_sent_again_without_another_edit() {
    let mut server = Server::new();
    let (mut one, mut two) = (Client::new(1, false, None), Client::new(2, false, None));
    server.greet(0, &mut one);
    server.greet(1, &mut two);
    server.tell_saved(0, &mut one);
    // Two's text is with the server, and not on its disk; one's is refused.
    let frames = append(&mut two, "two ");
    let news = server.hear(1, &mut two, &frames[0]);
    receive(&mut one, &news[0]);
    let frames = append(&mut one, "refused");
    assert_eq!(frames.len(), 1, "and nobody hears it");
    assert_eq!((one.resend(), one.refused()), (None, 0));
    // What is typed meanwhile waits: it builds on what the server lacks.
    assert_eq!(append(&mut one, ", and later"), Vec::<Vec<u8>>::new());
    let again = one.resend().unwrap();
    assert_eq!(one.resend(), None, "one message is enough");
    let [Ok(Message::SyncStep2(update))] = decode(&again).collect::<Vec<_>>()[..] else {
        panic!("a sync step 2");
    };
    let only_own = SharedText::new(9).apply([update]).1;
    assert_eq!(only_own, Ok(()));
    assert!(!update.windows(4).any(|four| four == b"two "));
    // Refused once more, and then taken.
    assert_eq!(one.refused(), 1);
    let again = one.resend().unwrap();
    server.hear(0, &mut one, &again);
    assert_eq!(server.document.shown(), one.shown());
    let frames = append(&mut one, "!");
    assert_eq!(frames.len(), 1, "edits leave one by one again");
    server.hear(0, &mut one, &frames[0]);
    assert_eq!(one.mark(), Mark::Saving);
    server.flush();
    // As the server counts: a sync step 2 makes up for what it refused.
    one.saved(&STANDARD.encode(&server.on_disk), 5);
    assert_eq!(one.mark(), Mark::Saved);
    assert_eq!(
        one.refused(),
        0,
        "the next refusal waits no longer than the first"
    );
}

#[test]
fn what_a_former_visit_kept_is_sent_again_too() {
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
    server.hear(1, &mut after, &again);
    assert_eq!(server.document.shown(), "kept");
}
