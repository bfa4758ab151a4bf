//! What crosses the wire in text frames for the board.

use serde::{Deserialize, Serialize};

use crate::{
    realtime::contract::{SocketContract, fill},
    session::User,
};

/// The socket of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSocket {
    pub document: String,
}

/// Names a peer within the server's life.
pub type PeerId = u64;

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
}

impl SocketContract for BoardSocket {
    const ROUTE: &'static str = "/api/collab/{doc}";
    const SUBPROTOCOL: &'static str = "wirewise.collab.v1";
    const COMMANDS: &'static [&'static str] = &["move", "hide"];
    const EVENTS: &'static [&'static str] = &["joined", "moved", "hidden", "left"];

    type Welcome = BoardWelcome;
    type Command = BoardCommand;
    type Event = BoardEvent;

    fn url(&self) -> String {
        fill(Self::ROUTE, &[&self.document])
    }
}
