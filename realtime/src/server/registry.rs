//! One open stream or socket by name: what its visitor may see of it, and do to it on purpose.
//!
//! A line costs its name and its handshake; it is gone when the connection is. Faults are asked of it by whoever it belongs
//! to (see the feature that offers them). Where a server offers none, nothing more is kept for them.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use tokio::sync::Notify;

use super::listen::{activity::ActiveRequest, handle::ConnectionHandle};

/// Whoever has not come back by then comes back for another reason.
const EXPIRED_FOR: Duration = Duration::from_secs(60);

/// All open lines of a server. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct ConnectionRegistry(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A std mutex: it is held for one map operation.
    open: Mutex<HashMap<String, Weak<OpenConnection>>>,
    /// Whose next resume of which path is refused, and since when.
    expired: Mutex<HashMap<(String, String), Instant>>,
    breakable: bool,
}

/// A named connection. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Connection(Arc<OpenConnection>);

#[derive(Debug)]
struct OpenConnection {
    id: String,
    path: String,
    /// Whom it belongs to, once that is known; nobody may touch the lines of others.
    owner: OnceLock<String>,
    handle: Option<ConnectionHandle>,
    /// An open socket is no idle connection.
    _active: Option<ActiveRequest>,
    /// The handshake as the server received and answered it.
    handshake: OnceLock<Handshake>,
    stalled: AtomicBool,
    repeat: Notify,
    breakable: bool,
    lines: Weak<Shared>,
}

/// How a connection began, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub request: String,
    pub response: String,
}

impl ConnectionRegistry {
    /// Whether its lines may be broken on purpose.
    pub fn new(breakable: bool) -> Self {
        Self(Arc::new(Shared {
            breakable,
            ..Shared::default()
        }))
    }

    /// Names a connection. It is known under that name until its last clone is dropped.
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
            lines: Arc::downgrade(&self.0),
        }));
        lock(&self.0.open).insert(connection.0.id.clone(), Arc::downgrade(&connection.0));
        connection
    }

    /// The open line of this name.
    pub fn find(&self, id: &str) -> Option<Connection> {
        lock(&self.0.open).get(id)?.upgrade().map(Connection)
    }

    /// For a minute the next resume of this line's path by its owner is answered as if the history were lost.
    pub fn expire(&self, connection: &Connection) {
        let mut expired = lock(&self.0.expired);
        expired.retain(|_, since| since.elapsed() < EXPIRED_FOR);
        if let Some(key) = connection.key() {
            expired.insert(key, Instant::now());
        }
    }
}

impl Connection {
    /// A line that nobody else knows of: for connections outside a server's routes, as in tests.
    pub fn unknown() -> Self {
        ConnectionRegistry::default().open("", None)
    }

    /// The name, as in `hello` and `welcome`.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Says whom it belongs to; the first word counts.
    pub fn belongs_to(&self, owner: impl ToString) {
        let _ = self.0.owner.set(owner.to_string());
    }

    /// Whether this is whom it belongs to.
    pub fn is_of(&self, owner: impl ToString) -> bool {
        self.0.owner.get() == Some(&owner.to_string())
    }

    /// Keeps how it began; the first word counts.
    pub fn remember(&self, handshake: Handshake) {
        let _ = self.0.handshake.set(handshake);
    }

    /// How it began, once that is known.
    pub fn handshake(&self) -> Option<&Handshake> {
        self.0.handshake.get()
    }

    /// Resets the connection, over HTTP/2 only this line's own stream: the peer sees an error at once.
    pub fn reset(&self) {
        if let Some(connection) = &self.0.handle {
            connection.reset();
        }
    }

    /// Sends nothing any more, without closing: as a server that hangs, or a path that swallows bytes.
    pub fn stall(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
    }

    /// Resolves at once, and never once the line is stalled.
    pub async fn unless_stalled(&self) {
        if self.0.stalled.load(Ordering::Relaxed) {
            pending().await
        }
    }

    /// Asks that the last event is sent once more.
    pub fn repeat(&self) {
        self.0.repeat.notify_one();
    }

    /// Resolves when the last event shall be sent once more.
    pub async fn repeat_asked(&self) {
        self.0.repeat.notified().await;
    }

    /// Whether the history is to be taken for lost at this very opening: true once after [`ConnectionRegistry::expire`].
    pub fn has_expired(&self) -> bool {
        let (Some(lines), Some(key)) = (self.0.lines.upgrade(), self.key()) else {
            return false;
        };
        let expired = lock(&lines.expired).remove(&key);
        expired.is_some_and(|since| since.elapsed() < EXPIRED_FOR)
    }

    /// Whether somebody may ask for faults of this line at all.
    pub fn may_break(&self) -> bool {
        self.0.breakable
    }

    fn key(&self) -> Option<(String, String)> {
        let owner = self.0.owner.get()?.clone();
        Some((owner, self.0.path.clone()))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(lines) = self.lines.upgrade() {
            lock(&lines.open).remove(&self.id);
        }
    }
}

/// The line that was opened for this request; one that nobody knows where none was.
impl<S: Send + Sync> FromRequestParts<S> for Connection {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let connection = parts.extensions.get::<Self>().cloned();
        Ok(connection.unwrap_or_else(Self::unknown))
    }
}

/// A panic while the lock was held can only have been within one map operation: the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name for a connection that nobody can guess: 64 random bits in hexadecimal.
fn connection_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_line_is_known_until_its_connection_ends() {
        let lines = ConnectionRegistry::default();
        let connection = lines.open("/events", None);
        let (id, held) = (connection.id().to_owned(), connection.clone());
        drop(connection);
        assert!(lines.find(&id).is_some(), "a clone is still open");
        drop(held);
        assert!(lines.find(&id).is_none());
        assert!(lock(&lines.0.open).is_empty(), "nothing is kept of it");
    }

    #[test]
    fn the_first_owner_stays() {
        let connection = Connection::unknown();
        assert!(!connection.is_of("ada"), "nobody's yet");
        connection.belongs_to("ada");
        connection.belongs_to("eve");
        assert!(connection.is_of("ada") && !connection.is_of("eve"));
    }

    #[test]
    fn an_expired_history_is_lost_once_for_its_owner_on_its_path() {
        let lines = ConnectionRegistry::default();
        let open = |owner: &str, route: &str| {
            let connection = lines.open(route, None);
            connection.belongs_to(owner);
            connection
        };
        lines.expire(&open("ada", "/events"));
        assert!(!open("eve", "/events").has_expired());
        assert!(!open("ada", "/other").has_expired());
        assert!(open("ada", "/events").has_expired());
        assert!(!open("ada", "/events").has_expired(), "only once");
    }

    #[tokio::test]
    async fn a_stalled_line_lets_nothing_pass() {
        let connection = Connection::unknown();
        assert!(connection.unless_stalled().now_or_never().is_some());
        connection.stall();
        assert!(connection.unless_stalled().now_or_never().is_none());
    }
}
