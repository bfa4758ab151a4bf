//! The rules that hold in every schedule. Each is one function.

/// What a schedule can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    OneConnection,
    OneStream,
    NoHole,
    NoDouble,
    StoredOnce,
    InOrder,
    Acknowledged,
    BackInTime,
    NotTooSoon,
    Settles,
}

#[derive(Debug)]
pub struct Broken {
    pub rule: Rule,
    #[expect(dead_code, reason = "it is printed with Debug")]
    pub what: String,
}

pub type Check = Result<(), Broken>;

// The times that `status.rs` promises, written down again: a test that read them from there would follow every change.

/// An attempt, a probe and a renewal fail after this time (`ATTEMPT_MS`). The credential of an attempt has as much.
pub const ATTEMPT_MS: u64 = 10_000;
/// A pong is overdue after this time (`PONG_MS`).
pub const PONG_MS: u64 = 5_000;
/// A visible page waits no longer than this between two attempts (`Backoff::DEFAULT.watched_cap_ms`).
pub const WATCHED_MS: u64 = 5_000;
/// Longer than the model takes for an attempt without a fault: a credential, a renewal, and both ways three times.
pub const CONNECT_MS: u64 = 3_000;

/// The time within which a socket of a visible page is back: it finds out that the old connection or attempt is dead, waits,
/// and connects.
pub fn socket_is_back_within(heartbeat_ms: u64) -> u64 {
    let finds_out = (heartbeat_ms + PONG_MS).max(2 * ATTEMPT_MS);
    finds_out + WATCHED_MS + CONNECT_MS
}

/// The same for a stream, which is dead after 2.5 heartbeats (`MISSED_BEATS`). A follower is back with its leader.
pub fn stream_is_back_within(heartbeat_ms: u64) -> u64 {
    let finds_out = (heartbeat_ms * 5 / 2).max(2 * ATTEMPT_MS);
    finds_out + WATCHED_MS + CONNECT_MS
}

/// More events than the longest schedule has.
const MOST_EVENTS: i64 = 50_000;

fn require(holds: bool, rule: Rule, what: impl FnOnce() -> String) -> Check {
    match holds {
        true => Ok(()),
        false => Err(Broken { rule, what: what() }),
    }
}

/// A machine opens nothing while it has a connection.
pub fn one_connection(held: Option<usize>) -> Check {
    let what = || format!("opened beside the connection {held:?}");
    require(held.is_none(), Rule::OneConnection, what)
}

/// All tabs have one stream, that of the leader. Two more are allowed by design, for one tab each: that of a follower which
/// loads a state, and that of a tab which got no answer because a tab was frozen.
pub fn one_stream(leaders: usize, alone: usize, was_frozen: bool) -> Check {
    let what = || format!("{leaders} leaders and {alone} tabs alone have a stream");
    let holds = leaders <= 1 && (alone == 0 || was_frozen);
    require(holds, Rule::OneStream, what)
}

/// At the end there is one stream, and no other.
pub fn one_stream_in_the_end(streams: usize) -> Check {
    let what = || format!("{streams} streams in the end");
    require(streams == 1, Rule::OneStream, what)
}

/// A message follows the one before it.
pub fn no_hole(held: u64, offset: u64) -> Check {
    let what = || format!("{offset} came after {held}");
    require(offset <= held + 1, Rule::NoHole, what)
}

/// A message comes once.
pub fn no_double(held: u64, offset: u64) -> Check {
    let what = || format!("{offset} came again after {held}");
    require(offset > held, Rule::NoDouble, what)
}

/// In the end a page holds what the server holds.
pub fn holds_everything<T: PartialEq + std::fmt::Debug>(page: &T, log: &T) -> Check {
    let what = || format!("the page holds {page:?}, and the log {log:?}");
    require(page == log, Rule::NoHole, what)
}

/// A history stores a reliable message once.
pub fn stored_once(already: bool, number: u64) -> Check {
    let what = || format!("message {number} was stored again");
    require(!already, Rule::StoredOnce, what)
}

/// The messages of a key are stored in the order in which they were sent.
pub fn in_order(last: u64, number: u64) -> Check {
    let what = || format!("message {number} was stored after {last}");
    require(number > last, Rule::InOrder, what)
}

/// What is acknowledged was stored.
pub fn acknowledged_what_is_stored(is_stored: bool, number: u64) -> Check {
    let what = || format!("message {number} was acknowledged and never stored");
    require(is_stored, Rule::Acknowledged, what)
}

/// In the end every message is acknowledged, and the outbox is empty.
pub fn all_acknowledged(sent: u64, acknowledged: u64, waiting: usize) -> Check {
    let what = || format!("{acknowledged} of {sent} are acknowledged, and {waiting} wait");
    let holds = sent == acknowledged && waiting == 0;
    require(holds, Rule::Acknowledged, what)
}

/// After the faults the connection is open, and alive, within the promised time.
pub fn back_in_time(is_back: bool, state: impl std::fmt::Debug) -> Check {
    require(is_back, Rule::BackInTime, || format!("still {state:?}"))
}

/// No attempt is earlier than the server allows, unless a person asks for it.
pub fn not_too_soon(now: u64, allowed_at: u64, by_person: bool) -> Check {
    let what = || format!("opened at {now}, and the server allows it at {allowed_at}");
    require(by_person || now >= allowed_at, Rule::NotTooSoon, what)
}

/// Nothing goes round in circles.
pub fn settles(events: i64) -> Check {
    let what = || format!("{events} events and no end");
    require(events < MOST_EVENTS, Rule::Settles, what)
}
