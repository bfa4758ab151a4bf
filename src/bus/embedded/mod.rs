//! Implements the bus within one process: SQLite in the data folder, followers that are woken, no other program.
//!
//! `schema.rs` opens the database file. `writer.rs` groups writes into commits, and `tables.rs` executes a single
//! write. `reader.rs` executes reads. `index.rs` maintains the search index on the thread of `indexer.rs`. `backup.rs`
//! makes and restores backups.

mod backup;
mod claims;
mod index;
mod indexer;
mod reader;
pub mod replica;
mod schema;
pub mod stream_place;
mod tables;
mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use rusqlite::Connection;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    backup::{BackupError, backup, restore},
    schema::OpenError,
    writer::Commits,
};
use self::{
    claims::Claims,
    index::{Index, index_file},
    indexer::Indexer,
    reader::Reader,
    replica::{Applied, Change, Expired, Removal},
    schema::{database, lock, open_replica, open_to_write},
    stream_place::{StreamPlace, last_applied},
    tables::Tables,
    writer::Writer,
};
use super::{
    Answer, Appended, Bus, Event, Head, Health, LogSummary, NewEvent, Page, Searchable, Snapshot,
    Volatile, Wakes, fan_out::FanOut, recent::Growth,
};
use realtime::position::Epoch;

/// Most writes in one commit: a few milliseconds of work, so that no write waits long for the others.
pub const GROUP: usize = 1_024;

/// Most short reads at the same time.
const READS: usize = 8;
/// Most reads of many rows, and most searches, at the same time. Together they use about one core, which is then not
/// available for live delivery.
const LONG_READS: usize = 2;
const SEARCHES: usize = 2;
/// A search that takes longer is cancelled.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The bus of one process. A data folder has only one at a time.
pub struct Embedded {
    epoch: Epoch,
    writer: Writer,
    reader: Reader,
    long_reader: Reader,
    search: Option<Search>,
    fan_out: Arc<FanOut>,
    claims: Claims,
}

struct Search {
    indexer: Indexer,
    reader: Reader,
    timeout: Duration,
}

/// Options for opening a bus.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most writes in a commit. 1 means one fsync for each write, the baseline for measuring the benefit of groups.
    pub group: usize,
    /// `None`: there is no search index, and [`Bus::search`] finds nothing.
    pub searchable: Option<Searchable>,
    /// Longest time that a search may take, including the wait for a permit.
    pub search_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            group: GROUP,
            searchable: None,
            search_within: SEARCH_TIMEOUT,
        }
    }
}

impl Embedded {
    /// Opens or creates the database of a data folder, without a search index.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::with(data_dir, Options::default())
    }

    pub fn with(data_dir: &Path, options: Options) -> Result<Self, OpenError> {
        // The writing threads hold the lock as long as they run.
        let lock = Arc::new(lock(data_dir)?);
        let path = database(data_dir);
        let (connection, epoch) = open_to_write(&path)?;
        let index = index_file(data_dir);
        Self::of(data_dir, lock, (path, index), (connection, epoch), options)
    }

    /// Opens or creates the replica of the history that `epoch` names. A replica of another history is removed.
    pub(in crate::bus) fn replica(
        data_dir: &Path,
        epoch: &Epoch,
        options: Options,
    ) -> Result<Self, OpenError> {
        let lock = Arc::new(lock(data_dir)?);
        let path = data_dir.join("replica.db");
        let connection = open_replica(&path, epoch)?;
        let index = data_dir.join("replica-search.db");
        let opened = (connection, epoch.clone());
        Self::of(data_dir, lock, (path, index), opened, options)
    }

    fn of(
        data_dir: &Path,
        lock: Arc<File>,
        (path, file): (PathBuf, PathBuf),
        (connection, epoch): (Connection, Epoch),
        options: Options,
    ) -> Result<Self, OpenError> {
        let no_thread = |error| OpenError::Io {
            path: data_dir.to_owned(),
            error,
        };
        let search = match options.searchable {
            Some(searchable) => {
                let index = Index::open(&path, &file, &epoch, searchable)?;
                Some(Search {
                    indexer: Indexer::start(index, lock.clone()).map_err(no_thread)?,
                    reader: Reader::of_index(&path, &file, SEARCHES),
                    timeout: options.search_within,
                })
            }
            None => None,
        };
        let fan_out = Arc::<FanOut>::default();
        let committed = {
            let fan_out = fan_out.clone();
            let prefix = options.searchable.map(|searchable| searchable.prefix);
            let changes = search.as_ref().map(|search| search.indexer.changes());
            move |changed: Vec<Growth>| {
                let _lock = &lock;
                if let (Some(prefix), Some(changes)) = (prefix, &changes) {
                    let logs = changed.iter().map(|growth| growth.log.as_str());
                    changes.add(logs.filter(|log| log.starts_with(prefix)));
                }
                changed.into_iter().for_each(|growth| fan_out.wake(growth));
            }
        };
        let writer = Writer::start(Tables::new(connection), options.group, committed);
        Ok(Self {
            epoch,
            writer: writer.map_err(no_thread)?,
            reader: Reader::new(&path, READS),
            long_reader: Reader::new(&path, LONG_READS),
            search,
            fan_out,
            claims: Claims::default(),
        })
    }

    /// The number of commits so far, and of the writes in them.
    pub fn commits(&self) -> Commits {
        self.writer.commits()
    }
}

