//! The bus within one process: SQLite in the data folder, woken followers, no other program.
//!
//! `schema.rs` opens the file, `writer.rs` gathers writes into commits, `tables.rs` is what a write does, `reader.rs` what a
//! read does, `words.rs` makes a query of what somebody typed, `backup.rs` copies the whole and puts it back.

mod backup;
mod reader;
mod schema;
mod tables;
mod words;
mod writer;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    backup::{BackupError, backup, restore},
    schema::OpenError,
    writer::Commits,
};
use self::{
    reader::Reader,
    schema::{database, lock, open_to_write},
    tables::Tables,
    writer::Writer,
};
use super::{
    Answer, Appended, Bus, Head, Health, LogSummary, NewEvent, Page, Snapshot, Volatile, Wakes,
    fan_out::FanOut,
};
use crate::realtime::position::Epoch;

/// Most writes in one commit: a few milliseconds of work, so that none waits long behind the others.
pub const GROUP: usize = 1_024;

/// The bus of one process. A data folder has one at a time.
pub struct Embedded {
    epoch: Epoch,
    writer: Writer,
    reader: Reader,
    fan_out: Arc<FanOut>,
}

impl Embedded {
    /// Opens the database of a data folder, or makes it.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::with_group(data_dir, GROUP)
    }

    /// The same with at most `group` writes in a commit; 1 is one fsync for each, what grouping is measured against.
    pub fn with_group(data_dir: &Path, group: usize) -> Result<Self, OpenError> {
        let lock = lock(data_dir)?;
        let path = database(data_dir);
        let (connection, epoch) = open_to_write(&path)?;
        let fan_out = Arc::<FanOut>::default();
        Ok(Self {
            epoch,
            writer: Writer::start(Tables::new(connection), lock, fan_out.clone(), group),
            reader: Reader::new(path),
            fan_out,
        })
    }

    /// Commits so far, and writes in them.
    pub fn commits(&self) -> Commits {
        self.writer.commits()
    }
}

impl Bus for Embedded {
    fn epoch(&self) -> Epoch {
        self.epoch.clone()
    }

    fn append(&self, event: NewEvent) -> Answer<Appended> {
        let bytes = event.bytes.len() + event.words.as_ref().map_or(0, String::len);
        self.writer
            .submit(bytes, move |tables| tables.append(&event))
    }

    fn head(&self, log: &str) -> Answer<Head> {
        let log = log.to_owned();
        self.reader
            .ask(move |connection| reader::head(connection, &log).map(Ok))
    }

    fn read(&self, log: &str, after: u64, limit: usize) -> Answer<Page> {
        let log = log.to_owned();
        self.reader
            .ask(move |connection| reader::after(connection, &log, after, limit))
    }

    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page> {
        let log = log.to_owned();
        self.reader
            .ask(move |connection| reader::before(connection, &log, before, limit).map(Ok))
    }

    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64> {
        let log = log.to_owned();
        self.reader
            .ask(move |connection| reader::count(connection, &log, after, upto, except).map(Ok))
    }

    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page> {
        let (log, text) = (log.to_owned(), text.to_owned());
        self.reader
            .ask(move |connection| reader::search(connection, &log, &text, limit).map(Ok))
    }

    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>> {
        let prefix = prefix.to_owned();
        self.reader
            .ask(move |connection| reader::logs(connection, &prefix, limit).map(Ok))
    }

    fn compact(&self, log: &str, upto: u64, snapshot: Bytes, expected_head: u64) -> Answer<()> {
        let log = log.to_owned();
        self.writer.submit(snapshot.len(), move |tables| {
            tables.compact(&log, upto, &snapshot, expected_head)
        })
    }

    fn snapshot(&self, log: &str) -> Answer<Option<Snapshot>> {
        let log = log.to_owned();
        self.reader
            .ask(move |connection| reader::snapshot(connection, &log).map(Ok))
    }

    fn forget(&self, log: &str, before: u64) -> Answer<u64> {
        let log = log.to_owned();
        self.writer
            .submit(0, move |tables| tables.forget(&log, before))
    }

    fn put_latest(&self, key: &str, value: Bytes) -> Answer<()> {
        let key = key.to_owned();
        self.writer
            .submit(value.len(), move |tables| tables.put_latest(&key, &value))
    }

    fn latest(&self, prefix: &str) -> Answer<Vec<(String, Bytes)>> {
        let prefix = prefix.to_owned();
        self.reader
            .ask(move |connection| reader::latest(connection, &prefix).map(Ok))
    }

    fn subscribe(&self, log: &str) -> Wakes {
        self.fan_out.subscribe(log)
    }

    fn publish(&self, subject: &str, bytes: Bytes) {
        self.fan_out.publish(subject, bytes);
    }

    fn listen(&self, subject: &str) -> Volatile {
        self.fan_out.listen(subject)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.writer.health()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (thread, fan_out) = (self.writer.close(), self.fan_out.clone());
        async move {
            if let Some(thread) = thread {
                // Joined on a thread that may block. A panic in there was reported by the panic hook.
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
            fan_out.close();
        }
        .boxed()
    }
}
