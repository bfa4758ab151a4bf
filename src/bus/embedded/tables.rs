//! Executes the writes on the tables, inside the transaction of their group.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    schema::{offset_of, place},
    stream_place::Read,
};
use crate::bus::{Appended, BusError, Event, NewEvent, recent::Growth};
use realtime::server::now_ms;

/// Most logs whose state the writer caches.
const CACHED_LOGS: usize = 10_000;
/// Most events that one write drops, so that other writes do not wait long for it.
pub(super) const FORGET_BATCH: u64 = 1_000;

/// The tables, and the writer's cache of the logs.
pub struct Tables {
    pub(super) connection: Connection,
    logs: HashMap<String, Log>,
    /// What this group changed, by log.
    changed: BTreeMap<String, Growth>,
    /// How far the streams that this database replicates were read (`replica.rs`).
    pub(super) read: Read,
}

#[derive(Clone, Copy)]
pub(super) struct Log {
    pub id: i64,
    pub head: u64,
    pub floor: u64,
    /// When the newest event was stored. Times never decrease within a log, even if the clock is set back.
    pub at: u64,
}

/// Where an event is inserted.
pub(super) struct Slot {
    pub offset: u64,
    /// Unix milliseconds.
    pub at: u64,
    /// Counts the events of the log, where offsets do not increase by one.
    pub ordinal: Option<i64>,
}

/// The result of a write. The inner error is an answer to the caller. After the outer error the write, or its whole
/// group, is rolled back. A write changes the cached logs last, when it can no longer fail.
pub type Write<T> = rusqlite::Result<Result<T, BusError>>;

