//! What crosses the wire in text frames for the board. The shared text crosses it in binary ones: `protocol.rs`.

use serde::{Deserialize, Serialize};

use crate::session::User;
use realtime::contract::{SocketContract, fill};

/// The socket of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSocket {
    pub document: String,
    /// Asks the server to refuse this socket's updates of the text.
    pub readonly: bool,
}

/// The query parameter that makes a socket read-only.
pub const READONLY: &str = "readonly";

/// Names a peer within the server's life.
pub type PeerId = u64;

/// A board as its page shows it first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstBoard {
    pub peers: Vec<Peer>,
    /// The shared text; what it is made of comes over the socket.
    pub text: String,
}

/// What the board adds to `welcome`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoardWelcome {
    pub user: User,
    /// The caller's own peer id.
    pub you: PeerId,
    /// The others.
    pub peers: Vec<Peer>,
    /// Pointers come at most once in so many milliseconds.
    pub tick_ms: u64,
}

/// Somebody on the board. A pointer that was never shown, or is hidden, has no place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    pub id: PeerId,
    pub user: User,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<f32>,
}

/// A pointer's new place: peer, x, y.
pub type Move = (PeerId, f32, f32);

/// Client to server. Volatile: lost ones do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BoardCommand {
    /// The pointer is here: 0 to 1 of the board's width and height.
    Move { x: f32, y: f32 },
    /// The pointer left the board, or the tab is hidden.
    Hide,
}

/// Server to client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BoardEvent {
    /// Somebody came.
    Joined { peer: Peer },
    /// Pointers moved: the newest place of each, at most once a tick, the receiver's own among them.
    Moved { moves: Vec<Move> },
    /// A pointer left the board.
    Hidden { id: PeerId },
    /// Somebody went.
    Left { id: PeerId },
    /// What is durable now.
    Saved {
        /// A state vector in base64: everything up to it is on disk. The first one of a connection names every client, each
        /// later one only those whose clock moved: they are to be merged.
        state_vector: String,
        /// How many of the updates that this socket sent (sync step 2 counts as one) are on disk. Deletions do not move a
        /// state vector; this number does move with them.
        updates: u64,
    },
}

impl SocketContract for BoardSocket {
    const ROUTE: &'static str = "/api/collab/{doc}";
    const SUBPROTOCOL: &'static str = "wirewise.collab.v1";
    const COMMANDS: &'static [&'static str] = &["move", "hide"];
    const EVENTS: &'static [&'static str] = &["joined", "moved", "hidden", "left", "saved"];

    type Welcome = BoardWelcome;
    type Command = BoardCommand;
    type Event = BoardEvent;

    fn url(&self) -> String {
        let url = fill(Self::ROUTE, &[&self.document]);
        if self.readonly {
            format!("{url}?{READONLY}=1")
        } else {
            url
        }
    }
}
