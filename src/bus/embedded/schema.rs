//! The database file: how it is opened, what it holds, how an older one is brought up to date.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use realtime::position::Epoch;

/// "WIRE" in the header of every database of ours, so that no other is taken for one.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"WIRE");
/// What each version added; the index is the version before it. Only ever appended to.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];
/// How long a lock of somebody else is waited for. Only programs of an operator hold one: ours has the folder to itself.
pub const BUSY: Duration = Duration::from_millis(500);
/// Pages of the write-ahead log (16 MiB) at which they go into the database. Where ids are random, each write touches a page
/// of its own: SQLite's default of 1,000 pages writes the same ones again and again.
const CHECKPOINT_PAGES: i64 = 4_000;
/// The write-ahead log shrinks to this after a burst.
pub const WAL_BYTES: i64 = 64 * 1024 * 1024;
/// Offsets take the lower bits of a place, the number of the log the upper ones: 68 thousand million events in a log.
const OFFSET_BITS: u32 = 36;

/// `place` orders events by log and then by offset. The search index has its events under the same number (`index.rs`), so that
/// a search in one log is a range.
const VERSION_1: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        head INTEGER NOT NULL,
        floor INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE events (
        place INTEGER PRIMARY KEY,
        log INTEGER GENERATED ALWAYS AS (place >> 36) VIRTUAL,
        id BLOB NOT NULL,
        at INTEGER NOT NULL,
        author BLOB,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX event_ids ON events (id, log);
    CREATE INDEX event_authors ON events (author) WHERE author IS NOT NULL;
    CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2');
    CREATE TABLE snapshots (log INTEGER PRIMARY KEY, upto INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE latest (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

/// Events by author were a page of a commit for each of a hundred writers. The newest of each is a row, side by side, and says
/// how far a count has to look: mostly not at all.
const VERSION_2: &str = "
    DROP INDEX event_authors;
    CREATE TABLE authors (
        log INTEGER NOT NULL,
        author BLOB NOT NULL,
        newest INTEGER NOT NULL,
        PRIMARY KEY (log, author)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO authors SELECT log, author, max(place) FROM events WHERE author IS NOT NULL GROUP BY log, author;
";

/// The words went into an index in a file of its own (`index.rs`): it is made of the events when the server has started.
const VERSION_3: &str = "DROP TABLE words;";

/// Why a database cannot be used, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("Another server holds the data folder {}. Stop it first, or name another folder with --data-dir.", .0.display())]
    InUse(PathBuf),
    #[error("{} is not a database of Wirewise.", .0.display())]
    NotOurs(PathBuf),
    #[error("{} was written by a newer Wirewise (its version is {version}, this one knows {}). Use that one.", .path.display(), MIGRATIONS.len())]
    Newer { path: PathBuf, version: usize },
    #[error("The database {} is damaged: {error}. Restore a backup (wirewise restore FILE).", .path.display())]
    Damaged { path: PathBuf, error: String },
    #[error("The database {} cannot be used: {error}. Name another folder with --data-dir.", .path.display())]
    Sqlite {
        path: PathBuf,
        error: rusqlite::Error,
    },
    #[error("{} cannot be used: {error}.", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The database of a data folder.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("wirewise.db")
}

/// Takes the data folder for this process; it is free again when the file is dropped, also after `kill -9`.
pub fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join("wirewise.lock");
    let file = File::create(&path).map_err(|error| OpenError::Io {
        path: path.clone(),
        error,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::Io { path, error }),
    }
}

/// The connection that writes: makes the database, or brings it up to date.
pub fn open_to_write(path: &Path) -> Result<(Connection, Epoch), OpenError> {
    let failed = |error| OpenError::Sqlite {
        path: path.to_owned(),
        error,
    };
    let mut connection = Connection::open(path).map_err(|error| cannot_open(path, error))?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    version_of(&connection, path)?;
    prepare(&mut connection).map_err(failed)?;
    let epoch = migrate(&mut connection).map_err(failed)?;
    Ok((connection, epoch))
}

/// A connection that reads. It sees what was committed when its read began, and waits for no writer.
pub fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// The version of a database of ours; 0 for an empty file.
pub fn version_of(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    let pragma = |name| connection.query_row(name, [], |row| row.get::<_, i32>(0));
    let of = |name| pragma(name).map_err(|error| cannot_open(path, error));
    let (application, version) = (of("PRAGMA application_id")?, of("PRAGMA user_version")?);
    let pages = of("PRAGMA page_count")?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if pages > 0 && (application != APPLICATION_ID || version == 0) {
        Err(OpenError::NotOurs(path.to_owned()))
    } else if version > MIGRATIONS.len() {
        Err(OpenError::Newer {
            path: path.to_owned(),
            version,
        })
    } else {
        Ok(version)
    }
}

/// Gives the history a new name: offsets of the old one say nothing about it.
pub fn renew_epoch(connection: &Connection) -> rusqlite::Result<Epoch> {
    let epoch = Epoch::random();
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('epoch', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![epoch.as_str()],
    )?;
    Ok(epoch)
}

/// Runs what is missing in one transaction, so that a crash in between leaves the older version whole.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<Epoch> {
    let transaction = connection.transaction()?;
    let version: i32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for migration in MIGRATIONS
        .iter()
        .skip(usize::try_from(version).unwrap_or_default())
    {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i32)?;
    let known: Option<String> = transaction
        .query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| {
            row.get(0)
        })
        .optional()?;
    let epoch = match known.and_then(|epoch| Epoch::new(&epoch).ok()) {
        Some(epoch) => epoch,
        None => renew_epoch(&transaction)?,
    };
    transaction.commit()?;
    Ok(epoch)
}

/// Where an event stands in the table.
pub fn place(log: i64, offset: u64) -> i64 {
    let most = (1_u64 << OFFSET_BITS) - 1;
    (log << OFFSET_BITS) | offset.min(most) as i64
}

pub fn offset_of(place: i64) -> u64 {
    (place & ((1 << OFFSET_BITS) - 1)) as u64
}

/// Readers go on while one writes (WAL); a commit is on disk before it returns (FULL).
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn cannot_open(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotOurs(path),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path,
            error: error.to_string(),
        },
        _ => OpenError::Sqlite { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema_of(connection: &Connection) -> Vec<(String, Option<String>)> {
        let sql = "SELECT name, sql FROM sqlite_schema ORDER BY name";
        let mut select = connection.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn every_older_version_becomes_what_a_new_database_is() {
        let folder = tempfile::tempdir().unwrap();
        let (new, _) = open_to_write(&folder.path().join("new.db")).unwrap();
        for version in 1..MIGRATIONS.len() {
            let path = folder.path().join(format!("{version}.db"));
            let old = Connection::open(&path).unwrap();
            old.execute_batch(&MIGRATIONS[..version].concat()).unwrap();
            old.pragma_update(None, "application_id", APPLICATION_ID)
                .unwrap();
            old.pragma_update(None, "user_version", version as i32)
                .unwrap();
            let event = "INSERT INTO events (place, id, at, author, bytes) VALUES (1, x'01', 1, x'02', x'03')";
            old.execute(event, []).unwrap();
            drop(old);
            let (connection, _) = open_to_write(&path).unwrap();
            assert_eq!(schema_of(&connection), schema_of(&new));
            assert_eq!(version_of(&connection, &path).unwrap(), MIGRATIONS.len());
            if version < 2 {
                let newest = "SELECT newest FROM authors WHERE log = 0 AND author = x'02'";
                let newest: i64 = connection.query_row(newest, [], |row| row.get(0)).unwrap();
                assert_eq!(newest, 1);
            }
        }
    }
}
