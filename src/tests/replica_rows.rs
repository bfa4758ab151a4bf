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

/// In what the rows of a replica differ from those of another; `None` if they are equal.
pub fn difference(rows: &[Vec<Value>], others: &[Vec<Value>]) -> Option<String> {
    if rows == others {
        return None;
    }
    let lacking: Vec<_> = others.iter().filter(|row| !rows.contains(row)).collect();
    let added: Vec<_> = rows.iter().filter(|row| !others.contains(row)).collect();
    if lacking.is_empty() && added.is_empty() {
        return Some("it has the same rows in another order, or repeats some".into());
    }
    Some(format!(
        "it lacks {} rows, of which the first is [{}], and has {} more, of which the first is [{}]",
        lacking.len(),
        shown(lacking.first()),
        added.len(),
        shown(added.first())
    ))
}

/// A row, with the lengths of its bytes instead of them.
fn shown(row: Option<&&Vec<Value>>) -> String {
    let value = |value: &Value| match value {
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    };
    let row = row.map(|row| row.iter().map(value).collect::<Vec<_>>());
    row.unwrap_or_default().join(", ")
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
