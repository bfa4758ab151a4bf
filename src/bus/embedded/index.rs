//! Maintains the search index, which is built from the stored events in a separate file.
//!
//! The index is a copy and can be rebuilt at any time. So it needs no fsync and no backup, and its writes delay no
//! message. An index that is missing, belongs to another history (a restored backup) or has another version is
//! discarded and rebuilt. For each log it stores up to which offset it is complete, in the same transaction as the
//! words. After a crash or a restart indexing continues from there.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{
    reader::{find, prefix_end},
    schema::{BUSY, OpenError, WAL_BYTES, offset_of, open_to_read, place, remove},
    writer::is_write_error,
};
use crate::bus::{Head, Searchable, words::index_text};
use realtime::position::Epoch;

/// The version of the tables below and of the tokens of `words.rs`. If either changes, it must be increased, and all
/// indexes are rebuilt.
const VERSION: i32 = 1;
/// Events added in one transaction. `STEP_SQL` has the number as a literal, because SQLite prepares a statement with a
/// bound LIMIT again each time.
const STEP: usize = 500;
const STEP_SQL: &str =
    "SELECT place, bytes FROM events WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT 500";
/// Events removed from the index in one transaction.
const DROP_BATCH: u64 = 1_000;

/// `words` is contentless: it returns places, and the texts are stored in the events. The tokens are made in Rust.
/// Their only ASCII characters are letters and digits, so that FTS5 splits them at the spaces and nowhere else.
const TABLES: &str = "
    CREATE TABLE epoch (name TEXT NOT NULL) STRICT;
    CREATE TABLE marks (log INTEGER PRIMARY KEY, floor INTEGER NOT NULL, upto INTEGER NOT NULL) STRICT;
    CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, tokenize='ascii');
";

/// The index, held by its only writer.
pub struct Index {
    events: Connection,
    words: Connection,
    searchable: Searchable,
}

/// The range of a log that the index holds: every event after `floor`, up to `upto`.
#[derive(Clone, Copy, Default)]
struct Mark {
    floor: u64,
    upto: u64,
}

/// The path of the index in a data folder.
pub fn index_file(data_dir: &Path) -> PathBuf {
    data_dir.join("search.db")
}

impl Index {
    /// Opens the index of a database, or creates an empty one if there is none that belongs to it.
    pub fn open(
        database: &Path,
        file: &Path,
        epoch: &Epoch,
        searchable: Searchable,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Sqlite {
            path: file.to_owned(),
            error,
        };
        let words = match open_known(file, epoch) {
            Some(words) => words,
            None => {
                remove(file).map_err(|error| OpenError::Io {
                    path: file.to_owned(),
                    error,
                })?;
                make(file, epoch).map_err(failed)?
            }
        };
        Ok(Self {
            events: open_to_read(database).map_err(failed)?,
            words,
            searchable,
        })
    }

    /// The names of all searchable logs.
    pub fn logs(&self) -> rusqlite::Result<Vec<String>> {
        let prefix = self.searchable.prefix;
        let sql = "SELECT name FROM logs WHERE name >= ?1 AND name < ?2";
        let mut select = self.events.prepare_cached(sql)?;
        let names = select.query_map([prefix, &prefix_end(prefix)], |row| row.get(0))?;
        names.collect()
    }

