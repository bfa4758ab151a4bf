//! Executes reads on separate connections, which do not wait for the writer, and on threads that may block.
//!
//! There are three kinds of reads, each with its own connections, so that a long read delays only reads of its kind:
//! short reads, which live delivery waits for; reads that may visit many rows; and searches, which also have a time
//! limit.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Params, Row, params};
use tokio::{sync::Semaphore, time::timeout_at};
use uuid::Uuid;

use super::schema::{offset_of, open_to_read, place};
use crate::bus::{
    Answer, BusError, Event, Head, LogSummary, Page, READ_BYTES, Snapshot, words::query,
};

/// Steps of SQLite's virtual machine between two checks of the clock: some microseconds, or a few pages of the search
/// index.
const STEPS: i32 = 100;

/// A pool of connections. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Reader(Arc<Pool>);

struct Pool {
    path: PathBuf,
    /// The file of the search index, if the connections need it.
    index: Option<PathBuf>,
    permits: Arc<Semaphore>,
    /// A std mutex: it is held for one push or pop.
    idle: Mutex<Vec<Connection>>,
}

/// The result of a read. The inner error is an answer to the caller; the outer error comes from the storage.
pub type Read<T> = rusqlite::Result<Result<T, BusError>>;

impl Reader {
    /// A pool for at most `at_once` reads at the same time; further reads wait for a permit.
    pub fn new(path: &Path, at_once: usize) -> Self {
        Self::with(path, None, at_once)
    }

    /// A pool for searches.
    pub fn of_index(path: &Path, index: &Path, at_once: usize) -> Self {
        Self::with(path, Some(index.to_owned()), at_once)
    }

    fn with(path: &Path, index: Option<PathBuf>, at_once: usize) -> Self {
        Self(Arc::new(Pool {
            path: path.to_owned(),
            index,
            permits: Arc::new(Semaphore::new(at_once)),
            idle: Mutex::default(),
        }))
    }

    /// Runs a read on one snapshot of the database, so that all of its queries are consistent.
    pub fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Answer<T> {
        let pool = self.0.clone();
        async move {
            let permit = pool.permits.clone().acquire_owned().await;
            run_blocking(move || {
                let _permit = permit;
                pool.run(None, read)
            })
            .await
        }
        .boxed()
    }

    /// Like [`Reader::run`], with a time limit that includes the wait for a permit ([`BusError::TimedOut`]).
    pub fn run_within<T: Send + 'static>(
        &self,
        limit: Duration,
        read: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Answer<T> {
        let pool = self.0.clone();
        async move {
            let deadline = Instant::now() + limit;
            let permit = timeout_at(deadline.into(), pool.permits.clone().acquire_owned()).await;
            let permit = permit.map_err(|_| BusError::TimedOut)?;
            run_blocking(move || {
                let _permit = permit;
                pool.run(Some(deadline), read)
            })
            .await
        }
        .boxed()
    }
}

async fn run_blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(answer) => answer,
        // The read panicked, which the panic hook has reported. The storage stays open, and the next read may succeed.
        Err(error) => Err(BusError::Unavailable(error.to_string())),
    }
}

impl Pool {
    fn run<T>(
        &self,
        deadline: Option<Instant>,
        read: impl FnOnce(&Connection) -> Read<T>,
    ) -> Result<T, BusError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let outcome = idle.map_or_else(|| self.open(), Ok).and_then(
            |mut connection| -> rusqlite::Result<_> {
                // The end of the transaction must not be interrupted.
                let reading = deadline.map(|_| Arc::new(AtomicBool::new(true)));
                if let Some((deadline, reading)) = deadline.zip(reading.clone()) {
                    let is_over =
                        move || reading.load(Ordering::Relaxed) && Instant::now() >= deadline;
                    connection.progress_handler(STEPS, Some(is_over))?;
                }
                let answer = {
                    let transaction = connection.unchecked_transaction()?;
                    let answer = read(&transaction);
                    if let Some(reading) = &reading {
                        reading.store(false, Ordering::Relaxed);
                    }
                    answer?
                };
                if reading.is_some() {
                    connection.progress_handler(0, None::<fn() -> bool>)?;
                }
                // A connection with a failed read is not returned to the pool.
                self.idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(connection);
                Ok(answer)
            },
        );
        outcome.unwrap_or_else(|error| {
            if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
                return Err(BusError::TimedOut);
            }
            tracing::error!(%error, "the storage could not be read");
            Err(BusError::Unavailable(error.to_string()))
        })
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = open_to_read(&self.path)?;
        if let Some(index) = &self.index {
            connection.execute("ATTACH DATABASE ?1 AS search", [index.to_string_lossy()])?;
        }
        Ok(connection)
    }
}

pub fn head(connection: &Connection, log: &str) -> rusqlite::Result<Head> {
    Ok(find(connection, log)?.map_or_else(Head::default, |(_, head)| head))
}

pub fn after(connection: &Connection, log: &str, after: u64, limit: usize) -> Read<Page> {
    let Some((id, Head { floor, head })) = find(connection, log)? else {
        return Ok(Ok(Page::default()));
    };
    if after < floor {
        return Ok(Err(BusError::Forgotten { floor }));
    }
    let sql =
        "SELECT place, id, at, bytes FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place";
    let range = [place(id, after), place(id, head)];
    page(connection, sql, range, limit).map(Ok)
}

pub fn before(
    connection: &Connection,
    log: &str,
    before: u64,
    limit: usize,
) -> rusqlite::Result<Page> {
    let Some((id, Head { floor, .. })) = find(connection, log)? else {
        return Ok(Page::default());
    };
    let sql = "SELECT place, id, at, bytes FROM events WHERE place > ?1 AND place < ?2 ORDER BY place DESC";
    let range = [place(id, floor), place(id, before)];
    page(connection, sql, range, limit)
}

