//! Boards and their sockets, and the tick that tells everybody who moved.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{
        State,
        ws::{Message, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
    routing::any,
};
use bytes::Bytes;
use tokio::{sync::Notify, time::sleep};

use super::{
    DOCUMENT_RULE,
    cursors::Cursors,
    is_document_name,
    message::{BoardCommand, BoardEvent, BoardSocket, BoardWelcome, Peer, PeerId},
};
use crate::{
    api::{ApiError, answer::Path, limits::Limits, origin::Caller},
    realtime::{
        close::CloseCode,
        contract::SocketContract,
        message::{ErrorCode, SocketError},
        server::{
            Counted, Drain,
            listen::ConnectionHandle,
            queue::{OutQueue, encode},
            socket::{self, Ended, SocketHandler},
            upgrade,
        },
    },
    server::{AppState, welcome},
    session::{User, server::SocketSession, token::Session},
};

/// Pointers go out at most this often: thirty times a second looks alive, and more costs only.
pub const TICK: Duration = Duration::from_millis(33);
/// The longest binary message in bytes.
const BINARY_BYTES: usize = 4 * 1024 * 1024;

/// All boards. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Collab(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// A std mutex: it is held for pushes into queues and never across an await.
    boards: Mutex<HashMap<String, Board>>,
    moved: Notify,
    next_peer: AtomicU64,
    sockets: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Board {
    cursors: Cursors,
    listeners: HashMap<PeerId, OutQueue>,
}

impl Collab {
    /// Tells everybody who moved, at most once a tick, until the server leaves.
    pub async fn run(self, drain: Drain) {
        loop {
            tokio::select! {
                () = self.0.moved.notified() => {}
                () = drain.started() => return,
            }
            self.boards().values_mut().for_each(Board::tick);
            sleep(TICK).await;
        }
    }

    /// Everybody on a board, as a page shows it first.
    pub fn peers(&self, document: &str) -> Vec<Peer> {
        // Peer ids begin at 1: nobody is left out.
        self.boards()
            .get(document)
            .map(|board| board.cursors.peers(0))
            .unwrap_or_default()
    }

    fn enter(&self, document: &str, user: User, queue: OutQueue) -> Pointer {
        let id = self.0.next_peer.fetch_add(1, Ordering::Relaxed) + 1;
        let mut boards = self.boards();
        let board = boards.entry(document.to_owned()).or_default();
        let peer = board.cursors.enter(id, user);
        board.tell(&BoardEvent::Joined { peer });
        board.listeners.insert(id, queue);
        let counted = Counted::new(self.0.sockets.clone(), "websocket", "collab");
        Pointer {
            id,
            document: document.to_owned(),
            collab: self.clone(),
            _counted: counted,
        }
    }

    /// A panic while the lock was held leaves at worst a pointer that is told a tick late.
    fn boards(&self) -> MutexGuard<'_, HashMap<String, Board>> {
        self.0.boards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// Encodes once, queues for all.
    fn tell(&self, event: &BoardEvent) {
        let message: Message = encode(event);
        self.listeners
            .values()
            .for_each(|queue| queue.push(message.clone()));
    }

    fn tick(&mut self) {
        let moves = self.cursors.take_moves();
        if moves.is_empty() {
            return;
        }
        let change = encode(&BoardEvent::Moved { moves });
        // Encoded at most once too, and only if somebody is slow.
        let mut whole: Option<Message> = None;
        for queue in self.listeners.values() {
            queue.push_volatile(&change, || {
                whole
                    .get_or_insert_with(|| {
                        encode(&BoardEvent::Moved {
                            moves: self.cursors.places(),
                        })
                    })
                    .clone()
            });
        }
    }
}

/// One socket's place on a board; gone for everybody when it is dropped.
struct Pointer {
    id: PeerId,
    document: String,
    collab: Collab,
    _counted: Counted,
}

impl Pointer {
    fn on_board<R>(&self, act: impl FnOnce(&mut Board) -> R) -> Option<R> {
        self.collab.boards().get_mut(&self.document).map(act)
    }
}

impl Drop for Pointer {
    fn drop(&mut self) {
        let mut boards = self.collab.boards();
        let Some(board) = boards.get_mut(&self.document) else {
            return;
        };
        board.cursors.leave(self.id);
        board.listeners.remove(&self.id);
        board.tell(&BoardEvent::Left { id: self.id });
        if board.cursors.is_empty() {
            boards.remove(&self.document);
        }
    }
}

