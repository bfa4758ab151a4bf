//! One socket on a board, and the handling of its messages. It uses our subprotocol, or it is a Yjs client that sends
//! and receives binary messages only.

use std::{net::IpAddr, sync::Arc};

use axum::extract::ws;
use bytes::Bytes;

use super::{
    board::{Board, TakeError},
    boards::Visit,
    document::Refusal,
    offenders::Offenders,
    roster::Roster,
};
use crate::{
    collab::{
        message::{BoardCloseCode, BoardCommand, BoardSocket, Peer, PeerId, READ_ONLY},
        protocol::{self, Message, ProtocolError},
    },
    guard::limits::Limits,
    session::User,
};
use realtime::{
    close::CloseCode,
    message::{ErrorCode, SocketError},
    server::{queue::OutQueue, socket::SocketHandler},
};

/// An empty update: no blocks and no deletions.
const EMPTY_UPDATE: [u8; 2] = [0, 0];

/// The handler of one socket.
pub struct BoardConnection {
    pub membership: Membership,
    pub user: User,
    pub address: IpAddr,
    pub queue: OutQueue,
    pub limits: Limits,
    pub offenders: Offenders,
    /// Whether it uses our subprotocol.
    pub ours: bool,
    pub readonly: bool,
    /// The newest state vector that was not answered yet. One is enough: the client has everything that an older one
    /// lacked.
    pub unanswered: Option<Bytes>,
    /// Whether the document lacks updates of this socket, and whether they were requested.
    pub gap: Gap,
}

/// Whether an update from this socket built on updates that the document lacks. The client has them and sends them in
/// answer to a sync step 1. At most one request is open. Its answer holds everything sent before it. A request names
/// every client that ever wrote, so one request for each of many updates would overrun the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    #[default]
    None,
    Found,
    Requested,
}

/// A member of a board. Removed from the roster when it is dropped.
pub struct Membership {
    id: PeerId,
    visit: Visit,
}

impl Membership {
    /// Adds a client of ours. Its id and the other peers go into the `welcome`.
    pub fn join(
        visit: Visit,
        user: User,
        queue: OutQueue,
        welcome: impl FnOnce(PeerId, Vec<Peer>) -> ws::Message,
    ) -> Self {
        let id = visit.next_peer();
        let welcome = |others| welcome(id, others);
        visit.change(|roster| roster.join(id, user, queue, welcome));
        Self { id, visit }
    }

    /// Adds a Yjs client.
    pub fn join_yjs(visit: Visit, queue: OutQueue) -> Self {
        let id = visit.next_peer();
        visit.change(|roster| roster.join_yjs(id, queue));
        Self { id, visit }
    }

    fn board(&self) -> &Arc<Board> {
        self.visit.board()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let newest = self.visit.newest_peer();
        self.visit.change(|roster| roster.leave(self.id, newest));
    }
}

impl BoardConnection {
    fn roster<R>(&self, action: impl FnOnce(&mut Roster) -> R) -> R {
        self.membership.visit.change(action)
    }

    /// Sends the initial state after the `welcome`: the document's state vector, the awareness states, and what is
    /// saved.
    pub async fn send_initial_state(&self) -> Result<(), TakeError> {
        let state_vector = self.membership.board().state_vector().await?;
        if !self.readonly {
            // Its size grows with the number of clients that ever wrote. It does not mean that this client reads
            // slowly, so it does not count against the limit.
            self.queue
                .push_answer(frame(&Message::SyncStep1(&state_vector)));
        }
        self.roster(|roster| roster.send_initial_state(self.membership.id));
        Ok(())
    }

    fn push(&self, message: &Message<'_>) {
        self.queue.push(frame(message));
    }