impl Tables {
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            logs: HashMap::new(),
            changed: BTreeMap::new(),
            read: Read::default(),
        }
    }

    pub fn begin(&mut self) -> rusqlite::Result<()> {
        if self.logs.len() > CACHED_LOGS {
            self.logs.clear();
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")
    }

    /// Updates the heads of the changed logs and commits. Returns what changed.
    pub fn commit(&mut self) -> rusqlite::Result<Vec<Growth>> {
        let changed: Vec<_> = std::mem::take(&mut self.changed).into_values().collect();
        {
            let sql = "UPDATE logs SET head = ?2, at = ?3 WHERE id = ?1";
            let mut update = self.connection.prepare_cached(sql)?;
            for growth in &changed {
                if let Some(log) = self.logs.get(&growth.log) {
                    update.execute(params![log.id, log.head as i64, log.at as i64])?;
                }
            }
        }
        self.read.store(&self.connection)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(changed)
    }

    /// Begins a write that can be rolled back without the others of its group.
    pub fn set_savepoint(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("SAVEPOINT one_write")
    }

    pub fn release_savepoint(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("RELEASE one_write")
    }

    /// Rolls back to the savepoint.
    pub fn undo_to_savepoint(&mut self) -> rusqlite::Result<()> {
        self.connection
            .execute_batch("ROLLBACK TO one_write; RELEASE one_write")
    }

    /// Whether SQLite has rolled back the whole transaction.
    pub fn is_undone(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Rolls back the group. The cached logs may be wrong then, so the cache is cleared.
    pub fn roll_back(&mut self) {
        self.logs.clear();
        self.changed.clear();
        self.read.clear();
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed commit could not be undone");
        }
    }

    pub fn append(&mut self, event: &NewEvent) -> Write<Appended> {
        let log = self.log(&event.log)?;
        let slot = Slot {
            offset: log.head + 1,
            at: now_ms().max(log.at),
            ordinal: None,
        };
        self.insert(log, event, slot).map(Ok)
    }

    /// Inserts an event at the end of its log, unless the log holds its id.
    pub(super) fn insert(
        &mut self,
        mut log: Log,
        event: &NewEvent,
        slot: Slot,
    ) -> rusqlite::Result<Appended> {
        let row = place(log.id, slot.offset);
        let sql = "INSERT INTO events (place, id, at, author, bytes, ordinal) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id, log) DO NOTHING";
        let author = event.author.as_ref().map(|author| author.as_bytes());
        let inserted = self.connection.prepare_cached(sql)?.execute(params![
            row,
            event.id.as_bytes(),
            slot.at as i64,
            author,
            &event.bytes[..],
            slot.ordinal
        ])?;
        if inserted == 0 {
            let event = self.stored(log.id, event)?;
            return Ok(Appended { event, new: false });
        }
        if let Some(author) = author {
            let sql = "INSERT INTO authors (log, author, newest) VALUES (?1, ?2, ?3)
                 ON CONFLICT (log, author) DO UPDATE SET newest = excluded.newest";
            self.connection
                .prepare_cached(sql)?
                .execute(params![log.id, author, row])?;
        }
        let before = log.head;
        (log.head, log.at) = (slot.offset, slot.at);
        let name = &event.log;
        let event = Event {
            offset: slot.offset,
            id: event.id,
            at: slot.at,
            bytes: event.bytes.clone(),
        };
        self.changed(name, before, log, Some(event.clone()));
        Ok(Appended { event, new: true })
    }

    pub fn compact(&mut self, name: &str, upto: u64, snapshot: &Bytes, expected: u64) -> Write<()> {
        let log = self.log(name)?;
        if log.head != expected || upto > log.head {
            return Ok(Err(BusError::HeadMoved { head: log.head }));
        }
        self.replace_with_snapshot(name, log, upto, snapshot)
    }

    /// Replaces the events up to `upto` with a snapshot.
    pub(super) fn replace_with_snapshot(
        &mut self,
        name: &str,
        log: Log,
        upto: u64,
        snapshot: &Bytes,
    ) -> Write<()> {
        if upto < log.floor {
            return Ok(Err(BusError::Forgotten { floor: log.floor }));
        }
        let sql = "INSERT INTO snapshots (log, upto, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (log) DO UPDATE SET upto = excluded.upto, bytes = excluded.bytes";
        self.connection.prepare_cached(sql)?.execute(params![
            log.id,
            upto as i64,
            &snapshot[..]
        ])?;
        self.drop_events(name, log, upto)?;
        Ok(Ok(()))
    }

    /// Drops old events from the beginning of a log: times never decrease within a log, so the oldest come first.
    pub fn forget(&mut self, name: &str, before: u64) -> Write<u64> {
        let log = self.log(name)?;
        let upto = log.head.min(log.floor + FORGET_BATCH);
        let sql = "SELECT max(place) FROM events WHERE place > ?1 AND place <= ?2 AND at < ?3";
        let last: Option<i64> = self.connection.prepare_cached(sql)?.query_row(
            params![
                place(log.id, log.floor),
                place(log.id, upto),
                i64::try_from(before).unwrap_or(i64::MAX)
            ],
            |row| row.get(0),
        )?;
        let Some(last) = last.map(offset_of) else {
            return Ok(Ok(0));
        };
        self.drop_events(name, log, last)?;
        Ok(Ok(last - log.floor))
    }

    pub fn put_latest(&mut self, key: &str, value: &Bytes) -> Write<()> {
        if value.is_empty() {
            let sql = "DELETE FROM latest WHERE key = ?1";
            self.connection.prepare_cached(sql)?.execute([key])?;
        } else {
            let sql = "INSERT INTO latest (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            self.connection
                .prepare_cached(sql)?
                .execute(params![key, &value[..]])?;
        }
        Ok(Ok(()))
    }

    pub(super) fn drop_events(
        &mut self,
        name: &str,
        mut log: Log,
        upto: u64,
    ) -> rusqlite::Result<()> {
        let range = [place(log.id, log.floor), place(log.id, upto)];
        let sql = "DELETE FROM events WHERE place > ?1 AND place <= ?2";
        self.connection.prepare_cached(sql)?.execute(range)?;
        let sql = "UPDATE logs SET floor = ?2 WHERE id = ?1";
        self.connection
            .prepare_cached(sql)?
            .execute([log.id, upto as i64])?;
        log.floor = upto;
        self.changed(name, log.head, log, None);
        Ok(())
    }

    /// A write changed a log, whose head was `before`, and added an event or none.
    fn changed(&mut self, name: &str, before: u64, log: Log, event: Option<Event>) {
        match self.logs.get_mut(name) {
            Some(known) => *known = log,
            None => drop(self.logs.insert(name.to_owned(), log)),
        }
        if !self.changed.contains_key(name) {
            let growth = Growth {
                log: name.to_owned(),
                before,
                head: before,
                floor: log.floor,
                events: vec![],
            };
            self.changed.insert(name.to_owned(), growth);
        }
        if let Some(growth) = self.changed.get_mut(name) {
            (growth.head, growth.floor) = (log.head, log.floor);
            growth.events.extend(event);
        }
    }

    fn stored(&self, log: i64, event: &NewEvent) -> rusqlite::Result<Event> {
        let sql = "SELECT place, at, bytes FROM events WHERE id = ?1 AND log = ?2";
        let mut select = self.connection.prepare_cached(sql)?;
        select.query_row(params![event.id.as_bytes(), log], |row| {
            Ok(Event {
                offset: offset_of(row.get(0)?),
                id: event.id,
                at: row.get::<_, i64>(1)? as u64,
                bytes: row.get::<_, Vec<u8>>(2)?.into(),
            })
        })
    }

    /// The current state of a log; it is created if there is none of this name.
    pub(super) fn log(&mut self, name: &str) -> rusqlite::Result<Log> {
        if let Some(log) = self.logs.get(name) {
            return Ok(*log);
        }
        let sql = "SELECT id, head, floor, at FROM logs WHERE name = ?1";
        let known = self
            .connection
            .prepare_cached(sql)?
            .query_row([name], |row| {
                Ok(Log {
                    id: row.get(0)?,
                    head: row.get::<_, i64>(1)? as u64,
                    floor: row.get::<_, i64>(2)? as u64,
                    at: row.get::<_, i64>(3)? as u64,
                })
            })
            .optional()?;
        if let Some(log) = known {
            self.logs.insert(name.to_owned(), log);
            return Ok(log);
        }
        // Not cached yet: the write that creates the log may still be rolled back.
        let sql = "INSERT INTO logs (name, head, floor, at) VALUES (?1, 0, 0, 0)";
        self.connection.prepare_cached(sql)?.execute([name])?;
        Ok(Log {
            id: self.connection.last_insert_rowid(),
            head: 0,
            floor: 0,
            at: 0,
        })
    }
}
