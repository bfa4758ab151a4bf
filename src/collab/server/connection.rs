//! One socket on a board, and what its messages do. It speaks our subprotocol, or it is a Yjs client that sends and gets binary
//! messages only.

use std::{net::IpAddr, sync::Arc};

use axum::extract::ws;
use bytes::Bytes;

use super::{
    board::{Board, TakeError},
    boards::Visit,
    document::Refusal,
    offenders::Offenders,
    roster::People,
};
use crate::collab::{
    message::{BoardCommand, BoardSocket, Peer, PeerId},
    protocol::{self, Message, ProtocolError},
};
use crate::{guard::limits::Limits, session::User};
use realtime::{
    close::CloseCode,
    message::{ErrorCode, SocketError},
    server::{Counted, queue::OutQueue, socket::SocketHandler},
};

/// What nothing is, as an update: no blocks and nothing deleted.
const EMPTY_UPDATE: [u8; 2] = [0, 0];

/// One socket.
pub struct BoardConnection {
    pub seat: Seat,
    pub user: User,
    pub address: IpAddr,
    pub queue: OutQueue,
    pub limits: Limits,
    pub harm: Offenders,
    /// Speaks our subprotocol.
    pub ours: bool,
    pub readonly: bool,
    /// The newest state vector that waits for an answer. One is enough: what an older one lacks, this one's sender has.
    pub asked: Option<Bytes>,
    /// Whether this socket lacks an answer to what it sent too early, and was asked for it.
    pub gap: Gap,
    pub counted: Counted,
}

/// Where a socket's update built on updates that are not here: its sender has them, and gives them when asked with a sync
/// step 1. One question is open at most. Its answer holds whatever was sent before it, and a question names every client that
/// ever wrote: one for each of many updates would overrun the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    #[default]
    None,
    Found,
    Asked,
}

/// A place on a board; gone for everybody when it is dropped.
pub struct Seat {
    id: PeerId,
    visit: Visit,
}

impl Seat {
    /// A place for somebody of ours, whose id and the others go into the `welcome`.
    pub fn take(
        visit: Visit,
        user: User,
        queue: OutQueue,
        welcome: impl FnOnce(PeerId, Vec<Peer>) -> ws::Message,
    ) -> Self {
        let id = visit.next_peer();
        let welcome = |others| welcome(id, others);
        visit.board().people().enter(id, user, queue, welcome);
        Self { id, visit }
    }

    /// A place for a Yjs client.
    pub fn take_for_yjs(visit: Visit, queue: OutQueue) -> Self {
        let id = visit.next_peer();
        visit.board().people().enter_yjs(id, queue);
        Self { id, visit }
    }

    fn board(&self) -> &Arc<Board> {
        self.visit.board()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let newest = self.visit.newest_peer();
        self.board().people().leave(self.id, newest);
    }
}

impl BoardConnection {
    fn people<R>(&self, act: impl FnOnce(&mut People) -> R) -> R {
        act(&mut self.seat.board().people())
    }

    /// What every newcomer is sent after its welcome: what the server has, who is there, what is saved.
    pub async fn greet(&self) -> Result<(), TakeError> {
        let state_vector = self.seat.board().state_vector().await?;
        if !self.readonly {
            // It grows with the number of people who ever wrote, and says nothing of how fast this one reads.
            self.queue
                .push_answer(frame(&Message::SyncStep1(&state_vector)));
        }
        self.people(|people| people.brief(self.seat.id));
        Ok(())
    }

    fn push(&self, message: &Message<'_>) {
        self.queue.push(frame(message));
    }

    async fn message(&mut self, frame: &Bytes, message: Message<'_>) -> Result<(), SocketError> {
        match message {
            Message::SyncStep1(state_vector) => {
                self.asked = Some(frame.slice_ref(state_vector));
                Ok(())
            }
            // An answer to a sync step 1 is all that its sender has and the server lacks.
            Message::SyncStep2(update) => {
                self.gap = Gap::None;
                self.update(frame.slice_ref(update), true).await
            }
            Message::Update(update) => self.update(frame.slice_ref(update), false).await,
            Message::Awareness(states) => {
                let states = match protocol::decode_awareness(states) {
                    Ok(states) => states,
                    Err(error) => return self.breaks_protocol(&error),
                };
                let newest = self.seat.visit.newest_peer();
                let taken = self.people(|people| people.aware(self.seat.id, newest, states));
                taken.map_err(|unfit| invalid(format!("Refused: {unfit}.")))
            }
            Message::QueryAwareness => {
                self.people(|people| people.answer_awareness(self.seat.id));
                Ok(())
            }
            // Only a server denies.
            Message::Denied(_) => Ok(()),
        }
    }