    /// Brings the index of one log a step closer to the log. Returns whether more steps are needed.
    pub fn step(&mut self, log: &str) -> rusqlite::Result<bool> {
        let Some((id, Head { floor, head })) = find(&self.events, log)? else {
            return Ok(false);
        };
        let transaction = self.words.transaction()?;
        let mut mark = mark(&transaction, id)?;
        if mark.floor >= floor && mark.upto >= head {
            return Ok(false);
        }
        // Dropped events are removed first: a search must not reveal the content of a dropped message.
        let gone = floor.min(mark.upto);
        if mark.floor < gone {
            let upto = gone.min(mark.floor + DROP_BATCH);
            let sql = "DELETE FROM words WHERE rowid > ?1 AND rowid <= ?2";
            transaction
                .prepare_cached(sql)?
                .execute([place(id, mark.floor), place(id, upto)])?;
            mark.floor = upto;
        }
        if mark.floor >= gone {
            mark.floor = floor.max(mark.floor);
            mark.upto = add(&self.events, &transaction, self.searchable, id, mark, head)?;
        }
        let sql = "INSERT INTO marks (log, floor, upto) VALUES (?1, ?2, ?3)
             ON CONFLICT (log) DO UPDATE SET floor = excluded.floor, upto = excluded.upto";
        transaction
            .prepare_cached(sql)?
            .execute([id, mark.floor as i64, mark.upto as i64])?;
        transaction.commit()?;
        Ok(mark.floor < floor || mark.upto < head)
    }

    /// Handles an error of a step: a damaged index is marked, so that it is rebuilt at the next start.
    pub fn give_up_if_damaged(&self, error: &rusqlite::Error) {
        let code = error.sqlite_error_code();
        if matches!(
            code,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            let _ = self.words.pragma_update(None, "user_version", 0);
        }
    }
}

/// Adds the next events after a mark. Returns the offset up to which the index is now complete.
fn add(
    events: &Connection,
    words: &Connection,
    searchable: Searchable,
    id: i64,
    mark: Mark,
    head: u64,
) -> rusqlite::Result<u64> {
    let mut select = events.prepare_cached(STEP_SQL)?;
    let after = mark.upto.max(mark.floor);
    let mut rows = select.query([place(id, after), place(id, head)])?;
    let mut insert = words.prepare_cached("INSERT INTO words (rowid, text) VALUES (?1, ?2)")?;
    let (mut count, mut upto) = (0, after);
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(0)?;
        let text = (searchable.text)(row.get_ref(1)?.as_blob()?);
        if let Some(tokens) = text.map(|text| index_text(&text)) {
            match insert.execute(params![place, tokens]) {
                Err(error) if is_write_error(&error) => {
                    tracing::warn!(offset = offset_of(place), %error, "a message cannot be indexed and will not be found");
                }
                inserted => drop(inserted?),
            }
        }
        (count, upto) = (count + 1, offset_of(place));
    }
    // If fewer than `STEP` rows were found, the remaining events up to the head were dropped meanwhile.
    Ok(if count < STEP { head.max(after) } else { upto })
}

fn mark(words: &Connection, id: i64) -> rusqlite::Result<Mark> {
    let sql = "SELECT floor, upto FROM marks WHERE log = ?1";
    let mut select = words.prepare_cached(sql)?;
    let mark = select.query_row([id], |row| {
        Ok(Mark {
            floor: row.get::<_, i64>(0)? as u64,
            upto: row.get::<_, i64>(1)? as u64,
        })
    });
    Ok(mark.optional()?.unwrap_or_default())
}

/// Opens an existing index if it has this version and belongs to this history.
fn open_known(file: &Path, epoch: &Epoch) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let words = Connection::open_with_flags(file, flags).ok()?;
    let version: i32 = words
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .ok()?;
    let of: String = words
        .query_row("SELECT name FROM epoch", [], |row| row.get(0))
        .ok()?;
    let known = version == VERSION && of == epoch.as_str();
    (known && prepare(&words).is_ok()).then_some(words)
}

fn make(file: &Path, epoch: &Epoch) -> rusqlite::Result<Connection> {
    let mut words = Connection::open(file)?;
    prepare(&words)?;
    let transaction = words.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO epoch (name) VALUES (?1)", [epoch.as_str()])?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(words)
}

/// Readers do not wait for the writer (WAL). A power failure may lose the newest transactions (NORMAL), but never the
/// file; a mark and its words are lost together.
fn prepare(words: &Connection) -> rusqlite::Result<()> {
    words.busy_timeout(BUSY)?;
    words.pragma_update(None, "journal_mode", "WAL")?;
    words.pragma_update(None, "synchronous", "NORMAL")?;
    words.pragma_update(None, "journal_size_limit", WAL_BYTES)
}
