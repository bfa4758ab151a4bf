//! Registers each open stream or socket by name, so that its owner can inspect it and inject faults into it.
//!
//! An entry costs its name and its handshake, and is removed when the connection ends. Only the owner of a connection
//! may inject faults (see the feature that offers them). If a server offers none, nothing more is kept for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use super::listen::{activity::ActiveRequest, handle::ConnectionHandle};

/// A request to expire a history is valid for this long; a later resume has another reason.
const EXPIRED_FOR: Duration = Duration::from_secs(60);

/// Answers to refused resumes by which a reader may lag behind.
const ANSWERED: usize = 64;

/// All open connections of a server. Cheap to clone; all clones share one state.
#[derive(Clone, Debug, Default)]
pub struct ConnectionRegistry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A std mutex: it is held for one map operation.
    open: Mutex<HashMap<String, Weak<OpenConnection>>>,
    /// Of which the next resume is refused, and when that was requested.
    expired: Mutex<HashMap<ExpiredHistory, Instant>>,
    /// Tells of which a resume was refused.
    answered: broadcast::Sender<ExpiredHistory>,
    breakable: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            expired: Mutex::default(),
            answered: broadcast::Sender::new(ANSWERED),
            breakable: false,
        }
    }
}

/// A history whose next resume is answered as if it were lost: that of a path, for its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExpiredHistory {
    /// The owner, as [`Connection::belongs_to`] got it.
    pub owner: String,
    /// The path of the route.
    pub path: String,
}

/// A named connection. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Connection(Arc<OpenConnection>);

#[derive(Debug)]
struct OpenConnection {
    id: String,
    path: String,
    /// The owner, once it is known. A user may only access their own connections.
    owner: OnceLock<String>,
    handle: Option<ConnectionHandle>,
    /// Keeps the TCP connection from counting as idle while a socket is open.
    _active: Option<ActiveRequest>,
    /// The handshake as the server received and answered it.
    handshake: OnceLock<Handshake>,
    stalled: AtomicBool,
    repeat: Notify,
    breakable: bool,
    registry: Weak<Shared>,
}

/// The handshake of a connection, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The request as the server received it.
    pub request: String,
    /// The response as the server sent it.
    pub response: String,
}

impl ConnectionRegistry {
    /// `breakable`: whether faults may be injected into its connections.
    pub fn new(breakable: bool) -> Self {
        Self(Arc::new(Shared {
            breakable,
            ..Shared::default()
        }))
    }

    /// Registers a connection under a new name. The entry exists until the last clone of the connection is dropped.
    pub fn open(&self, path: &str, handle: Option<ConnectionHandle>) -> Connection {
        let connection = Connection(Arc::new(OpenConnection {
            id: connection_id(),
            path: path.to_owned(),
            owner: OnceLock::new(),
            _active: handle.as_ref().map(ConnectionHandle::hold),
            handle,
            handshake: OnceLock::new(),
            stalled: AtomicBool::new(false),
            repeat: Notify::new(),
            breakable: self.0.breakable,
            registry: Arc::downgrade(&self.0),
        }));
        lock(&self.0.open).insert(connection.0.id.clone(), Arc::downgrade(&connection.0));
        connection
    }

    /// The open connection with this name.
    pub fn find(&self, id: &str) -> Option<Connection> {
        lock(&self.0.open).get(id)?.upgrade().map(Connection)
    }

    /// For a minute, the next resume in this history is answered as if it were lost.
    pub fn expire(&self, history: ExpiredHistory) {
        let mut expired = lock(&self.0.expired);
        expired.retain(|_, since| since.elapsed() < EXPIRED_FOR);
        expired.insert(history, Instant::now());
    }

    /// Takes an expiry back: another node has answered the resume.
    pub fn forget_expired(&self, history: &ExpiredHistory) {
        lock(&self.0.expired).remove(history);
    }

    /// Receives each expired history once a resume in it was answered here.
    pub fn answered(&self) -> broadcast::Receiver<ExpiredHistory> {
        self.0.answered.subscribe()
    }
}

impl Connection {
    /// An unregistered connection: for connections outside a server's routes, as in tests.
    pub fn unknown() -> Self {
        ConnectionRegistry::default().open("", None)
    }