/// One socket on a board.
struct Visitor {
    pointer: Pointer,
    user: User,
    limits: Limits,
    offer: upgrade::Offer,
}

impl SocketHandler for Visitor {
    type Contract = BoardSocket;

    async fn command(&mut self, command: BoardCommand) -> Result<(), SocketError> {
        let id = self.pointer.id;
        match command {
            BoardCommand::Move { x, y } => {
                if ![x, y].iter().all(|value| (0.0..=1.0).contains(value)) {
                    let message = "\"x\" and \"y\" are numbers from 0 to 1: parts of the board's width and height.";
                    return Err(self
                        .admit()
                        .err()
                        .unwrap_or(SocketError::new(ErrorCode::InvalidField, message)));
                }
                if self
                    .pointer
                    .on_board(|board| board.cursors.move_to(id, x, y))
                    == Some(true)
                {
                    self.pointer.collab.0.moved.notify_one();
                }
            }
            BoardCommand::Hide => {
                self.pointer.on_board(|board| {
                    if board.cursors.hide(id) {
                        board.tell(&BoardEvent::Hidden { id });
                    }
                });
            }
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<(), SocketError> {
        self.limits.message(self.user.id)
    }

    fn binary(&mut self, _bytes: Bytes) -> Result<(), SocketError> {
        self.admit()?;
        Err(SocketError::new(
            ErrorCode::Unavailable,
            "The shared text is not served by this version; pointers are.",
        ))
    }

    fn session_code(&self) -> CloseCode {
        match self.offer {
            upgrade::Offer::Ours => CloseCode::Session,
            _ => CloseCode::YjsSession,
        }
    }

    fn connections(&self) -> usize {
        self.pointer.collab.0.sockets.load(Ordering::Relaxed)
    }
}

pub fn routes() -> Router<AppState> {
    Router::new().route(BoardSocket::ROUTE, any(socket))
}

async fn socket(
    State(state): State<AppState>,
    Path(document): Path<String>,
    SocketSession(session): SocketSession,
    Extension(caller): Extension<Caller>,
    connection: Option<Extension<ConnectionHandle>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(crate::server::no_upgrade)?;
    let realtime = state.realtime.clone();
    let serve = async move |socket, offer: upgrade::Offer| {
        if !is_document_name(&document) {
            let code = if offer == upgrade::Offer::Ours {
                CloseCode::NotFound
            } else {
                CloseCode::YjsNotFound
            };
            socket::refuse(socket, code, DOCUMENT_RULE).await;
            return Ended::Cleanly;
        }
        let session: Session = match session {
            Ok(session) => session,
            // A Yjs client cannot sign in: it is a guest of its own.
            Err(_) if offer == upgrade::Offer::Nothing => state.sessions.guest(),
            Err(why) => {
                socket::refuse(socket, CloseCode::Session, why.close_reason()).await;
                return Ended::Cleanly;
            }
        };
        let Ok(_place) = state.limits.place(caller.address) else {
            socket::refuse(
                socket,
                CloseCode::RateLimitIgnored,
                "too many open sockets from this address",
            )
            .await;
            return Ended::Cleanly;
        };
        let queue = OutQueue::default();
        let user = session.user.clone();
        let pointer = state.collab.enter(&document, user.clone(), queue.clone());
        let visitor = Visitor {
            pointer,
            user: user.clone(),
            limits: state.limits.clone(),
            offer,
        };
        let you = visitor.pointer.id;
        let peers = visitor
            .pointer
            .on_board(|board| board.cursors.peers(you))
            .unwrap_or_default();
        let feature = BoardWelcome {
            user,
            you,
            peers,
            tick_ms: TICK.as_millis() as u64,
        };
        queue.push_json(&welcome(
            &state,
            visitor.connections(),
            BINARY_BYTES,
            feature,
        ));
        let ended = session.ended(state.sessions.end_of(&session));
        socket::run(socket, queue, visitor, &state.realtime, ended).await
    };
    let connection = connection.map(|handle| handle.0);
    Ok(upgrade::accept::<BoardSocket, _>(
        upgrade,
        &headers,
        BINARY_BYTES,
        realtime.drain(),
        connection,
        serve,
    ))
}
