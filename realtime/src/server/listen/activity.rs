//! Tracks the activity of a TCP connection: its bytes, its running requests, and how long it has been idle.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use futures::task::AtomicWaker;
use tokio::time::Instant;

use super::patience::Patience;

/// What the head of a request ends with (RFC 9112, section 2.1): two line ends.
const END_OF_HEAD: u32 = u32::from_be_bytes(*b"\r\n\r\n");
/// The preface of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A guard for a running request: while it exists, the connection does not count as idle. The response body holds one;
/// an upgraded socket has no body and needs another.
#[derive(Debug)]
pub struct ActiveRequest {
    connection: Arc<Activity>,
    has_body: bool,
}

/// The activity of a connection, shared by the parts that serve it.
#[derive(Debug)]
pub struct Activity {
    /// The remote address of the TCP connection; behind a proxy it is the proxy's.
    pub peer: SocketAddr,
    /// TLS encrypts the connection.
    pub is_encrypted: AtomicBool,
    /// Resets the connection: reads and writes fail from then on, and unsent bytes are dropped.
    pub reset: Reset,
    /// Bytes that the transport has delivered so far, heads and framing included.
    pub read: AtomicU64,
    /// Bytes that the transport has accepted so far, heads and framing included.
    pub written: AtomicU64,
    /// The newest four bytes that were read, as a big-endian number.
    tail: AtomicU32,
    /// Requests that are still running.
    requests: AtomicUsize,
    /// The last write was blocked because the peer does not read.
    blocked: AtomicBool,
    /// Wakes the task of the connection when the last request has ended.
    pub quiet: AtomicWaker,
    /// A std mutex: it is held for a few assignments.
    idle: Mutex<Idle>,
}

/// Whether a connection is to be reset. It wakes what waits to read and what waits to write.
#[derive(Debug, Default)]
pub struct Reset {
    is_asked: AtomicBool,
    /// The task that waits to read.
    pub reading: AtomicWaker,
    /// The task that waits to write.
    pub writing: AtomicWaker,
}

/// The state between requests.
#[derive(Debug)]
struct Idle {
    /// When the connection began, the last request ended, or the last byte of its response was sent.
    since: Instant,
    /// When the first byte of the next request's head was received.
    head_since: Option<Instant>,
    /// No request was received yet.
    is_new: bool,
    /// Bytes of the HTTP/2 preface received so far; `None` once a byte differed from the preface.
    preface: Option<usize>,
}

impl Activity {
    /// The activity of a connection that begins now and has received nothing.
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            peer,
            is_encrypted: AtomicBool::new(false),
            reset: Reset::default(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            tail: AtomicU32::new(0),
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

    /// Records that a request's head is complete. `has_body`: more bytes belong to it.
    pub fn begin_request(self: &Arc<Self>, has_body: bool) -> ActiveRequest {
        let active = ActiveRequest::new(self, has_body);
        let mut idle = self.idle();
        (idle.head_since, idle.is_new) = (None, false);
        active
    }

    /// Records how many bytes the transport delivered.
    pub fn count_read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records received bytes of HTTP.
    pub fn has_read(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let newest = &bytes[bytes.len().saturating_sub(4)..];
        let shift = |tail: u32, byte: &u8| tail << 8 | u32::from(*byte);
        let tail = newest.iter().fold(self.tail.load(Ordering::Relaxed), shift);
        self.tail.store(tail, Ordering::Relaxed);
        if self.requests.load(Ordering::Relaxed) == 0 {
            let mut idle = self.idle();
            idle.head_since.get_or_insert_with(Instant::now);
            idle.compare_with_preface(bytes);
        }
    }

    /// Records how many bytes the transport accepted.
    pub fn has_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.blocked.store(false, Ordering::Relaxed);
        if self.requests.load(Ordering::Relaxed) == 0 {
            self.idle().extend_after_write();
        }
    }

    /// Records that a write was blocked.
    pub fn set_blocked(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }

    /// Whether a write was blocked since the transport last accepted bytes.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether the connection uses HTTP/2; `None` until enough bytes were read to tell.
    pub fn speaks_http_2(&self) -> Option<bool> {
        match self.idle().preface {
            Some(seen) if seen < PREFACE.len() => None,
            preface => Some(preface.is_some()),
        }
    }

    /// When the connection will have been idle for too long. `None` while a request is running.
    pub fn deadline(&self, patience: &Patience, draining: bool) -> Option<Instant> {
        if self.requests.load(Ordering::Acquire) > 0 {
            return None;
        }
        let idle = self.idle();
        Some(match idle.head_since {
            _ if draining => idle.since + patience.draining,
            // HTTP/2 sends frames between requests, so a received byte does not mean that a head has begun.
            Some(since) if !idle.is_http_2() => since + patience.head,
            None if idle.is_new => idle.since + patience.head,
            _ => idle.since + patience.idle,
        })
    }

    /// A poisoned lock is used all the same: after a panic the stored time is at worst too old.
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reset {
    /// Asks for the reset.
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.reading.wake();
        self.writing.wake();
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }
}

impl ActiveRequest {
    /// Counts one more running request of the connection until the guard is dropped. `has_body`: bytes beyond its head
    /// belong to it.
    pub fn new(connection: &Arc<Activity>, has_body: bool) -> Self {
        connection.requests.fetch_add(1, Ordering::Relaxed);
        Self {
            connection: connection.clone(),
            has_body,
        }
    }
}

impl Idle {
    fn is_http_2(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }

    /// The end of a response was sent, so the idle time starts again. Over HTTP/2 the bytes may be a ping, which must
    /// not extend the idle time.
    fn extend_after_write(&mut self) {
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
        // Set before the count is decremented: the deadline is measured from this time.
        let now = Instant::now();
        let mut idle = self.connection.idle();
        idle.since = now;
        // What was read behind the end of this request belongs to the next head, which has begun. Behind a body this is
        // found out with the next byte only, since nothing marks the end of a body.
        let tail = self.connection.tail.load(Ordering::Relaxed);
        if !self.has_body && tail != END_OF_HEAD {
            idle.head_since.get_or_insert(now);
        }
        drop(idle);
        if self.connection.requests.fetch_sub(1, Ordering::Release) == 1 {
            self.connection.quiet.wake();
        }
    }
}
