//! A copy of a document, and its connection to a node: a Yjs client without a page.

use std::net::SocketAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message as Frame;
use wirewise::collab::{
    ROOT,
    protocol::{self, Clocks, Message, decode_state_vector},
};
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact,
    Update,
    updates::{decoder::Decode, encoder::Encode},
};

use super::socket::{Socket, open};

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "wirewise.collab.v1");

/// A copy of a document.
pub struct Copy {
    doc: Doc,
    text: TextRef,
    id: u64,
}

/// A connection of a copy.
pub struct Connection {
    socket: Socket,
    /// The updates that were sent, each answer to a question being one.
    sent: u64,
    /// How many of them are said to be saved.
    saved: u64,
    /// What is said to be saved: clocks of all clients.
    durable: Clocks,
    /// The node has asked what the copy has, and got the answer.
    pub has_answered: bool,
    /// The node has said what the copy lacked.
    pub is_answered: bool,
}

/// Why a connection is over.
pub enum Lost {
    Broken,
    Closed(u16),
    /// The node refused something.
    Refused(Value),
}

impl Copy {
    pub fn new(id: u64) -> Self {
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::with_client_id(ClientID::new(id))
        };
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text(ROOT);
        Self { doc, text, id }
    }

    pub fn string(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    pub fn length(&self) -> usize {
        self.text.len(&self.doc.transact()) as usize
    }

    /// Returns the update. Places are counted in bytes: all texts of these runs are ASCII.
    pub fn insert(&self, at: usize, what: &str) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        self.text.insert(&mut transaction, at as u32, what);
        transaction.encode_update_v1()
    }

    /// Returns the update.
    pub fn remove(&self, at: usize, length: usize) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        self.text
            .remove_range(&mut transaction, at as u32, length as u32);
        transaction.encode_update_v1()
    }

    /// Connects to a document at an address: with our subprotocol and the token of a user, or as any Yjs client. Asks for what
    /// this copy lacks.
    pub async fn connect(
        &self,
        address: SocketAddr,
        document: &str,
        ours: Option<&str>,
    ) -> Option<Connection> {
        let bearer = ours.map(|token| format!("Bearer {token}"));
        let headers = bearer
            .as_ref()
            .map(|bearer| [PROTOCOL, ("authorization", bearer.as_str())]);
        let headers = headers.as_ref().map_or(&[][..], |headers| &headers[..]);
        let path = format!("/api/collab/{document}");
        let mut connection = Connection {
            socket: open(address, &path, headers).await?,
            sent: 0,
            saved: 0,
            durable: Clocks::new(),
            has_answered: false,
            is_answered: false,
        };
        let known = self.doc.transact().state_vector().encode_v1();
        connection.send(&Message::SyncStep1(&known)).await.ok()?;
        Some(connection)
    }

    fn apply(&self, update: &[u8]) {
        let update = Update::decode_v1(update).expect("the server sends updates");
        let applied = self.doc.transact_mut().apply_update(update);
        applied.expect("the update applies");
    }

    fn lacking(&self, state_vector: &[u8]) -> Vec<u8> {
        let known = StateVector::decode_v1(state_vector).expect("the server sends state vectors");
        self.doc.transact().encode_state_as_update_v1(&known)
    }
}

impl Connection {
    pub async fn send_update(&mut self, update: &[u8]) -> Result<(), Lost> {
        self.sent += 1;
        self.send(&Message::Update(update)).await
    }

    async fn send(&mut self, message: &Message<'_>) -> Result<(), Lost> {
        let frame = Frame::Binary(message.encode().into());
        self.socket.send(frame).await.map_err(|_| Lost::Broken)
    }

    /// The next frame. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Frame, Lost> {
        match self.socket.next().await {
            Some(Ok(Frame::Close(Some(close)))) => Err(Lost::Closed(close.code.into())),
            Some(Ok(frame)) => Ok(frame),
            _ => Err(Lost::Broken),
        }
    }

    /// Does what a frame asks for.
    pub async fn receive(&mut self, frame: Frame, copy: &Copy) -> Result<(), Lost> {
        let bytes = match frame {
            Frame::Binary(bytes) => bytes,
            Frame::Text(text) => return self.told(&text),
            _ => return Ok(()),
        };
        for message in protocol::decode(&bytes) {
            match message.expect("the server follows the protocol") {
                Message::SyncStep1(state_vector) => {
                    let lacking = copy.lacking(state_vector);
                    self.sent += 1;
                    self.has_answered = true;
                    self.send(&Message::SyncStep2(&lacking)).await?;
                }
                Message::SyncStep2(update) => {
                    self.is_answered = true;
                    copy.apply(update);
                }
                Message::Update(update) => copy.apply(update),
                Message::Denied(why) => return Err(Lost::Refused(why.into())),
                Message::Awareness(_) | Message::QueryAwareness => {}
            }
        }
        Ok(())
    }

    fn told(&mut self, text: &str) -> Result<(), Lost> {
        let event: Value = serde_json::from_str(text).expect("the server sends JSON");
        match event["type"].as_str().unwrap_or_default() {
            "saved" => {
                self.saved = event["updates"].as_u64().expect("a number");
                let moved = event["state_vector"].as_str().expect("a state vector");
                let moved = BASE64_STANDARD.decode(moved).expect("base64");
                let moved = decode_state_vector(&moved).expect("a state vector");
                self.durable.extend(moved);
                Ok(())
            }
            "error" => Err(Lost::Refused(event)),
            _ => Ok(()),
        }
    }

    /// Whether all updates that were sent are counted as saved.
    pub fn all_are_counted(&self) -> bool {
        self.saved >= self.sent
    }

    /// Whether everything that this copy inserted is within the clocks that are saved.
    pub fn all_is_covered(&self, copy: &Copy) -> bool {
        let own = copy
            .doc
            .transact()
            .state_vector()
            .get(&ClientID::new(copy.id));
        let durable = self.durable.get(&copy.id).copied().unwrap_or_default();
        durable >= own
    }
}
