//! The place up to which a replica has read each stream, stored beside what it applied.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

/// The place of a message in its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPlace {
    /// Above zero, and greater than that of every message before it.
    pub sequence: u64,
    /// The id that its publisher gave it; empty if it has none.
    pub message: String,
}

/// How far the streams were read.
#[derive(Debug, Default)]
pub struct Read(HashMap<&'static str, Progress>);

#[derive(Debug)]
struct Progress {
    place: StreamPlace,
    is_stored: bool,
}

impl Read {
    /// The sequence of the last applied message of a stream; 0 if there is none.
    pub fn last(&mut self, connection: &Connection, stream: &'static str) -> rusqlite::Result<u64> {
        if let Some(progress) = self.0.get(stream) {
            return Ok(progress.place.sequence);
        }
        let place = last_applied(connection, stream)?.unwrap_or_default();
        let sequence = place.sequence;
        let is_stored = true;
        self.0.insert(stream, Progress { place, is_stored });
        Ok(sequence)
    }

    /// A message was applied.
    pub fn advance(&mut self, stream: &'static str, place: &StreamPlace) {
        let progress = Progress {
            place: place.clone(),
            is_stored: false,
        };
        self.0.insert(stream, progress);
    }

    /// Stores the progress, inside the transaction of what was applied.
    pub fn store(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for (stream, progress) in &mut self.0 {
            if !std::mem::replace(&mut progress.is_stored, true) {
                let sql = "INSERT INTO streams (name, sequence, message) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET sequence = excluded.sequence, message = excluded.message";
                let StreamPlace { sequence, message } = &progress.place;
                connection.prepare_cached(sql)?.execute(params![
                    stream,
                    *sequence as i64,
                    message
                ])?;
            }
        }
        Ok(())
    }

    /// The stream is read again from its beginning.
    pub fn restart(
        &mut self,
        connection: &Connection,
        stream: &'static str,
    ) -> rusqlite::Result<()> {
        self.0.remove(stream);
        let sql = "DELETE FROM streams WHERE name = ?1";
        connection.prepare_cached(sql)?.execute([stream])?;
        Ok(())
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The place of the last applied message of a stream.
pub fn last_applied(
    connection: &Connection,
    stream: &str,
) -> rusqlite::Result<Option<StreamPlace>> {
    let sql = "SELECT sequence, message FROM streams WHERE name = ?1";
    let row = connection.prepare_cached(sql)?.query_row([stream], |row| {
        Ok(StreamPlace {
            sequence: row.get::<_, i64>(0)? as u64,
            message: row.get(1)?,
        })
    });
    row.optional()
}
