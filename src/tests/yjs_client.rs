//! A Yjs client over a real socket, for tests of shared texts.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use wirewise::collab::protocol::{self, ClientState, Message, decode_awareness, encode_awareness};
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact,
    Update,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::support::{PATIENCE, Remote, Socket};

/// Our subprotocol.
pub const OURS: (&str, &str) = ("sec-websocket-protocol", "wirewise.collab.v1");

/// A Yjs client: a document, and the y-websocket protocol over a socket.
pub struct TestClient {
    pub socket: Socket,
    pub doc: Doc,
    pub text: TextRef,
    /// Text messages that were received.
    pub texts: Vec<Value>,
    /// The state vectors of the `saved` events, merged.
    pub durable: StateVector,
    pub states: Vec<ClientState>,
    pub denied: Vec<String>,
}

impl TestClient {
    /// Without a subprotocol and without credentials, like a stock provider.
    pub async fn connect(remote: &Remote, path: &str, id: u64) -> Self {
        Self::over(remote.socket(&format!("/api/collab/{path}"), &[]).await, id).await
    }

    /// With our subprotocol.
    pub async fn ours(remote: &Remote, path: &str, id: u64) -> Self {
        let bearer = remote.guest().await.bearer();
        let headers = [OURS, ("authorization", bearer.as_str())];
        let path = format!("/api/collab/{path}");
        Self::over(remote.socket(&path, &headers).await, id).await
    }

    /// Connects again, without a subprotocol, and with what the client has.
    pub async fn connect_again(&mut self, remote: &Remote, path: &str) {
        self.socket = remote.socket(&format!("/api/collab/{path}"), &[]).await;
        self.ask().await;
    }

    pub async fn over(socket: Socket, id: u64) -> Self {
        let doc = Doc::with_options(Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::with_client_id(ClientID::new(id))
        });
        let text = doc.get_or_insert_text("content");
        let mut this = Self {
            socket,
            doc,
            text,
            texts: vec![],
            durable: StateVector::default(),
            states: vec![],
            denied: vec![],
        };
        this.ask().await;
        this
    }

    pub async fn send(&mut self, message: Message<'_>) {
        self.send_frame(message.encode()).await;
    }

    pub async fn send_frame(&mut self, frame: Vec<u8>) {
        self.socket
            .0
            .send(Frame::Binary(frame.into()))
            .await
            .unwrap();
    }

    /// Sends its state vector.
    pub async fn ask(&mut self) {
        let state_vector = self.state_vector();
        self.send(Message::SyncStep1(&state_vector)).await;
    }

    /// Receives everything up to the answer to a question of its own, and checks that there is no update among it.
    pub async fn receives_no_echo(&mut self) {
        self.ask().await;
        let mut received = vec![];
        while received.last() != Some(&"step 2") {
            received.extend(self.next().await);
        }
        assert!(!received.contains(&"update"), "{received:?}");
    }

    pub async fn insert(&mut self, at: u32, what: &str) {
        let mut transaction = self.doc.transact_mut();
        self.text.insert(&mut transaction, at, what);
        let update = transaction.encode_update_v1();
        drop(transaction);
        self.send(Message::Update(&update)).await;
    }

    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    pub fn string(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    /// Handles the next frame. Returns the kind of a binary message.
    pub async fn next(&mut self) -> Option<&'static str> {
        let frame = timeout(PATIENCE, self.socket.0.next())
            .await
            .expect("a frame comes");
        let bytes = match frame.expect("the socket is open").unwrap() {
            Frame::Text(text) => {
                let text: Value = serde_json::from_str(&text).unwrap();
                if text["type"] == "saved" {
                    let moved = BASE64_STANDARD.decode(text["state_vector"].as_str().unwrap());
                    let moved = StateVector::decode_v1(&moved.unwrap()).unwrap();
                    self.durable.merge(moved);
                }
                self.texts.push(text);
                return None;
            }
            Frame::Binary(bytes) => bytes,
            Frame::Close(close) => panic!("closed: {close:?}"),
            _ => return None,
        };
        let mut messages = protocol::decode(&bytes);
        let message = messages.next().unwrap().unwrap();
        assert!(messages.next().is_none(), "one message a frame outwards");
        match message {
            Message::SyncStep1(state_vector) => {
                let known = StateVector::decode_v1(state_vector).unwrap();
                let answer = self.doc.transact().encode_state_as_update_v1(&known);
                self.send(Message::SyncStep2(&answer)).await;
                Some("step 1")
            }
            Message::SyncStep2(update) => {
                self.apply(update);
                Some("step 2")
            }
            Message::Update(update) => {
                self.apply(update);
                Some("update")
            }
            Message::Awareness(states) => {
                self.states.extend(decode_awareness(states).unwrap());
                Some("awareness")
            }
            Message::Denied(why) => {
                self.denied.push(why.to_owned());
                Some("denied")
            }
            Message::QueryAwareness => Some("query"),
        }
    }

    pub fn apply(&self, update: &[u8]) {
        let update = Update::decode_v1(update).unwrap();
        self.doc.transact_mut().apply_update(update).unwrap();
    }

    pub async fn until(&mut self, kind: &'static str) {
        while self.next().await != Some(kind) {}
    }

    /// Waits until the text is equal.
    pub async fn reads(&mut self, text: &str) {
        while self.string() != text {
            self.next().await;
        }
    }

    /// Waits until this many of the updates sent here are on disk. Returns everything that is on disk.
    pub async fn saved(&mut self, updates: u64) -> StateVector {
        loop {
            let saved = self.texts.iter().rev().find(|text| text["type"] == "saved");
            if let Some(saved) = saved
                && saved["updates"].as_u64().unwrap() >= updates
            {
                return self.durable.clone();
            }
            self.next().await;
        }
    }

    /// Waits for the state of a client.
    pub async fn sees(&mut self, client: u64, state: &str) {
        while !self
            .states
            .iter()
            .any(|seen| seen.client == client && seen.state == state)
        {
            self.next().await;
        }
    }

    pub async fn closed(mut self) -> u16 {
        self.socket.closed().await.0
    }

    /// Skips to the end. Returns the close code, or `None` if the connection was reset before the code was received.
    pub async fn ended(mut self) -> Option<u16> {
        loop {
            match timeout(PATIENCE, self.socket.0.next())
                .await
                .expect("it ends")
            {
                Some(Ok(Frame::Close(close))) => return close.map(|close| close.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// The content of an awareness message with one state.
pub fn awareness(client: u64, clock: u64, state: &str) -> Vec<u8> {
    let state = state.to_owned();
    encode_awareness(
        [ClientState {
            client,
            clock,
            state,
        }]
        .iter(),
    )
}
