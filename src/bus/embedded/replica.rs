//! Applies the messages of a stream to the database: the replica of a bus whose log is elsewhere.
//!
//! What is applied depends on the stream alone, so that all replicas of a stream are equal row by row: offsets are the
//! places of messages in the stream, times come from the stream, and each rule below is decided by what stands before a
//! message. The place of the last applied message is stored in the same transaction as what it changed. So a crash
//! loses nothing and applies nothing twice, and the database needs no fsync.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    reader::find,
    schema::{offset_of, place},
    stream_place::StreamPlace,
    tables::{FORGET_BATCH, Slot, Tables, Write},
};
use crate::bus::{Appended, BusError, Event, NewEvent};

/// What a message of a stream changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Event(NewEvent),
    /// Replaces the events up to `upto`, if `head` is the log's head at this place of the stream.
    Snapshot {
        log: String,
        upto: u64,
        head: u64,
        /// The time of the newest event up to `head` (Unix milliseconds).
        at: u64,
        bytes: Bytes,
    },
    /// Drops the events up to `upto`.
    Floor {
        log: String,
        upto: u64,
        /// The time of the newest event up to `upto` (Unix milliseconds).
        at: u64,
    },
    /// The newest value of a key; an empty value removes the key.
    Latest {
        key: String,
        value: Bytes,
    },
    /// A message of another program, or of a newer version of this one. It takes its place and changes nothing.
    Unknown,
}

impl Change {
    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes.len(),
            Self::Snapshot { bytes, .. } | Self::Latest { value: bytes, .. } => bytes.len(),
            Self::Floor { .. } | Self::Unknown => 0,
        }
    }
}

/// The outcome of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    Event(Appended),
    /// The error says why the snapshot does not count.
    Snapshot(Result<(), BusError>),
    /// How many offsets were dropped.
    Floor(u64),
    Latest,
    Unknown,
}

impl Tables {
    /// Applies the next message of a stream, if the last applied one is that with the sequence `after`. Otherwise a
    /// message before it was not applied, and the reader of the stream begins again after the last applied one. `at`
    /// is the time at which the stream took the message (Unix milliseconds).
    pub fn apply(
        &mut self,
        stream: &'static str,
        after: u64,
        place: &StreamPlace,
        at: u64,
        change: &Change,
    ) -> Write<Applied> {
        let last = self.read.last(&self.connection, stream)?;
        if last != after {
            return Ok(Err(BusError::Unavailable(format!(
                "the replica stands at message {last} of the stream, not at {after}"
            ))));
        }
        let applied = match change {
            Change::Event(event) => Applied::Event(self.apply_event(event, place.sequence, at)?),
            Change::Snapshot {
                log,
                upto,
                head,
                at,
                bytes,
            } => Applied::Snapshot(self.apply_snapshot(log, *upto, *head, *at, bytes)?),
            Change::Floor { log, upto, at } => Applied::Floor(self.apply_floor(log, *upto, *at)?),
            Change::Latest { key, value } => {
                if let Err(error) = self.put_latest(key, value)? {
                    return Ok(Err(error));
                }
                self.remember_removal(key, value.is_empty().then_some((place.sequence, at)))?;
                Applied::Latest
            }
            Change::Unknown => Applied::Unknown,
        };
        self.read.advance(stream, place);
        Ok(Ok(applied))
    }

    /// Remembers the message that removed a key, and when the stream took it (Unix milliseconds); or, if the key has a value
    /// again, none.
    fn remember_removal(&mut self, key: &str, removed: Option<(u64, u64)>) -> rusqlite::Result<()> {
        match removed {
            Some((sequence, at)) => {
                let sql = "INSERT OR REPLACE INTO removed (key, sequence, at) VALUES (?1, ?2, ?3)";
                let row = params![key, sequence as i64, at as i64];
                self.connection.prepare_cached(sql)?.execute(row)?;
            }
            None => {
                let sql = "DELETE FROM removed WHERE key = ?1";
                self.connection.prepare_cached(sql)?.execute([key])?;
            }
        }
        Ok(())
    }

    /// Forgets removals whose messages the stream no longer holds.
    pub fn forget_removals(&mut self, removals: &[Removal]) -> Write<()> {
        let sql = "DELETE FROM removed WHERE key = ?1 AND sequence = ?2";
        for removal in removals {
            let row = params![removal.key, removal.sequence as i64];
            self.connection.prepare_cached(sql)?.execute(row)?;
        }
        Ok(Ok(()))
    }

    /// Removes all latest values, which are read again from the beginning of their stream.
    pub fn restart_latest(&mut self, stream: &'static str) -> Write<()> {
        self.connection
            .execute_batch("DELETE FROM latest; DELETE FROM removed;")?;
        self.read.restart(&self.connection, stream)?;
        Ok(Ok(()))
    }

    /// An id that the log holds is skipped, for ever: the stream itself knows ids for some minutes only.
    fn apply_event(
        &mut self,
        event: &NewEvent,
        sequence: u64,
        at: u64,
    ) -> rusqlite::Result<Appended> {
        let log = self.log(&event.log)?;
        let sql = "SELECT ordinal FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1";
        let held = [place(log.id, log.floor), place(log.id, log.head)];
        let newest: Option<i64> = self
            .connection
            .prepare_cached(sql)?
            .query_row(held, |row| row.get(0))
            .optional()?;
        let slot = Slot {
            offset: sequence,
            at: at.max(log.at),
            ordinal: Some(newest.unwrap_or(0) + 1),
        };
        self.insert(log, event, slot)
    }