/// Counts events. Only the oldest events of a log are dropped, so the held ones are consecutive and only the events of the
/// author `except` have to be counted one by one.
pub fn count(
    connection: &Connection,
    log: &str,
    after: u64,
    upto: u64,
    except: Option<Uuid>,
) -> rusqlite::Result<u64> {
    let Some((id, Head { floor, head })) = find(connection, log)? else {
        return Ok(0);
    };
    let upto = upto.clamp(floor, head);
    let after = after.clamp(floor, upto);
    let (first, last) = (place(id, after), place(id, upto));
    let all = held_between(connection, first, last)?;
    let Some(author) = except else {
        return Ok(all);
    };
    let sql = "SELECT newest FROM authors WHERE log = ?1 AND author = ?2";
    let newest: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row(params![id, author.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(newest) = newest.filter(|newest| *newest > first) else {
        return Ok(all);
    };
    let sql = "SELECT count(*) FROM events WHERE place > ?1 AND place <= ?2 AND author = ?3";
    let range = params![first, last.min(newest), author.as_bytes()];
    let own: i64 = connection
        .prepare_cached(sql)?
        .query_row(range, |row| row.get(0))?;
    Ok(all.saturating_sub(own as u64))
}

pub fn search(
    connection: &Connection,
    log: &str,
    text: &str,
    limit: usize,
) -> rusqlite::Result<Page> {
    let (Some(query), Some((id, Head { floor, head }))) = (query(text), find(connection, log)?)
    else {
        return Ok(Page::default());
    };
    // The index may still contain recently dropped events, and may lack recently stored ones.
    let sql =
        "SELECT place, id, at, bytes FROM search.words CROSS JOIN events ON place = words.rowid
         WHERE words MATCH ?1 AND words.rowid > ?2 AND words.rowid <= ?3 ORDER BY words.rowid DESC";
    let range = params![query, place(id, floor), place(id, head)];
    page(connection, sql, range, limit)
}

pub fn logs(
    connection: &Connection,
    prefix: &str,
    limit: usize,
) -> rusqlite::Result<Vec<LogSummary>> {
    // A literal, because SQLite prepares a cached statement again whenever a parameter of LIMIT is rebound.
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT name, head FROM logs WHERE name >= ?1 AND name < ?2 ORDER BY at DESC, name LIMIT {limit}"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map([prefix, &prefix_end(prefix)], |row| {
        Ok(LogSummary {
            log: row.get(0)?,
            head: row.get::<_, i64>(1)? as u64,
        })
    })?;
    rows.collect()
}

pub fn snapshot(connection: &Connection, log: &str) -> rusqlite::Result<Option<Snapshot>> {
    let sql =
        "SELECT upto, bytes FROM snapshots JOIN logs ON logs.id = snapshots.log WHERE name = ?1";
    let snapshot = |row: &Row<'_>| {
        Ok(Snapshot {
            offset: row.get::<_, i64>(0)? as u64,
            bytes: row.get::<_, Vec<u8>>(1)?.into(),
        })
    };
    connection
        .prepare_cached(sql)?
        .query_row([log], snapshot)
        .optional()
}

pub fn latest(connection: &Connection, prefix: &str) -> rusqlite::Result<Vec<(String, Bytes)>> {
    let sql = "SELECT key, value FROM latest WHERE key >= ?1 AND key < ?2 ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([prefix, &prefix_end(prefix)], |row| {
        Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?.into()))
    })?;
    rows.collect()
}

/// The number of a log and the range that it holds.
pub fn find(connection: &Connection, log: &str) -> rusqlite::Result<Option<(i64, Head)>> {
    let sql = "SELECT id, floor, head FROM logs WHERE name = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let found = select.query_row([log], |row| {
        let head = Head {
            floor: row.get::<_, i64>(1)? as u64,
            head: row.get::<_, i64>(2)? as u64,
        };
        Ok((row.get(0)?, head))
    });
    found.optional()
}

/// Reads events up to the limit and up to [`READ_BYTES`]; one more row shows whether there are others. The query has no
/// LIMIT: SQLite produces the rows one by one, in the order of the table or of the index, and never those after the
/// last row read.
fn page(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    limit: usize,
) -> rusqlite::Result<Page> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params)?;
    let (mut page, mut bytes) = (Page::default(), 0);
    while let Some(row) = rows.next()? {
        let event = Event {
            offset: offset_of(row.get(0)?),
            id: Uuid::from_bytes(row.get(1)?),
            at: row.get::<_, i64>(2)? as u64,
            bytes: row.get::<_, Vec<u8>>(3)?.into(),
        };
        bytes += event.bytes.len();
        let full = page.events.len() == limit || bytes > READ_BYTES;
        if full && !page.events.is_empty() {
            page.more = true;
            break;
        }
        page.events.push(event);
    }
    Ok(page)
}

/// The number of events in a range of places: the difference of their ordinals, which are their offsets where these
/// increase by one.
fn held_between(connection: &Connection, first: i64, last: i64) -> rusqlite::Result<u64> {
    let end = |order: &str| {
        let sql = format!(
            "SELECT coalesce(ordinal, place) FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place {order} LIMIT 1"
        );
        let mut select = connection.prepare_cached(&sql)?;
        let ordinal = select.query_row([first, last], |row| row.get::<_, i64>(0));
        ordinal.optional()
    };
    let range = end("ASC")?.zip(end("DESC")?);
    Ok(range.map_or(0, |(oldest, newest)| (newest - oldest + 1) as u64))
}

/// An upper bound for all texts that begin with the prefix.
pub fn prefix_end(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}
