//! Reads: on connections of their own, which wait for no writer, on threads that may block.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::FutureExt;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::schema::{offset_of, open_to_read, place};
use crate::bus::{
    Answer, BusError, Event, Head, LogSummary, Page, READ_BYTES, Snapshot, embedded::words::query,
};

/// Reads at the same time; the others wait their turn.
const AT_ONCE: usize = 8;

/// A pool of connections. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Reader(Arc<Pool>);

struct Pool {
    path: PathBuf,
    turns: Arc<Semaphore>,
    /// A std mutex: it is held for one push or pop.
    idle: Mutex<Vec<Connection>>,
}

/// The inner error is an answer; the outer one is the storage's.
pub type Read<T> = rusqlite::Result<Result<T, BusError>>;

impl Reader {
    pub fn new(path: PathBuf) -> Self {
        Self(Arc::new(Pool {
            path,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            idle: Mutex::default(),
        }))
    }

    /// Runs a read on a snapshot of the database: all it asks belongs together.
    pub fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Answer<T> {
        let pool = self.0.clone();
        async move {
            let turn = pool.turns.clone().acquire_owned().await;
            let answer = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                pool.run(read)
            });
            match answer.await {
                Ok(answer) => answer,
                // Not for good: whoever follows a log tries again.
                Err(error) if error.is_panic() => Err(BusError::Unavailable(
                    "a read panicked; the log says why".into(),
                )),
                Err(_) => Err(BusError::Closed),
            }
        }
        .boxed()
    }
}

impl Pool {
    fn run<T>(&self, read: impl FnOnce(&Connection) -> Read<T>) -> Result<T, BusError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let outcome = idle.map_or_else(|| open_to_read(&self.path), Ok).and_then(
            |connection| -> rusqlite::Result<_> {
                let answer = {
                    let transaction = connection.unchecked_transaction()?;
                    read(&transaction)?
                };
                // A connection that failed is not kept.
                self.idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(connection);
                Ok(answer)
            },
        );
        outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "the storage could not be read");
            Err(BusError::Unavailable(error.to_string()))
        })
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
    let sql = "SELECT place, id, at, bytes FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?3";
    let range = params![place(id, after), place(id, head), one_more(limit)];
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
    let sql = "SELECT place, id, at, bytes FROM events WHERE place > ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3";
    let range = params![place(id, floor), place(id, before), one_more(limit)];
    page(connection, sql, range, limit)
}

/// Offsets of this storage are consecutive and only the oldest go, so that only the author's own need counting.
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
    let Some(author) = except else {
        return Ok(upto - after);
    };
    let sql = "SELECT newest FROM authors WHERE log = ?1 AND author = ?2";
    let newest: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row(params![id, author.as_bytes()], |row| row.get(0))
        .optional()?;
    let (first, last) = (place(id, after), place(id, upto));
    let Some(newest) = newest.filter(|newest| *newest > first) else {
        return Ok(upto - after);
    };
    let sql = "SELECT count(*) FROM events WHERE place > ?1 AND place <= ?2 AND author = ?3";
    let range = params![first, last.min(newest), author.as_bytes()];
    let own: i64 = connection
        .prepare_cached(sql)?
        .query_row(range, |row| row.get(0))?;
    Ok((upto - after).saturating_sub(own as u64))
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
    let sql = "SELECT place, id, at, bytes FROM words JOIN events ON place = words.rowid
         WHERE words MATCH ?1 AND words.rowid > ?2 AND words.rowid <= ?3 ORDER BY words.rowid DESC LIMIT ?4";
    let range = params![query, place(id, floor), place(id, head), one_more(limit)];
    page(connection, sql, range, limit)
}

pub fn logs(
    connection: &Connection,
    prefix: &str,
    limit: usize,
) -> rusqlite::Result<Vec<LogSummary>> {
    let sql = "SELECT name, head FROM logs WHERE name >= ?1 AND name < ?2 ORDER BY at DESC, name LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select.query_map(params![prefix, past(prefix), limit], |row| {
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
    let rows = select.query_map([prefix, &past(prefix)], |row| {
        Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?.into()))
    })?;
    rows.collect()
}

fn find(connection: &Connection, log: &str) -> rusqlite::Result<Option<(i64, Head)>> {
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

/// Events up to the limit and to [`READ_BYTES`]; the query asks for one more, which says whether there are others.
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

fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
}

/// Sorts after every text that begins with the prefix.
fn past(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}
