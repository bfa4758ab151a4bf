//! Tests that the cost of an edit does not depend on how many clients wrote before.

use super::*;
use wirewise::collab::server::document::CLIENTS;

/// The first id of the clients that wrote before. Their ids have 53 bits, the longest possible ones.
const BEFORE: u64 = 1 << 52;

/// An update of many clients, each of which wrote a character that was deleted later.
fn written_by(writers: u64) -> Vec<u8> {
    let mut update = vec![];
    number(&mut update, writers);
    for writer in 0..writers {
        // One block of this client from clock 0 on: collected content (kind 0), one clock long.
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

/// Connects Ana to a document that this many clients wrote before. Two of her messages are on disk.
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
async fn the_cost_of_a_keystroke_does_not_grow_with_the_clients_that_wrote_before() {
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
async fn with_the_maximum_of_writers_no_client_counts_as_too_slow() {
    let server = Server::start().await;
    let mut ana = after(&server, "crowded", CLIENTS as u64 - 2).await;
    // The largest possible awareness.
    let mut carets = vec![];
    for socket in 0..16 {
        let mut client = TestClient::connect(&server, "crowded", 2).await;
        for id in 0..8 {
            let state = format!("\"{}\"", "x".repeat(4_094));
            let state = awareness(1_000 + 8 * socket + id, 1, &state);
            client.send(Message::Awareness(&state)).await;
        }
        client.receives_no_echo().await;
        carets.push(client);
    }
    let mut ben = TestClient::ours(&server, "crowded", 3).await;
    ben.until("step 2").await;
    assert_eq!(ben.saved(0).await.len(), CLIENTS - 2);
    // The first update is lost. Each later one shows that something is missing, but one question is enough.
    let lost = ben.type_unsent("lost ");
    assert!(!lost.is_empty());
    for _ in 0..20 {
        let late = ben.type_unsent("late ");
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
    /// Types at the end without sending the update. Returns it.
    fn type_unsent(&self, what: &str) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        let end = self.text.len(&transaction);
        self.text.insert(&mut transaction, end, what);
        transaction.encode_update_v1()
    }
}
