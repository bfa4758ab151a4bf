//! Makes a consistent backup while the server keeps writing, and restores one.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::schema::{OpenError, database, lock, migrate, open_to_read, renew_epoch, version_of};

/// A database holds everything that users wrote: only its owner may read it.
const OWNER_ONLY: u32 = 0o600;

/// Why a backup or a restore failed, as one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists. A backup overwrites nothing: name another file.", .0.display())]
    Exists(PathBuf),
    #[error("The data folder {} holds no database. Name the right one with --data-dir.", .0.display())]
    Nothing(PathBuf),
    #[error("There is no file {}.", .0.display())]
    NoFile(PathBuf),
    #[error("The backup could not be written to {}: {error}.", .path.display())]
    Write {
        path: PathBuf,
        error: rusqlite::Error,
    },
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Copies the database of a data folder, as of a single moment, into a new file. A server may hold the folder and keep
/// writing. The file is created either completely or not at all.
pub fn backup(data_dir: &Path, file: &Path) -> Result<(), BackupError> {
    let path = database(data_dir);
    if !path.is_file() {
        return Err(BackupError::Nothing(data_dir.to_owned()));
    }
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let connection = open_to_read(&path).map_err(|error| damaged(&path, error))?;
    version_of(&connection, &path)?;
    let partial = with_suffix(file, ".partial");
    let _ = fs::remove_file(&partial);
    // SQLite writes into an empty file that is there already, and leaves its permissions alone.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&partial)
        .map_err(|error| io_error(&partial, error))?;
    let written = connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()]);
    if let Err(error) = written {
        let _ = fs::remove_file(&partial);
        let path = file.to_owned();
        return Err(BackupError::Write { path, error });
    }
    // A hard link fails if the file was created meanwhile; a rename would overwrite it.
    let placed = File::open(&partial)
        .and_then(|partial| partial.sync_all())
        .and_then(|()| fs::hard_link(&partial, file));
    let _ = fs::remove_file(&partial);
    placed
        .and_then(|()| sync_folder(file))
        .map_err(|error| io_error(file, error).into())
}

/// Replaces the database of a data folder with a backup, under a new epoch. Everything written since the backup is
/// lost, and the new epoch reports this to every client. Returns where the previous database is kept, if there was one.
pub fn restore(data_dir: &Path, file: &Path) -> Result<Option<PathBuf>, BackupError> {
    if !file.is_file() {
        return Err(BackupError::NoFile(file.to_owned()));
    }
    check(file)?;
    fs::create_dir_all(data_dir).map_err(|error| io_error(data_dir, error))?;
    let _lock = lock(data_dir)?;
    let path = database(data_dir);
    let fresh = with_suffix(&path, ".restoring");
    fs::copy(file, &fresh).map_err(|error| io_error(&fresh, error))?;
    prepare_restored(&fresh).map_err(|error| damaged(&fresh, error))?;
    give_to_owner(&fresh, data_dir).map_err(|error| io_error(&fresh, error))?;
    let kept = path.is_file().then(|| unused_name(&path));
    if let Some(kept) = &kept {
        merge_wal(&path);
        fs::hard_link(&path, kept).map_err(|error| io_error(kept, error))?;
    }
    // The write-ahead log belongs to the old file. If it stayed, SQLite would apply it to the new one.
    for extra in ["-wal", "-shm"] {
        let extra = with_suffix(&path, extra);
        if extra.exists() {
            fs::remove_file(&extra).map_err(|error| io_error(&extra, error))?;
        }
    }
    fs::rename(&fresh, &path)
        .and_then(|()| sync_folder(&path))
        .map_err(|error| io_error(&path, error))?;
    Ok(kept)
}

/// Checks that the file is a Wirewise database of a known version and undamaged.
fn check(file: &Path) -> Result<(), OpenError> {
    let connection = open_to_read(file).map_err(|error| damaged(file, error))?;
    if version_of(&connection, file)? == 0 {
        return Err(OpenError::NotOurs(file.to_owned()));
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| damaged(file, error))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(damaged(file, verdict))
    }
}

/// Migrates the copied backup and gives it a new epoch.
fn prepare_restored(fresh: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(fresh)?;
    // A backup has no write-ahead log, and none must be created before the file has its final name.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut connection)?;
    renew_epoch(&connection)?;
    Ok(())
}

/// Gives a new file the owner of the data folder. A restore may run as root, and the server must be able to write.
fn give_to_owner(file: &Path, data_dir: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(OWNER_ONLY))?;
    let (file_is, folder_is) = (fs::metadata(file)?, fs::metadata(data_dir)?);
    if file_is.uid() != folder_is.uid() {
        chown(file, Some(folder_is.uid()), Some(folder_is.gid()))?;
    }
    Ok(())
}

/// A name for the previous database. Those of earlier restores are kept too.
fn unused_name(path: &Path) -> PathBuf {
    let mut name = with_suffix(path, ".before-restore");
    let mut number = 1;
    while name.exists() {
        number += 1;
        name = with_suffix(path, &format!(".before-restore-{number}"));
    }
    name
}

/// Writes the write-ahead log back into its database, so that a single file holds everything. A damaged database stays
/// as it is.
fn merge_wal(path: &Path) {
    let merged = Connection::open(path)
        .and_then(|connection| connection.pragma_update(None, "journal_mode", "DELETE"));
    if let Err(error) = merged {
        tracing::warn!(%error, "the previous database is kept without its newest writes");
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(path: &Path, error: io::Error) -> OpenError {
    let path = path.to_owned();
    OpenError::Io { path, error }
}

fn damaged(path: &Path, error: impl ToString) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        error: error.to_string(),
    }
}