    async fn message(&mut self, message: Message<'_>) -> Result<(), SocketError> {
        match message {
            Message::SyncStep1(state_vector) => {
                self.unanswered = Some(Bytes::copy_from_slice(state_vector));
                Ok(())
            }
            // The answer to a sync step 1 is everything that the client has and the server lacks.
            Message::SyncStep2(update) => {
                self.gap = Gap::None;
                self.update(update, true).await
            }
            Message::Update(update) => self.update(update, false).await,
            Message::Awareness(states) => {
                let states = match protocol::decode_awareness(states) {
                    Ok(states) => states,
                    Err(error) => return self.breaks_protocol(&error),
                };
                let newest = self.membership.visit.newest_peer();
                let applied = self
                    .roster(|roster| roster.apply_awareness(self.membership.id, newest, states));
                applied.map_err(|reason| invalid(format!("Refused: {reason}.")))
            }
            Message::QueryAwareness => {
                self.roster(|roster| roster.send_awareness(self.membership.id));
                Ok(())
            }
            // Only a server sends denials.
            Message::Denied(_) => Ok(()),
        }
    }

    async fn update(&mut self, update: &[u8], whole: bool) -> Result<(), SocketError> {
        self.roster(|roster| roster.received(self.membership.id));
        // Every client answers a sync step 1, even if its answer is empty.
        if update == EMPTY_UPDATE {
            self.roster(|roster| roster.accepted(self.membership.id, 0, whole));
            return Ok(());
        }
        if self.readonly {
            return self.deny(SocketError::new(
                READ_ONLY,
                "This connection only reads: it was opened with readonly=1.",
            ));
        }
        if self.offenders.is_blocked(self.address) {
            self.queue.close(
                CloseCode::Policy,
                "several updates from this address were harmful: nothing is taken from it for a while",
            );
            return Ok(());
        }
        // A copy, because it is kept until it is stored.
        let update = Bytes::copy_from_slice(update);
        let board = self.membership.board();
        match board.take(self.membership.id, update, whole).await {
            Ok(applied) => {
                if applied.incomplete && self.gap == Gap::None {
                    self.gap = Gap::Found;
                }
                Ok(())
            }
            Err(TakeError::Refused(refusal)) => self.refuse(refusal),
            Err(TakeError::Behind) if self.ours => Err(SocketError::new(
                ErrorCode::Unavailable,
                "Too much waits for the storage. Keep what you have and send it again later.",
            )),
            // A Yjs client does not know this error. It is asked for everything once there is room.
            Err(TakeError::Behind) => {
                self.roster(|roster| roster.refused(self.membership.id));
                Ok(())
            }
            Err(TakeError::Load(error)) => {
                tracing::error!(%error, "an update could not be applied");
                if self.ours {
                    let message = "The document cannot be had now. Keep what you have and send it again later.";
                    return Err(SocketError::new(ErrorCode::Unavailable, message));
                }
                // It reconnects and sends everything that it has.
                self.close_for_now();
                Ok(())
            }
        }
    }

    fn close_for_now(&self) {
        self.queue
            .close(CloseCode::ServerError, "the document cannot be had now");
    }

    /// Requests what the client has and the document lacks.
    async fn request_missing(&mut self) {
        match self.membership.board().state_vector().await {
            Ok(state_vector) => {
                self.gap = Gap::Requested;
                self.queue
                    .push_answer(frame(&Message::SyncStep1(&state_vector)));
            }
            Err(error) => {
                tracing::error!(%error, "a document is unavailable");
                self.close_for_now();
            }
        }
    }

    /// Sends what a peer with this state vector lacks.
    async fn answer(&self, state_vector: Bytes) {
        match self.membership.board().difference(state_vector).await {
            Ok(update) => self.queue.push_answer(frame(&Message::SyncStep2(&update))),
            Err(TakeError::Refused(refusal)) => {
                tracing::debug!(%refusal, "a state vector was refused");
                self.queue
                    .close(CloseCode::Policy, "a state vector cannot be read");
            }
            Err(error) => {
                tracing::error!(%error, "a document is unavailable");
                self.close_for_now();
            }
        }
    }

