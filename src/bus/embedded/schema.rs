//! Opens the database file, defines its tables, and migrates older versions.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use realtime::position::Epoch;

/// "WIRE", in the header of every Wirewise database, so that another database is not mistaken for one.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"WIRE");
/// The migration to each version; the index is the previous version. Entries are only ever appended.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];
/// How long to wait for a lock of another process. Only an operator's programs hold one, since a data folder has only
/// one server.
pub const BUSY: Duration = Duration::from_millis(500);
/// Pages of the write-ahead log (16 MiB) at which it is checkpointed into the database. With random ids each write
/// touches a different page, and with SQLite's default of 1,000 pages the same pages would be written again and again.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Bytes to which the write-ahead log shrinks after a burst.
pub const WAL_BYTES: i64 = 64 * 1024 * 1024;
/// The lower bits of a place are the offset, the upper ones the number of the log: at most 68 thousand million events
/// in a log.
const OFFSET_BITS: u32 = 36;

/// `place` orders events by log and then by offset. The search index uses the same number as row id (`index.rs`), so
/// that a search in one log is a range.
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

/// The index of events by author cost each commit one page for each of a hundred writers. The new table has one row for
/// the newest event of each author, in adjacent rows. It limits how many events a count has to read: usually none.
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

/// The words were moved to an index in a separate file (`index.rs`), which is built from the events after the server
/// has started.
const VERSION_3: &str = "DROP TABLE words;";

/// In a replica of a stream offsets do not increase by one, so its events are counted. The newest event that was read from
/// each stream stands in `streams`.
const VERSION_4: &str = "
    ALTER TABLE events ADD COLUMN ordinal INTEGER;
    CREATE TABLE streams (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, message TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// A replica remembers which keys were removed, so that their messages can be removed from the stream. It reads the latest
/// values again, because it did not remember that before.
const VERSION_5: &str = "
    CREATE TABLE removed (key TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    DELETE FROM latest WHERE EXISTS (SELECT 1 FROM streams WHERE name = 'WIREWISE_LATEST');
    DELETE FROM streams WHERE name = 'WIREWISE_LATEST';
";

/// Why a database cannot be used, as one sentence for the operator.
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

/// The path of the database in a data folder.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join("wirewise.db")
}

/// Locks the data folder for this process. The lock is released when the file is dropped, also after `kill -9`.
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

/// Opens the writing connection; creates or migrates the database.
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

/// Opens the writing connection of a replica of the history that `epoch` names. A replica is a copy: one of another
/// history, or a damaged one, is removed. Its commits need no fsync: what a power cut takes is read from the stream again.
pub fn open_replica(path: &Path, epoch: &Epoch) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::Sqlite {
        path: path.to_owned(),
        error,
    };
    let usable = match open_to_write(path) {
        Ok((connection, found)) => (found == *epoch).then_some(connection),
        Err(OpenError::Damaged { error, .. }) => {
            tracing::warn!(error, "the replica is damaged");
            None
        }
        Err(error) => return Err(error),
    };
    let connection = match usable {
        Some(connection) => connection,
        None => {
            tracing::info!("the replica is built from the stream");
            metrics::counter!("wirewise_bus_rebuilds").increment(1);
            remove(path).map_err(|error| OpenError::Io {
                path: path.to_owned(),
                error,
            })?;
            let (connection, _) = open_to_write(path)?;
            set_epoch(&connection, epoch).map_err(failed)?;
            connection
        }
    };
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(failed)?;
    Ok(connection)
}

/// Removes a database and the files beside it.
pub fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Opens a reading connection. A read sees what was committed when it began, and does not wait for a writer.
pub fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// The version of a Wirewise database; 0 for an empty file.
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

/// Gives the history a new epoch: offsets of the old epoch are not valid in it.
pub fn renew_epoch(connection: &Connection) -> rusqlite::Result<Epoch> {
    let epoch = Epoch::random();
    set_epoch(connection, &epoch)?;
    Ok(epoch)
}

fn set_epoch(connection: &Connection, epoch: &Epoch) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('epoch', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![epoch.as_str()],
    )?;
    Ok(())
}

/// Runs the missing migrations in one transaction, so that a crash leaves the older version intact.
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

/// The `place` of an event: its row in the table.
pub fn place(log: i64, offset: u64) -> i64 {
    let most = (1_u64 << OFFSET_BITS) - 1;
    (log << OFFSET_BITS) | offset.min(most) as i64
}

/// The offset of an event from its `place`.
pub fn offset_of(place: i64) -> u64 {
    (place & ((1 << OFFSET_BITS) - 1)) as u64
}

/// Readers do not wait for the writer (WAL), and a commit is on disk before it returns (FULL).
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
    fn every_older_version_is_migrated_to_the_schema_of_a_new_database() {
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