    async fn update(&mut self, update: Bytes, whole: bool) -> Result<(), SocketError> {
        self.people(|people| people.came(self.seat.id));
        // Everybody answers a sync step 1, also whoever has nothing to say.
        if update[..] == EMPTY_UPDATE {
            self.people(|people| people.took(self.seat.id, 0, whole));
            return Ok(());
        }
        if self.readonly {
            return self.deny(SocketError::new(
                ErrorCode::ReadOnly,
                "This connection only reads: it was opened with readonly=1.",
            ));
        }
        if self.harm.is_shut_out(self.address) {
            self.queue.close(
                CloseCode::Policy,
                "several updates from this address were harmful: nothing is taken from it for a while",
            );
            return Ok(());
        }
        match self.seat.board().take(self.seat.id, update, whole).await {
            Ok(taken) => {
                if taken.incomplete && self.gap == Gap::None {
                    self.gap = Gap::Found;
                }
                Ok(())
            }
            Err(TakeError::Refused(refusal)) => self.refuse(refusal),
            Err(TakeError::Behind) if self.ours => Err(SocketError::new(
                ErrorCode::Unavailable,
                "Too much waits for the storage. Keep what you have and send it again later.",
            )),
            // It knows no such error. It is asked for all of it when there is room.
            Err(TakeError::Behind) => {
                self.people(|people| people.refused(self.seat.id));
                Ok(())
            }
            Err(TakeError::Load(error)) => {
                tracing::error!(%error, "an update could not be taken");
                if self.ours {
                    let message = "The document cannot be had now. Keep what you have and send it again later.";
                    return Err(SocketError::new(ErrorCode::Unavailable, message));
                }
                // It comes back with all that it has.
                self.close_for_now();
                Ok(())
            }
        }
    }

    fn close_for_now(&self) {
        self.queue
            .close(CloseCode::ServerError, "the document cannot be had now");
    }

    /// Asks for what the socket has and the document lacks.
    async fn ask(&mut self) {
        match self.seat.board().state_vector().await {
            Ok(state_vector) => {
                self.gap = Gap::Asked;
                self.queue
                    .push_answer(frame(&Message::SyncStep1(&state_vector)));
            }
            Err(error) => {
                tracing::error!(%error, "a document cannot be had");
                self.close_for_now();
            }
        }
    }

    /// Gives what the peer lacks that has this state vector.
    async fn answer(&self, state_vector: Bytes) {
        match self.seat.board().difference(state_vector).await {
            Ok(update) => self.queue.push_answer(frame(&Message::SyncStep2(&update))),
            Err(TakeError::Refused(refusal)) => {
                tracing::debug!(%refusal, "a state vector was refused");
                self.queue
                    .close(CloseCode::Policy, "a state vector cannot be read");
            }
            Err(error) => {
                tracing::error!(%error, "a document cannot be had");
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
                    self.harm.done_by(self.address);
                }
                tracing::warn!(%refusal, user = %self.user.id, address = %self.address, "an update was refused");
                self.queue
                    .close(CloseCode::Policy, "an update cannot be read, or would harm");
                Ok(())
            }
        }
    }

    /// Says no in the language that the client speaks.
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

    /// An update may be applied as often as one likes.
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
                if self.people(|people| people.move_to(self.seat.id, x, y)) {
                    self.seat.visit.moved();
                }
            }
            BoardCommand::Hide => {
                if self.people(|people| people.hide(self.seat.id)) {
                    self.seat.visit.moved();
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.user.id)
    }

    /// Waits where the user sends too many bytes: a refused update would be lost to the document, a late one is not.
    async fn binary(&mut self, frame: Bytes) -> Result<(), SocketError> {
        self.limits.binary(self.user.id, frame.len()).await;
        for (place, message) in protocol::decode(&frame).enumerate() {
            if place > 0 {
                // Many small ones in a frame are as much work as each in its own.
                self.limits.binary(self.user.id, 0).await;
            }
            match message {
                Ok(message) => self.message(&frame, message).await?,
                Err(error) => return self.breaks_protocol(&error),
            }
            if self.queue.is_closing() {
                break;
            }
        }
        Ok(())
    }

    fn has_backlog(&self) -> bool {
        self.asked.is_some() || self.gap == Gap::Found
    }

    /// What the peer lacks may be all of a large document: it is made when there is room for it, not before.
    async fn fill(&mut self) {
        if self.gap == Gap::Found {
            self.ask().await;
        } else if let Some(state_vector) = self.asked.take() {
            self.answer(state_vector).await;
        }
    }

    fn session_code(&self) -> CloseCode {
        if self.ours {
            CloseCode::Session
        } else {
            CloseCode::YjsSession
        }
    }

    fn connections(&self) -> usize {
        self.counted.count()
    }
}

fn frame(message: &Message<'_>) -> axum::extract::ws::Message {
    axum::extract::ws::Message::Binary(message.encode().into())
}

fn invalid(message: impl Into<String>) -> SocketError {
    SocketError::new(ErrorCode::InvalidField, message)
}
