//! One thread writes. While the disk takes one group of writes, the next one gathers: many appends, one fsync.
//!
//! Whoever was answered with one group often writes again at once, and would just miss the next one: a hundred writers would
//! go in two groups of fifty that take turns. So a large group is waited for, a little, as PostgreSQL's `commit_delay` does it.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::sync::{oneshot, watch};

use super::tables::{Tables, Write};
use crate::bus::{Answer, BusError, Health, fan_out::FanOut};

/// Bytes that may wait to be written. Beyond it the disk is too slow for what comes, and whoever comes is told so.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// So long those of the last group are waited for: what an fsync takes on a fast disk, and a hundred writers to come back.
const COME_BACK: Duration = Duration::from_micros(500);
/// A smaller group is not worth a wait (PostgreSQL's `commit_siblings`).
const WORTH_A_WAIT: usize = 5;
/// What a waiting write costs beyond its bytes.
const WRITE_OVERHEAD: usize = 256;

/// Takes writes in the order of the calls. Ends, with all that waits written, when it is closed or dropped.
pub struct Writer {
    inbox: Mutex<Option<Sender<Waiting>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    commits: AtomicU64,
    writes: AtomicU64,
    health: watch::Sender<Health>,
}

/// What the writer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
}

struct Waiting {
    operation: Box<dyn Operation>,
    bytes: usize,
}

/// A write and whoever waits for its answer.
trait Operation: Send {
    fn apply(&mut self, tables: &mut Tables) -> rusqlite::Result<()>;
    /// The group is on disk, or it is not.
    fn settle(self: Box<Self>, committed: Result<(), BusError>);
}

struct Asked<T, F> {
    work: F,
    outcome: Option<Result<T, BusError>>,
    reply: oneshot::Sender<Result<T, BusError>>,
}

impl<T: Send, F: FnMut(&mut Tables) -> Write<T> + Send> Operation for Asked<T, F> {
    fn apply(&mut self, tables: &mut Tables) -> rusqlite::Result<()> {
        self.outcome = Some((self.work)(tables)?);
        Ok(())
    }

    fn settle(self: Box<Self>, committed: Result<(), BusError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(BusError::Closed),
            (Err(error), _) => Err(error),
        };
        // Nobody may wait any more; the write stands all the same.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// `group` is the most writes in one commit. The lock of the data folder is held for as long as the thread lives.
    pub fn start(tables: Tables, lock: File, fan_out: Arc<FanOut>, group: usize) -> Self {
        let (sender, receiver) = channel();
        let counts = Arc::<Counts>::default();
        let thread = thread::spawn({
            let counts = counts.clone();
            move || {
                let _lock = lock;
                let writing = || run(tables, &receiver, &fan_out, &counts, group.max(1));
                // The panic hook logs it. Those who wait for an answer are told that the bus is closed.
                if catch_unwind(AssertUnwindSafe(writing)).is_err() {
                    counts.health.send_replace(Health::Broken);
                }
            }
        });
        Self {
            inbox: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            counts,
        }
    }

    /// Puts a write into the line; `bytes` is what it holds in memory meanwhile.
    pub fn submit<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut Tables) -> Write<T> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let bytes = bytes + WRITE_OVERHEAD;
        let outcome = None;
        let operation = Box::new(Asked {
            work,
            outcome,
            reply,
        });
        let waiting = self.counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        let sent = if waiting > WAITING_BYTES {
            Err(BusError::Unavailable(
                "more waits to be written than may".into(),
            ))
        } else {
            let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = inbox
                .as_ref()
                .map(|inbox| inbox.send(Waiting { operation, bytes }));
            sent.and_then(Result::ok).ok_or(BusError::Closed)
        };
        if sent.is_err() {
            self.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        async move {
            sent?;
            answer.await.unwrap_or(Err(BusError::Closed))
        }
        .boxed()
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.counts.health.subscribe()
    }

    pub fn commits(&self) -> Commits {
        Commits {
            commits: self.counts.commits.load(Ordering::Relaxed),
            writes: self.counts.writes.load(Ordering::Relaxed),
        }
    }

    /// Takes nothing more. The handle ends when all that waits is written.
    pub fn close(&self) -> Option<thread::JoinHandle<()>> {
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(inbox);
        self.thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Counts {
    fn note<T>(&self, committed: &rusqlite::Result<T>) {
        let health = match committed {
            Ok(_) => Health::Well,
            Err(error) => Health::Refused(error.to_string()),
        };
        self.health.send_if_modified(|known| {
            let is_news = *known != health;
            *known = health;
            is_news
        });
    }
}

fn run(
    mut tables: Tables,
    inbox: &Receiver<Waiting>,
    fan_out: &FanOut,
    counts: &Counts,
    most: usize,
) {
    let mut answered = 0;
    while let Ok(first) = inbox.recv() {
        let mut group = gather(first, inbox, answered, most);
        answered = group.len();
        let committed = commit(&mut tables, &mut group);
        counts.commits.fetch_add(1, Ordering::Relaxed);
        counts
            .writes
            .fetch_add(group.len() as u64, Ordering::Relaxed);
        metrics::counter!("wirewise_bus_commits").increment(1);
        metrics::counter!("wirewise_bus_writes").increment(group.len() as u64);
        counts.note(&committed);
        let outcome = match committed {
            Ok(grown) => {
                grown
                    .iter()
                    .for_each(|(log, head)| fan_out.wake(log, *head));
                Ok(())
            }
            Err(error) => {
                tables.roll_back();
                tracing::error!(%error, writes = group.len(), "nothing of a group of writes could be stored");
                Err(BusError::Unavailable(error.to_string()))
            }
        };
        for Waiting { operation, bytes } in group {
            counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            operation.settle(outcome.clone());
        }
    }
}

/// What waits, and with it those who were `answered` with the last group, if they come back soon.
fn gather(first: Waiting, inbox: &Receiver<Waiting>, answered: usize, most: usize) -> Vec<Waiting> {
    let mut group = vec![first];
    let fill = |group: &mut Vec<Waiting>| {
        let room = most - group.len();
        group.extend(inbox.try_iter().take(room));
    };
    fill(&mut group);
    let everybody = most.min(group.len() + answered);
    let until = Instant::now() + COME_BACK;
    while answered >= WORTH_A_WAIT && group.len() < everybody {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(next) = inbox.recv_timeout(left) else {
            break;
        };
        group.push(next);
        fill(&mut group);
    }
    group
}

fn commit(tables: &mut Tables, group: &mut [Waiting]) -> rusqlite::Result<Vec<(String, u64)>> {
    tables.begin()?;
    for waiting in group {
        waiting.operation.apply(tables)?;
    }
    tables.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::embedded::schema::{database, lock, open_to_write};

    #[tokio::test]
    async fn a_writer_that_panics_is_reported_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = lock(folder.path()).unwrap();
        let (connection, _) = open_to_write(&database(folder.path())).unwrap();
        let writer = Writer::start(Tables::new(connection), lock, Arc::default(), 8);
        let mut health = writer.health();
        assert_eq!(*health.borrow(), Health::Well);
        let answer = writer.submit(0, |_| -> Write<()> { panic!("on purpose") });
        assert_eq!(answer.await, Err(BusError::Closed));
        health
            .wait_for(|health| *health == Health::Broken)
            .await
            .unwrap();
        assert_eq!(
            writer.submit(0, |_| Ok(Ok(()))).await,
            Err(BusError::Closed)
        );
    }
}