/// What a replica can do beside what every bus can.
impl Embedded {
    /// Applies the message at a place of a stream (`replica.rs`), if the last applied one has the sequence `after`. `at`
    /// is the time at which the stream took it (Unix milliseconds).
    pub(in crate::bus) fn apply(
        &self,
        stream: &'static str,
        after: u64,
        place: StreamPlace,
        at: u64,
        change: Change,
    ) -> Answer<Applied> {
        let bytes = change.bytes();
        self.writer.submit(bytes, move |tables| {
            tables.apply(stream, after, &place, at, &change)
        })
    }

    /// The place of the last message of a stream that was applied; the beginning if none was.
    pub(in crate::bus) fn last_applied(&self, stream: &'static str) -> Answer<StreamPlace> {
        let last = move |connection: &_| last_applied(connection, stream);
        self.reader
            .run(move |connection| Ok(Ok(last(connection)?.unwrap_or_default())))
    }

    /// Up to `limit` keys that were removed before a time (Unix milliseconds).
    pub(in crate::bus) fn removals(&self, before: u64, limit: usize) -> Answer<Vec<Removal>> {
        self.long_reader
            .run(move |connection| replica::removals(connection, before, limit).map(Ok))
    }

    /// Forgets removals whose messages the stream no longer holds.
    pub(in crate::bus) fn forget_removals(&self, removals: Vec<Removal>) -> Answer<()> {
        let bytes = removals.iter().map(|removal| removal.key.len()).sum();
        self.writer
            .submit(bytes, move |tables| tables.forget_removals(&removals))
    }

    /// Removes all latest values, which are read again from the beginning of their stream.
    pub(in crate::bus) fn restart_latest(&self, stream: &'static str) -> Answer<()> {
        self.writer
            .submit(0, move |tables| tables.restart_latest(stream))
    }

    /// An event of a log by its id.
    pub(in crate::bus) fn event(&self, log: &str, id: Uuid) -> Answer<Option<Event>> {
        let log = log.to_owned();
        self.reader
            .run(move |connection| replica::event(connection, &log, id).map(Ok))
    }

    /// The oldest events of a log that were stored before a time (Unix milliseconds), a bounded number of them.
    pub(in crate::bus) fn expired(&self, log: &str, before: u64) -> Answer<Option<Expired>> {
        let log = log.to_owned();
        self.long_reader
            .run(move |connection| replica::expired(connection, &log, before).map(Ok))
    }

    /// The first event of a log after an offset.
    pub(in crate::bus) fn first_after(&self, log: &str, offset: u64) -> Answer<Option<u64>> {
        let log = log.to_owned();
        self.reader
            .run(move |connection| replica::first_after(connection, &log, offset).map(Ok))
    }

    /// The head of a log, and the time of its newest event (Unix milliseconds).
    pub(in crate::bus) fn head_and_time(&self, log: &str) -> Answer<(u64, u64)> {
        let log = log.to_owned();
        self.reader
            .run(move |connection| replica::head_and_time(connection, &log).map(Ok))
    }
}

impl Bus for Embedded {
    fn epoch(&self) -> Epoch {
        self.epoch.clone()
    }

    fn append(&self, event: NewEvent) -> Answer<Appended> {
        self.writer
            .submit(event.bytes.len(), move |tables| tables.append(&event))
    }

    fn head(&self, log: &str) -> Answer<Head> {
        let log = log.to_owned();
        self.reader
            .run(move |connection| reader::head(connection, &log).map(Ok))
    }

    fn read(&self, log: &str, after: u64, limit: usize) -> Answer<Page> {
        let log = log.to_owned();
        self.reader
            .run(move |connection| reader::after(connection, &log, after, limit))
    }

    fn read_before(&self, log: &str, before: u64, limit: usize) -> Answer<Page> {
        let log = log.to_owned();
        self.reader
            .run(move |connection| reader::before(connection, &log, before, limit).map(Ok))
    }

    fn count(&self, log: &str, after: u64, upto: u64, except: Option<Uuid>) -> Answer<u64> {
        let log = log.to_owned();
        // With `except`, it reads all unread events of a user, however many they are.
        let reader = match except {
            Some(_) => &self.long_reader,
            None => &self.reader,
        };
        reader.run(move |connection| reader::count(connection, &log, after, upto, except).map(Ok))
    }

    fn search(&self, log: &str, text: &str, limit: usize) -> Answer<Page> {
        let Some(search) = &self.search else {
            return async { Ok(Page::default()) }.boxed();
        };
        let (log, text) = (log.to_owned(), text.to_owned());
        let find = move |connection: &_| reader::search(connection, &log, &text, limit).map(Ok);
        search.reader.run_within(search.timeout, find)
    }

    fn logs(&self, prefix: &str, limit: usize) -> Answer<Vec<LogSummary>> {
        let prefix = prefix.to_owned();
        // Sorts all logs with the prefix by the time of their last write.
        self.long_reader
            .run(move |connection| reader::logs(connection, &prefix, limit).map(Ok))
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
            .run(move |connection| reader::snapshot(connection, &log).map(Ok))
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
            .run(move |connection| reader::latest(connection, &prefix).map(Ok))
    }

    fn claim(&self, key: &str) -> Answer<bool> {
        let is_first = self.claims.claim(key);
        async move { Ok(is_first) }.boxed()
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
        let indexing = self
            .search
            .as_ref()
            .and_then(|search| search.indexer.close());
        let threads = [self.writer.close(), indexing];
        let fan_out = self.fan_out.clone();
        async move {
            for thread in threads.into_iter().flatten() {
                // Joined on a thread that may block. The panic hook has already reported a panic of the thread.
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
            fan_out.close();
        }
        .boxed()
    }
}
