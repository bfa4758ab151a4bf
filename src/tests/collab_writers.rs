//! What an edit costs must not depend on how many people wrote before.

use super::*;
use wirewise::collab::server::document::CLIENTS;

/// Clients that wrote before: their ids have 53 bits, the longest there are.
const BEFORE: u64 = 1 << 52;

/// An update of many clients, each of whom wrote a character that was deleted since.
fn written_by(writers: u64) -> Vec<u8> {
    let mut update = vec![];
    number(&mut update, writers);
    for writer in 0..writers {
        // One block of this client from clock 0 on: what was collected (kind 0), one clock long.
        for field in [1, BEFORE + writer, 0, 0, 1] {
            number(&mut update, field);
        }
    }
    update.push(0);
    update
}

fn number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Ana, in a document that so many wrote before. Two of her messages are on disk.
async fn after(server: &Server, document: &str, writers: u64) -> TestClient {
    let mut ana = TestClient::ours(server, document, 1).await;
    ana.until("step 1").await;
    ana.send(Message::SyncStep2(&written_by(writers))).await;
    ana.saved(2).await;
    ana
}

fn saved(texts: &[Value]) -> impl Iterator<Item = &Value> {
    texts.iter().filter(|text| text["type"] == "saved")
}

#[tokio::test]
async fn what_is_told_of_a_keystroke_does_not_grow_with_the_people_who_wrote_before() {
    const KEYS: u64 = 10;
    let server = Server::start().await;
    let mut bytes = vec![];
    for writers in [20, 2_000] {
        let document = format!("of-{writers}");
        let mut ana = after(&server, &document, writers).await;
        let mut ben = TestClient::ours(&server, &document, 2).await;
        ben.until("step 2").await;
        let known = ben.saved(0).await;
        assert_eq!(known.len() as u64, writers, "the first one names everybody");
        (ana.texts, ben.texts) = (vec![], vec![]);
        for key in 1..=KEYS {
            ana.insert(0, "x").await;
            ana.saved(2 + key).await;
        }
        while ben.durable.get(&ClientID::new(1)) < KEYS as u32 {
            ben.next().await;
        }
        assert_eq!(ben.durable.len() as u64, writers + 1, "merged");
        let both = saved(&ana.texts).chain(saved(&ben.texts));
        bytes.push(both.map(|text| text.to_string().len()).sum::<usize>());
    }
    assert!(2 * bytes[1] <= 3 * bytes[0], "{bytes:?}");
}

#[tokio::test]
async fn with_the_most_writers_a_document_may_have_nobody_is_too_slow_for_it() {
    let server = Server::start().await;
    let mut ana = after(&server, "crowded", CLIENTS as u64 - 2).await;
    // As much awareness as there may be.
    let mut carets = vec![];
    for socket in 0..16 {
        let mut typist = TestClient::connect(&server, "crowded", 2).await;
        for id in 0..8 {
            let state = format!("\"{}\"", "x".repeat(4_094));
            let state = awareness(1_000 + 8 * socket + id, 1, &state);
            typist.send(Message::Awareness(&state)).await;
        }
        typist.hears_no_echo().await;
        carets.push(typist);
    }
    let mut ben = TestClient::ours(&server, "crowded", 3).await;
    ben.until("step 2").await;
    assert_eq!(ben.saved(0).await.len(), CLIENTS - 2);
    // The first of these is lost: each of the others says that something is missing, and one question is enough.
    let lost = ben.type_unheard("lost ");
    assert!(!lost.is_empty());
    for _ in 0..20 {
        let late = ben.type_unheard("late ");
        ben.send(Message::Update(&late)).await;
    }
    let mut questions = 0;
    while ben.saved(0).await.get(&ClientID::new(3)) == 0 {
        questions += u32::from(ben.next().await == Some("step 1"));
    }
    assert!(questions <= 2, "{questions}");
    ana.reads(&ben.string()).await;
    ana.insert(0, "x").await;
    ben.reads(&ana.string()).await;
}

impl TestClient {
    /// Types at the end, and sends nothing of it.
    fn type_unheard(&self, what: &str) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        let end = self.text.len(&transaction);
        self.text.insert(&mut transaction, end, what);
        transaction.encode_update_v1()
    }
}
