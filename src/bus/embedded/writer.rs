//! Commits writes in groups on a single thread: while one group is being written, the next one gathers. Many appends
//! share one fsync.
//!
//! A client whose write was acknowledged with one group often writes again at once, and would just miss the next group:
//! a hundred clients would form two groups of fifty that alternate. So after a large group the writer waits a little
//! for more writes, like PostgreSQL's `commit_delay`.
//!
//! An invalid write fails alone. Its group is rolled back and stored again with a savepoint before each write, so that
//! groups without failures, which are nearly all, need no savepoints. A failure of the database (a full disk, an I/O
//! error) fails the whole group.

use std::{
    any::Any,
    io,
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
use rusqlite::ErrorCode;
use tokio::sync::{oneshot, watch};

use super::tables::{Tables, Write};
use crate::bus::{Answer, BusError, Health, recent::Growth};

/// Bytes that may be queued. Beyond this the disk is too slow for the load, and further writes are refused.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// How long to wait for the clients of the last group: the time of an fsync on a fast disk, in which a hundred clients
/// can send their next write.
const COMMIT_DELAY: Duration = Duration::from_micros(500);
/// After a smaller group the writer does not wait (PostgreSQL's `commit_siblings`).
const COMMIT_SIBLINGS: usize = 5;
/// Bytes that a queued write costs beyond its data.
const WRITE_OVERHEAD: usize = 256;

/// Stores writes in the order of the calls. When it is closed or dropped, it stores all queued writes and ends.
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

/// The number of commits and writes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    pub commits: u64,
    /// Writes in these commits.
    pub writes: u64,
}

struct Waiting {
    operation: Box<dyn Operation>,
    bytes: usize,
}

/// A write, together with the channel for its answer.
trait Operation: Send {
    fn apply(&mut self, tables: &mut Tables) -> rusqlite::Result<()>;
    /// Removes this write from its group; the error is its answer.
    fn refuse(&mut self, error: BusError);
    /// Sends the answer, once the group was committed or has failed.
    fn send_answer(self: Box<Self>, committed: Result<(), BusError>);
}

/// Why a write failed.
enum Failure {
    /// Nothing can be stored at present.
    Database(rusqlite::Error),
    /// This write can never be stored.
    Write(String),
}

struct Submitted<T, F> {
    work: F,
    outcome: Option<Result<T, BusError>>,
    reply: oneshot::Sender<Result<T, BusError>>,
}

impl<T: Send, F: FnMut(&mut Tables) -> Write<T> + Send> Operation for Submitted<T, F> {
    fn apply(&mut self, tables: &mut Tables) -> rusqlite::Result<()> {
        self.outcome = Some((self.work)(tables)?);
        Ok(())
    }

    fn refuse(&mut self, error: BusError) {
        self.outcome = Some(Err(error));
    }

    fn send_answer(self: Box<Self>, committed: Result<(), BusError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(BusError::Closed),
            (Err(error), _) => Err(error),
        };
        // The caller may have dropped the answer; the write is stored all the same.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// `group` is the maximum number of writes in one commit. `committed` is called after each commit with what it
    /// changed.
    pub fn start(
        tables: Tables,
        group: usize,
        committed: impl Fn(Vec<Growth>) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let counts = Arc::<Counts>::default();
        let writing = {
            let counts = counts.clone();
            move || {
                let writing = || run(tables, &receiver, &counts, group.max(1), &committed);
                // The panic hook logs the panic. Pending callers get `BusError::Closed`.
                if catch_unwind(AssertUnwindSafe(writing)).is_err() {
                    counts.health.send_replace(Health::Broken);
                }
            }
        };
        let thread = thread::Builder::new()
            .name("bus-writer".into())
            .spawn(writing)?;
        Ok(Self {
            inbox: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            counts,
        })
    }

