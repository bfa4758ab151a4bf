//! Reads the rows of a replica that its stream determines, to compare replicas.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, types::Value};

/// How far a replica has read its streams.
pub fn progress(database: &Path) -> Vec<Vec<Value>> {
    select(
        database,
        &["SELECT name, sequence, message FROM streams ORDER BY name"],
    )
}

/// Every row of a replica, without the ids that SQLite gives to logs.
pub fn rows(database: &Path) -> Vec<Vec<Value>> {
    select(
        database,
        &[
            "SELECT name, head, floor, logs.at FROM logs ORDER BY name",
            "SELECT name, place & 0xFFFFFFFFF, events.id, events.at, author, bytes FROM events JOIN logs ON logs.id = log ORDER BY name, place",
            "SELECT name, upto, bytes FROM snapshots JOIN logs ON logs.id = log ORDER BY name",
            "SELECT key, value FROM latest ORDER BY key",
            "SELECT value FROM meta WHERE key = 'epoch'",
        ],
    )
}

fn select(database: &Path, queries: &[&str]) -> Vec<Vec<Value>> {
    // A server may hold the replica.
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.unwrap();
    let mut rows = vec![];
    for sql in queries {
        let mut select = connection.prepare(sql).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        rows.extend(select.query_map([], row).unwrap().map(Result::unwrap));
    }
    rows
}
