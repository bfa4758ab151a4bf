//! The peers that are written in Rust.

pub mod raw;
pub mod stock;

/// Says where the server listens. The benchmark reads this line.
fn announce(port: u16, feed_port: u16) {
    println!("listens on {port}, feed on {feed_port}");
}

/// An event of a stream, as all peers write it.
fn block(sequence: u64, line: &str) -> String {
    format!("id: {sequence}\nevent: price\ndata: {line}\n\n")
}