    /// Queues a write; `bytes` is the memory that it occupies meanwhile.
    pub fn submit<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut Tables) -> Write<T> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let bytes = bytes + WRITE_OVERHEAD;
        let outcome = None;
        let operation = Box::new(Submitted {
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

    /// Accepts no more writes. The thread ends when all queued writes are stored.
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
    fn record_health<T>(&self, committed: &rusqlite::Result<T>) {
        let health = match committed {
            Ok(_) => Health::Well,
            Err(error) => Health::Refused(error.to_string()),
        };
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }
}

fn run(
    mut tables: Tables,
    inbox: &Receiver<Waiting>,
    counts: &Counts,
    most: usize,
    committed: &impl Fn(Vec<Growth>),
) {
    let mut answered = 0;
    while let Ok(first) = inbox.recv() {
        let mut group = gather(first, inbox, answered, most);
        answered = group.len();
        let stored = commit(&mut tables, &mut group);
        counts.commits.fetch_add(1, Ordering::Relaxed);
        counts
            .writes
            .fetch_add(group.len() as u64, Ordering::Relaxed);
        metrics::counter!("wirewise_bus_commits").increment(1);
        metrics::counter!("wirewise_bus_writes").increment(group.len() as u64);
        counts.record_health(&stored);
        let outcome = match stored {
            Ok(changed) => {
                committed(changed);
                Ok(())
            }
            Err(error) => {
                tables.roll_back();
                tracing::error!(%error, writes = group.len(), "a group of writes could not be stored");
                Err(BusError::Unavailable(error.to_string()))
            }
        };
        for Waiting { operation, bytes } in group {
            counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            operation.send_answer(outcome.clone());
        }
    }
}

/// Collects the queued writes into a group. It waits briefly for as many more as were answered with the last group.
fn gather(first: Waiting, inbox: &Receiver<Waiting>, answered: usize, most: usize) -> Vec<Waiting> {
    let mut group = vec![first];
    let fill = |group: &mut Vec<Waiting>| {
        let room = most - group.len();
        group.extend(inbox.try_iter().take(room));
    };
    fill(&mut group);
    let expected = most.min(group.len() + answered);
    let until = Instant::now() + COMMIT_DELAY;
    while answered >= COMMIT_SIBLINGS && group.len() < expected {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(next) = inbox.recv_timeout(left) else {
            break;
        };
        group.push(next);
        fill(&mut group);
    }
    group
}

fn commit(tables: &mut Tables, group: &mut [Waiting]) -> rusqlite::Result<Vec<Growth>> {
    tables.begin()?;
    for waiting in group.iter_mut() {
        match waiting.apply(tables) {
            Ok(()) => {}
            Err(Failure::Database(error)) => return Err(error),
            Err(Failure::Write(_)) => {
                tables.roll_back();
                return commit_without_failures(tables, group);
            }
        }
    }
    tables.commit()
}

/// Stores the valid writes of a group and refuses the others.
fn commit_without_failures(
    tables: &mut Tables,
    group: &mut [Waiting],
) -> rusqlite::Result<Vec<Growth>> {
    tables.begin()?;
    for waiting in group {
        tables.set_savepoint()?;
        match waiting.apply(tables) {
            Ok(()) => tables.release_savepoint()?,
            Err(Failure::Database(error)) => return Err(error),
            Err(Failure::Write(error)) => {
                tables.undo_to_savepoint()?;
                tracing::error!(
                    error,
                    "a write was refused; the others of its group are stored"
                );
                waiting.operation.refuse(BusError::Refused(error));
            }
        }
    }
    tables.commit()
}

impl Waiting {
    /// Executes the write. A panic counts as a failure of this write; the thread continues with the others.
    fn apply(&mut self, tables: &mut Tables) -> Result<(), Failure> {
        match catch_unwind(AssertUnwindSafe(|| self.operation.apply(tables))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if tables.is_undone() || !is_write_error(&error) => {
                Err(Failure::Database(error))
            }
            Ok(Err(error)) => Err(Failure::Write(error.to_string())),
            Err(panic) => Err(Failure::Write(message_of(&*panic))),
        }
    }
}

/// Whether the database works and only rejects these values. Any other error would affect the next write as well.
pub fn is_write_error(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
        ),
        // The values could not be passed to SQLite, or could not be read from it.
        None => true,
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", message.unwrap_or("without words"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::bus::{
        Appended, NewEvent,
        embedded::{
            reader,
            schema::{database, open_to_read, open_to_write},
        },
    };

    const LOG: &str = "chat/lobby";

    fn tables(folder: &std::path::Path) -> Tables {
        Tables::new(open_to_write(&database(folder)).unwrap().0)
    }

    /// Writes that are queued before the writer takes the first of them, so that they form one group.
    struct Group(Vec<Waiting>);

    impl Group {
        fn add<T: Send + 'static>(
            &mut self,
            work: impl FnMut(&mut Tables) -> Write<T> + Send + 'static,
        ) -> oneshot::Receiver<Result<T, BusError>> {
            let (reply, answer) = oneshot::channel();
            let outcome = None;
            let operation = Box::new(Submitted {
                work,
                outcome,
                reply,
            });
            self.0.push(Waiting {
                operation,
                bytes: 0,
            });
            answer
        }

        fn append(
            &mut self,
            log: &str,
            text: &str,
        ) -> oneshot::Receiver<Result<Appended, BusError>> {
            let event = NewEvent::new(log, Uuid::new_v4(), text.to_owned());
            self.add(move |tables| tables.append(&event))
        }

        fn run(self, tables: Tables) -> Commits {
            let (sender, receiver) = channel();
            let count = self.0.len();
            self.0
                .into_iter()
                .for_each(|waiting| sender.send(waiting).unwrap());
            drop(sender);
            let counts = Counts::default();
            run(tables, &receiver, &counts, count, &|_| {});
            Commits {
                commits: counts.commits.into_inner(),
                writes: counts.writes.into_inner(),
            }
        }
    }

    fn texts(folder: &std::path::Path, log: &str) -> Vec<(u64, String)> {
        let connection = open_to_read(&database(folder)).unwrap();
        let page = reader::after(&connection, log, 0, 1_000);
        let events = page.unwrap().unwrap().events.into_iter();
        events
            .map(|event| {
                let text = String::from_utf8(event.bytes.to_vec()).unwrap();
                (event.offset, text)
            })
            .collect()
    }

    /// Makes the database refuse the text "no", as a constraint would.
    fn refuse_the_text_no(folder: &std::path::Path) {
        let connection = rusqlite::Connection::open(database(folder)).unwrap();
        let trigger =
            "CREATE TRIGGER planted BEFORE INSERT ON events WHEN NEW.bytes = CAST('no' AS BLOB)
             BEGIN SELECT RAISE(ABORT, 'planted'); END";
        connection.execute_batch(trigger).unwrap();
    }

    #[tokio::test]
    async fn a_panicked_writer_is_reported_and_its_callers_get_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(tables(folder.path()), 8, |_| panic!("on purpose")).unwrap();
        let mut health = writer.health();
        assert_eq!(*health.borrow(), Health::Well);
        let answer = writer.submit(0, |_| Ok(Ok(())));
        assert_eq!(answer.await, Err(BusError::Closed));
        let broken = health.wait_for(|health| *health == Health::Broken);
        assert!(broken.await.is_ok());
        let answer = writer.submit(0, |_| Ok(Ok(())));
        assert_eq!(answer.await, Err(BusError::Closed));
    }

    #[test]
    fn an_invalid_write_fails_alone_and_the_others_share_one_commit() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(folder.path());
        refuse_the_text_no(folder.path());
        let mut group = Group(vec![]);
        let mut answers = vec![];
        for number in 0..50 {
            answers.push((group.append(LOG, &number.to_string()), true));
            if number % 10 == 3 {
                answers.push((group.append(LOG, "no"), false));
                // The first write of its log: a log whose creation was rolled back must not stay cached.
                answers.push((group.append("chat/new", "no"), false));
            }
        }
        answers.push((group.append("chat/new", "yes"), true));
        let panics = group.add::<()>(|_| panic!("planted"));
        answers.push((group.append(LOG, "last"), true));
        let commits = group.run(tables);
        assert_eq!((commits.commits, commits.writes), (1, 63));
        let mut offsets = vec![];
        for (mut answer, stored) in answers {
            match answer.try_recv().unwrap() {
                Ok(appended) => {
                    assert!(stored);
                    offsets.push(appended.event.offset);
                }
                Err(error) => {
                    assert!(!stored, "{error}");
                    assert!(matches!(error, BusError::Refused(_)), "{error}");
                }
            }
        }
        let mut panics = panics;
        let refused = panics.try_recv().unwrap().unwrap_err();
        assert_eq!(refused, BusError::Refused("panic: planted".into()));
        let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
        let lobby = texts(folder.path(), LOG);
        let stored: Vec<_> = lobby.iter().map(|(_, text)| text.clone()).collect();
        assert_eq!(stored[..50], expected);
        assert_eq!(stored[50..], ["last"]);
        assert!(lobby.iter().map(|(offset, _)| *offset).eq(1..=51));
        assert_eq!(texts(folder.path(), "chat/new"), [(1, "yes".to_owned())]);
        assert_eq!(offsets.len(), 52);
    }

    #[test]
    fn a_refused_write_is_rolled_back_completely() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables(folder.path());
        let planted = "CREATE TRIGGER planted BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'planted'); END";
        let connection = rusqlite::Connection::open(database(folder.path())).unwrap();
        connection.execute_batch(planted).unwrap();
        let mut group = Group(vec![]);
        let mut kept = group.append(LOG, "kept");
        // The snapshot is inserted before the events are deleted.
        let mut refused = group.add(|tables| tables.compact(LOG, 1, &"all".into(), 1));
        let mut after = group.append(LOG, "after");
        group.run(tables);
        let refused = refused.try_recv().unwrap().unwrap_err();
        assert!(matches!(refused, BusError::Refused(_)), "{refused}");
        let offset = |appended: Result<Appended, BusError>| appended.unwrap().event.offset;
        assert_eq!(offset(kept.try_recv().unwrap()), 1);
        assert_eq!(offset(after.try_recv().unwrap()), 2);
        let expected = [(1, "kept".to_owned()), (2, "after".to_owned())];
        assert_eq!(texts(folder.path(), LOG), expected);
        let connection = open_to_read(&database(folder.path())).unwrap();
        assert_eq!(reader::snapshot(&connection, LOG).unwrap(), None);
    }

    #[test]
    fn a_database_failure_fails_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let mut group = Group(vec![]);
        let mut before = group.append(LOG, "before");
        let mut failing = group.add::<()>(|_| {
            let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            Err(rusqlite::Error::SqliteFailure(full, None))
        });
        let mut after = group.append(LOG, "after");
        group.run(tables(folder.path()));
        let answers = [
            before.try_recv().unwrap().err(),
            failing.try_recv().unwrap().err(),
            after.try_recv().unwrap().err(),
        ];
        for answer in answers {
            assert!(
                matches!(answer, Some(BusError::Unavailable(_))),
                "{answer:?}"
            );
        }
        assert_eq!(texts(folder.path(), LOG), []);
    }
}
