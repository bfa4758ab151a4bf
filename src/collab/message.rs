//! The text messages of the board's socket. The shared text uses binary messages: `protocol.rs`.

use serde::{Deserialize, Serialize};

use crate::session::User;
use realtime::{
    contract::{SocketContract, fill},
    message::ErrorCode,
    strum::VariantNames,
};

/// This socket is read-only.
pub const READ_ONLY: ErrorCode = ErrorCode::other("read_only");

/// The board's close codes for clients of the y-websocket protocol, which stop only on 4400 to 4499.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum BoardCloseCode {
    /// [`CloseCode::Session`](realtime::close::CloseCode::Session) for these clients.
    YjsSession = 4401,
    /// [`CloseCode::NotFound`](realtime::close::CloseCode::NotFound) for these clients.
    YjsNotFound = 4404,
}

impl BoardCloseCode {
    /// The number that is sent.
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// The socket of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSocket {
    pub document: String,
    /// Makes the server refuse this socket's updates of the text.
    pub readonly: bool,
}

/// The query parameter that makes a socket read-only.
pub const READONLY: &str = "readonly";

/// The id of a peer, unique among all nodes for the lifetime of their processes; a number of JavaScript.
pub type PeerId = u64;
/// No peer has this id.
pub const NOBODY: PeerId = 0;

/// The first state of a board, rendered with its page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstBoard {
    pub peers: Vec<Peer>,
    /// The shared text. The document behind it is sent over the socket.
    pub text: String,
}

/// What the board adds to `welcome`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoardWelcome {
    pub user: User,
    /// The caller's own peer id.
    pub you: PeerId,
    /// The other peers.
    pub peers: Vec<Peer>,
    /// Pointer moves are sent at most once in this many milliseconds.
    pub tick_ms: u64,
}

/// A peer on the board. It has no coordinates while its pointer is hidden or was never shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    pub id: PeerId,
    pub user: User,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<f32>,
}

/// A pointer's new position: peer, x, y.
pub type Move = (PeerId, f32, f32);

realtime::tagged! {
    /// Client to server. Volatile: a lost command does no harm.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum BoardCommand {
        /// The pointer's position, from 0 to 1 of the board's width and height.
        Move { x: f32, y: f32 },
        /// The pointer left the board, or the tab is hidden.
        Hide,
    }
}

realtime::tagged! {
    /// Server to client.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case", crate = "realtime::strum")]
    pub enum BoardEvent {
        /// A peer joined.
        Joined { peer: Peer },
        /// Pointers moved. Holds the newest position of each, at most once a tick, including the receiver's own.
        Moved { moves: Vec<Move> },
        /// A pointer left the board.
        Hidden { id: PeerId },
        /// A peer left.
        Left { id: PeerId },
        /// What is on disk now.
        Saved {
            /// A state vector in base64: everything up to it is on disk. The first one of a connection names every client.
            /// Each later one names only the clients whose clock moved, so the receiver merges them.
            state_vector: String,
            /// How many of the updates that this socket sent are on disk; a sync step 2 counts as one. Deletions do not
            /// move a state vector, but they count here.
            updates: u64,
        },
    }
}

impl SocketContract for BoardSocket {
    const NAME: &'static str = "collab";
    const ROUTE: &'static str = "/api/collab/{doc}";
    const SUBPROTOCOL: &'static str = "wirewise.collab.v1";

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
