//! Implements the bus within one process: SQLite in the data folder, followers that are woken, no other program.
//!
//! `schema.rs` opens the database file. `writer.rs` groups writes into commits, and `tables.rs` executes a single
//! write. `reader.rs` executes reads. `index.rs` maintains the search index on the thread of `indexer.rs`. `backup.rs`
//! makes and restores backups.

mod backup;
mod index;
mod indexer;
mod reader;
mod schema;
mod tables;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

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
    index::{Index, index_file},
    indexer::Indexer,
    reader::Reader,
    schema::{database, lock, open_to_write},
    tables::Tables,
    writer::Writer,
};
use super::{
    Answer, Appended, Bus, Head, Health, LogSummary, NewEvent, Page, Searchable, Snapshot,
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
        let no_thread = |error| OpenError::Io {
            path: data_dir.to_owned(),
            error,
        };
        let search = match options.searchable {
            Some(searchable) => {
                let file = index_file(data_dir);
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
        })
    }

    /// The number of commits so far, and of the writes in them.
    pub fn commits(&self) -> Commits {
        self.writer.commits()
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