    fn refuse(&self, refusal: Refusal) -> Result<(), SocketError> {
        match refusal {
            Refusal::Full | Refusal::Nested | Refusal::Clients => {
                self.deny(invalid(format!("The update was not taken: {refusal}.")))
            }
            Refusal::Malformed(_) | Refusal::Undecodable | Refusal::Harmful => {
                if refusal == Refusal::Harmful {
                    self.offenders.record(self.address);
                }
                tracing::warn!(%refusal, user = %self.user.id, address = %self.address, "an update was refused");
                self.queue
                    .close(CloseCode::Policy, "an update cannot be read, or would harm");
                Ok(())
            }
        }
    }

    /// Refuses with a message of the protocol that the client uses.
    fn deny(&self, error: SocketError) -> Result<(), SocketError> {
        if self.ours {
            return Err(error);
        }
        self.push(&Message::Denied(&error.message));
        Ok(())
    }

    fn breaks_protocol(&self, error: &ProtocolError) -> Result<(), SocketError> {
        tracing::debug!(%error, "a frame cannot be read");
        self.queue.close(
            CloseCode::Policy,
            "a binary message that the y-websocket protocol does not know",
        );
        Ok(())
    }
}

impl SocketHandler for BoardConnection {
    type Contract = BoardSocket;

    /// Applying an update twice is harmless.
    fn is_repeatable(message: &ws::Message) -> bool {
        matches!(message, ws::Message::Binary(frame) if protocol::is_update(frame))
    }

    async fn command(&mut self, command: BoardCommand) -> Result<(), SocketError> {
        // A Yjs client has no pointer.
        if !self.ours {
            return Ok(());
        }
        match command {
            BoardCommand::Move { x, y } => {
                if ![x, y].iter().all(|value| (0.0..=1.0).contains(value)) {
                    self.admit()?;
                    return Err(invalid(
                        "\"x\" and \"y\" are numbers from 0 to 1: parts of the board's width and height.",
                    ));
                }
                if self.roster(|roster| roster.move_to(self.membership.id, x, y)) {
                    self.membership.visit.moved();
                }
            }
            BoardCommand::Hide => {
                if self.roster(|roster| roster.hide(self.membership.id)) {
                    self.membership.visit.moved();
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.user.id)
    }

    /// Waits if the user sends too many bytes. Delaying an update is harmless, but a refused one would be missing in
    /// the document.
    async fn binary(&mut self, frame: Bytes) -> Result<(), SocketError> {
        self.limits.binary(self.user.id, frame.len()).await;
        for (place, message) in protocol::decode(&frame).enumerate() {
            if place > 0 {
                // Many small messages in one frame cost as much work as each in its own frame.
                self.limits.binary(self.user.id, 0).await;
            }
            match message {
                Ok(message) => self.message(message).await?,
                Err(error) => return self.breaks_protocol(&error),
            }
            if self.queue.is_closing() {
                break;
            }
        }
        Ok(())
    }

    fn has_backlog(&self) -> bool {
        self.unanswered.is_some() || self.gap == Gap::Found
    }

    /// The answer may be all of a large document. It is encoded only when there is room for it in the queue.
    async fn fill(&mut self) {
        if self.gap == Gap::Found {
            self.request_missing().await;
        } else if let Some(state_vector) = self.unanswered.take() {
            self.answer(state_vector).await;
        }
    }

    fn session_code(&self) -> u16 {
        if self.ours {
            CloseCode::Session.code()
        } else {
            BoardCloseCode::YjsSession.code()
        }
    }
}

fn frame(message: &Message<'_>) -> axum::extract::ws::Message {
    axum::extract::ws::Message::Binary(message.encode().into())
}

fn invalid(message: impl Into<String>) -> SocketError {
    SocketError::new(ErrorCode::InvalidField, message)
}