    /// The name, as it is sent in `hello` and `welcome`.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Sets the owner; only the first call has an effect.
    pub fn belongs_to(&self, owner: impl ToString) {
        let _ = self.0.owner.set(owner.to_string());
    }

    /// Whether this is the owner.
    pub fn is_of(&self, owner: impl ToString) -> bool {
        self.0.owner.get() == Some(&owner.to_string())
    }

    /// Stores the handshake; only the first call has an effect.
    pub fn remember(&self, handshake: Handshake) {
        let _ = self.0.handshake.set(handshake);
    }

    /// The handshake, once it is known.
    pub fn handshake(&self) -> Option<&Handshake> {
        self.0.handshake.get()
    }

    /// Resets the connection; over HTTP/2 only its own stream. The peer sees an error at once.
    pub fn reset(&self) {
        if let Some(connection) = &self.0.handle {
            connection.reset();
        }
    }

    /// Stops sending without closing. It simulates a server that hangs, or a network path that drops bytes.
    pub fn stall(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is to be sent any more.
    pub fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// Requests that the last event is sent once more.
    pub fn repeat(&self) {
        self.0.repeat.notify_one();
    }

    /// Resolves when a repeat of the last event was requested.
    pub async fn repeat_asked(&self) {
        self.0.repeat.notified().await;
    }

    /// Whether this connection must treat the history as lost: true once after [`ConnectionRegistry::expire`].
    pub fn has_expired(&self) -> bool {
        let (Some(registry), Some(history)) = (self.0.registry.upgrade(), self.history()) else {
            return false;
        };
        let expired = lock(&registry.expired).remove(&history);
        let is_expired = expired.is_some_and(|since| since.elapsed() < EXPIRED_FOR);
        if is_expired {
            // An error means that there are no readers.
            let _ = registry.answered.send(history);
        }
        is_expired
    }

    /// Whether faults may be injected into this connection.
    pub fn may_break(&self) -> bool {
        self.0.breakable
    }

    /// Whether any task may write to the connection: the bytes go to a TCP connection as they are, and no fault holds them
    /// back.
    pub(super) fn may_write_directly(&self) -> bool {
        let handle = self.0.handle.as_ref();
        !self.may_break() && handle.is_some_and(ConnectionHandle::is_plain)
    }

    /// The history that this connection reads, for [`ConnectionRegistry::expire`]; `None` before the owner is known.
    pub fn history(&self) -> Option<ExpiredHistory> {
        Some(ExpiredHistory {
            owner: self.0.owner.get()?.clone(),
            path: self.0.path.clone(),
        })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            lock(&registry.open).remove(&self.id);
        }
    }
}

/// A poisoned lock is used all the same: it is held for single map operations only, so the map is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An unguessable name for a connection: 64 random bits in hexadecimal.
fn connection_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_registered_until_its_last_clone_is_dropped() {
        let registry = ConnectionRegistry::default();
        let connection = registry.open("/events", None);
        let (id, held) = (connection.id().to_owned(), connection.clone());
        drop(connection);
        assert!(registry.find(&id).is_some(), "a clone is still open");
        drop(held);
        assert!(registry.find(&id).is_none());
        assert!(lock(&registry.0.open).is_empty(), "its entry is removed");
    }

    #[test]
    fn the_first_owner_stays() {
        let connection = Connection::unknown();
        assert!(!connection.is_of("ada"), "it has no owner yet");
        connection.belongs_to("ada");
        connection.belongs_to("eve");
        assert!(connection.is_of("ada") && !connection.is_of("eve"));
    }

    #[test]
    fn an_expired_history_is_lost_once_for_its_owner_on_its_path() {
        let registry = ConnectionRegistry::default();
        let open = |owner: &str, route: &str| {
            let connection = registry.open(route, None);
            connection.belongs_to(owner);
            connection
        };
        let mut answered = registry.answered();
        let history = open("ada", "/events").history().unwrap();
        registry.expire(history.clone());
        assert!(!open("eve", "/events").has_expired());
        assert!(!open("ada", "/other").has_expired());
        assert!(open("ada", "/events").has_expired());
        assert!(!open("ada", "/events").has_expired(), "only once");
        assert_eq!(answered.try_recv(), Ok(history.clone()));
        registry.expire(history.clone());
        registry.forget_expired(&history);
        assert!(
            !open("ada", "/events").has_expired(),
            "it was answered elsewhere"
        );
    }
}