    /// The head that a snapshot expects was the head of the publisher's replica, so it is at most the head at this
    /// place of the stream. Only a replica that joined late can lack events up to it: a later snapshot counted, and
    /// the events were removed from the stream. It takes the snapshot, and then that later one, and equals the others.
    fn apply_snapshot(
        &mut self,
        name: &str,
        upto: u64,
        head: u64,
        at: u64,
        bytes: &Bytes,
    ) -> Write<()> {
        let mut log = self.log(name)?;
        if log.head > head || upto > head {
            return Ok(Err(BusError::HeadMoved { head: log.head }));
        }
        (log.head, log.at) = (head, at.max(log.at));
        self.replace_with_snapshot(name, log, upto, bytes)
    }

    fn apply_floor(&mut self, name: &str, upto: u64, at: u64) -> rusqlite::Result<u64> {
        let mut log = self.log(name)?;
        let dropped = upto.saturating_sub(log.floor);
        if dropped > 0 {
            (log.head, log.at) = (log.head.max(upto), log.at.max(at));
            self.drop_events(name, log, upto)?;
        }
        Ok(dropped)
    }
}

/// An event of a log by its id.
pub fn event(connection: &Connection, log: &str, id: Uuid) -> rusqlite::Result<Option<Event>> {
    let sql = "SELECT place, events.at, bytes FROM events JOIN logs ON logs.id = events.log WHERE events.id = ?1 AND name = ?2";
    let mut select = connection.prepare_cached(sql)?;
    let event = select.query_row(params![id.as_bytes(), log], |row| {
        Ok(Event {
            offset: offset_of(row.get(0)?),
            id,
            at: row.get::<_, i64>(1)? as u64,
            bytes: row.get::<_, Vec<u8>>(2)?.into(),
        })
    });
    event.optional()
}

/// A key that was removed, by the message with this sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub key: String,
    pub sequence: u64,
}

/// Up to `limit` keys that were removed before a time (Unix milliseconds).
pub fn removals(
    connection: &Connection,
    before: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Removal>> {
    let sql = "SELECT key, sequence FROM removed WHERE at < ?1 ORDER BY at LIMIT ?2";
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let mut select = connection.prepare_cached(sql)?;
    let removal = |row: &Row<'_>| {
        Ok(Removal {
            key: row.get(0)?,
            sequence: row.get::<_, i64>(1)? as u64,
        })
    };
    select
        .query_map(params![before, limit as i64], removal)?
        .collect()
}

/// The oldest events of a log that can be dropped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    pub upto: u64,
    /// The time of the newest of them (Unix milliseconds).
    pub at: u64,
    /// The first event that stays; `None` if none does.
    pub first_kept: Option<u64>,
    /// Whether all events that are old enough are among them.
    pub is_all: bool,
}

/// The oldest events that were stored before a time, a bounded number of them.
pub fn expired(
    connection: &Connection,
    log: &str,
    before: u64,
) -> rusqlite::Result<Option<Expired>> {
    let Some((id, held)) = find(connection, log)? else {
        return Ok(None);
    };
    // Times never decrease within a log, so the oldest events come first.
    let sql = format!(
        "SELECT place, at FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT {}",
        FORGET_BATCH + 1
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([place(id, held.floor), place(id, held.head)])?;
    let (mut last, mut count) = (None, 0);
    while let Some(row) = rows.next()? {
        let (offset, at) = (offset_of(row.get(0)?), row.get::<_, i64>(1)? as u64);
        let is_old = at < before;
        if !is_old || count == FORGET_BATCH {
            return Ok(last.map(|(upto, newest)| Expired {
                upto,
                at: newest,
                first_kept: Some(offset),
                is_all: !is_old,
            }));
        }
        last = Some((offset, at));
        count += 1;
    }
    Ok(last.map(|(upto, at)| Expired {
        upto,
        at,
        first_kept: None,
        is_all: true,
    }))
}

/// The first event of a log after an offset.
pub fn first_after(
    connection: &Connection,
    log: &str,
    offset: u64,
) -> rusqlite::Result<Option<u64>> {
    let Some((id, held)) = find(connection, log)? else {
        return Ok(None);
    };
    let sql = "SELECT min(place) FROM events WHERE place > ?1 AND place <= ?2";
    let range = [place(id, offset), place(id, held.head)];
    let first: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row(range, |row| row.get(0))?;
    Ok(first.map(offset_of))
}

/// The head of a log, and the time of its newest event (Unix milliseconds).
pub fn head_and_time(connection: &Connection, log: &str) -> rusqlite::Result<(u64, u64)> {
    let sql = "SELECT head, at FROM logs WHERE name = ?1";
    let row = connection.prepare_cached(sql)?.query_row([log], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    Ok(row
        .optional()?
        .map_or((0, 0), |(head, at)| (head as u64, at as u64)))
}
