//! What a TCP connection did last: its bytes, its requests, and how long nothing has happened.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use futures::task::AtomicWaker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request that goes on, for as long as this lives: its connection is not idle. The body of its answer holds one; an
/// upgraded socket, which has no body, needs another.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Activity>);

/// The activity of a connection, shared by its parts.
#[derive(Debug)]
pub struct Activity {
    pub peer: SocketAddr,
    pub reset: CancellationToken,
    pub read: AtomicU64,
    pub written: AtomicU64,
    /// Requests that go on.
    requests: AtomicUsize,
    /// The peer takes no bytes at the moment.
    blocked: AtomicBool,
    /// Wakes the task of the connection when the last request has ended.
    pub quiet: AtomicWaker,
    /// A std mutex: it is held for a few assignments.
    idle: Mutex<Idle>,
}

/// What happens between requests.
#[derive(Debug)]
struct Idle {
    /// When the connection began, the last request ended, or the last byte of its answer left.
    since: Instant,
    /// When the first byte of the next request's head came.
    head_since: Option<Instant>,
    /// No request came yet.
    is_new: bool,
    /// Bytes of the HTTP/2 preface so far; `None` once a byte differed from it.
    preface: Option<usize>,
}

impl Activity {
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            peer,
            reset: CancellationToken::new(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            quiet: AtomicWaker::new(),
            idle: Mutex::new(Idle {
                since: Instant::now(),
                head_since: None,
                is_new: true,
                preface: Some(0),
            }),
        })
    }

    /// A request's head is complete.
    pub fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let active = ActiveRequest::new(self);
        let mut idle = self.idle();
        (idle.head_since, idle.is_new) = (None, false);
        active
    }

    /// These bytes came.
    pub fn has_read(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.requests.load(Ordering::Relaxed) == 0 {
            let mut idle = self.idle();
            idle.head_since.get_or_insert_with(Instant::now);
            idle.compare_with_preface(bytes);
        }
    }

    /// The peer took so many bytes.
    pub fn has_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.blocked.store(false, Ordering::Relaxed);
        if self.requests.load(Ordering::Relaxed) == 0 {
            self.idle().still_writes();
        }
    }

    /// The peer took nothing.
    pub fn is_refused(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether the peer speaks HTTP/2.
    pub fn is_http_2(&self) -> bool {
        self.idle().is_http_2()
    }

    /// When the peer will have kept the server waiting for too long. `None` while a request goes on.
    pub fn deadline(&self, patience: &Patience, leaving: bool) -> Option<Instant> {
        if self.requests.load(Ordering::Acquire) > 0 {
            return None;
        }
        let idle = self.idle();
        Some(match idle.head_since {
            _ if leaving => idle.since + patience.leaving,
            // HTTP/2 has frames between requests: no byte of those says that a head has begun.
            Some(since) if !idle.is_http_2() => since + patience.head,
            None if idle.is_new => idle.since + patience.head,
            _ => idle.since + patience.idle,
        })
    }

    /// A panic while the lock was held leaves at worst an older time.
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveRequest {
    pub fn new(connection: &Arc<Activity>) -> Self {
        connection.requests.fetch_add(1, Ordering::Relaxed);
        Self(connection.clone())
    }
}

impl Idle {
    fn is_http_2(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }

    /// The end of an answer leaves. Over HTTP/2 it may as well be a ping, which says nothing of how long nobody asked.
    fn still_writes(&mut self) {
        if !self.is_http_2() {
            self.since = Instant::now();
        }
    }

    fn compare_with_preface(&mut self, bytes: &[u8]) {
        let Some(seen) = self.preface.filter(|seen| *seen < PREFACE.len()) else {
            return;
        };
        let rest = &PREFACE[seen..];
        let compared = rest.len().min(bytes.len());
        self.preface = (bytes[..compared] == rest[..compared]).then_some(seen + compared);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        // Before the count falls: the deadline is counted from here.
        self.0.idle().since = Instant::now();
        if self.0.requests.fetch_sub(1, Ordering::Release) == 1 {
            self.0.quiet.wake();
        }
    }
}
