//! Reads a recorded history and proves the guarantee of the chat, or names its violations. It knows nothing of the
//! server.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::history::{Logged, Record};

/// The log of a room after the run: its epoch and all messages.
pub struct RoomLog {
    pub epoch: String,
    pub messages: Vec<Logged>,
}

/// The counts of what was checked, and the violations that were found.
#[derive(Debug, Default)]
pub struct Report {
    pub written: usize,
    pub acknowledged: usize,
    pub logged: usize,
    pub subscriptions: usize,
    pub recovered: usize,
    pub delivered: usize,
    /// Closes by code; 0 stands for a connection that broke.
    pub closed: BTreeMap<u16, usize>,
    pub violations: Vec<String>,
}

/// One join of one socket, and the messages that it delivered.
struct Subscription<'a> {
    reader: usize,
    room: &'a str,
    after: Option<(&'a str, u64)>,
    epoch: &'a str,
    head: u64,
    recovered: bool,
    replayed: u64,
    delivered: Vec<(u64, Uuid, &'a str)>,
    settled: bool,
}

/// Checks every statement of the guarantee.
pub fn check(records: &[Record], logs: &BTreeMap<String, RoomLog>) -> Report {
    let mut report = Report::default();
    for (room, log) in logs {
        report.logged += log.messages.len();
        check_log(room, log, &mut report);
    }
    check_writers(records, logs, &mut report);
    for record in records {
        if let Record::Closed { code } = record {
            *report.closed.entry(code.unwrap_or(0)).or_default() += 1;
        }
    }
    for subscription in subscriptions(records, &mut report).values() {
        report.subscriptions += 1;
        report.recovered += usize::from(subscription.recovered);
        report.delivered += subscription.delivered.len();
        match logs.get(subscription.room) {
            Some(log) => check_subscription(subscription, log, &mut report),
            None => report.violations.push(format!(
                "room {} was joined and has no log",
                subscription.room
            )),
        }
    }
    report
}

/// Checks that no id is stored twice, and that offsets grow.
fn check_log(room: &str, log: &RoomLog, report: &mut Report) {
    let mut ids = HashSet::new();
    for message in &log.messages {
        if !ids.insert(message.id) {
            let id = message.id;
            report
                .violations
                .push(format!("{room}: id {id} is stored twice"));
        }
    }
    if !log
        .messages
        .is_sorted_by(|one, two| one.offset < two.offset)
    {
        report
            .violations
            .push(format!("{room}: offsets of the log do not grow"));
    }
}

/// Checks that no acknowledged message is lost, that none is stored differently, and that the order of every writer is
/// kept.
fn check_writers(records: &[Record], logs: &BTreeMap<String, RoomLog>, report: &mut Report) {
    let mut written: HashMap<Uuid, (usize, &str, u64, &str)> = HashMap::new();
    let mut stored_at: HashMap<(&str, Uuid), (u64, &str)> = HashMap::new();
    for (room, log) in logs {
        for message in &log.messages {
            stored_at.insert((room, message.id), (message.offset, &message.text));
        }
    }
    for record in records {
        match record {
            Record::Wrote {
                writer,
                room,
                number,
                id,
                text,
            } => {
                report.written += 1;
                written.insert(*id, (*writer, room, *number, text));
            }
            Record::Acknowledged { room, id, offset } => {
                report.acknowledged += 1;
                match stored_at.get(&(room.as_str(), *id)) {
                    None => report
                        .violations
                        .push(format!("{room}: id {id} was acknowledged and is lost")),
                    Some((stored, _)) if stored != offset => report.violations.push(format!(
                        "{room}: id {id} was acknowledged at {offset} and stands at {stored}"
                    )),
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }
    for (room, log) in logs {
        let mut last: HashMap<usize, u64> = HashMap::new();
        for message in &log.messages {
            let offset = message.offset;
            match written.get(&message.id) {
                Some((writer, wrote_to, number, text))
                    if wrote_to == room && *text == message.text =>
                {
                    let before = last.insert(*writer, *number);
                    if before.is_some_and(|before| before >= *number) {
                        report.violations.push(format!(
                            "{room}: at {offset} writer {writer}'s message {number} stands after {before:?}"
                        ));
                    }
                }
                _ => report
                    .violations
                    .push(format!("{room}: nobody wrote what stands at {offset}")),
            }
        }
    }
}

fn subscriptions<'a>(
    records: &'a [Record],
    report: &mut Report,
) -> BTreeMap<u64, Subscription<'a>> {
    let mut all = BTreeMap::new();
    for record in records {
        match record {
            Record::Joined {
                reader,
                subscription,
                room,
                after,
                epoch,
                head,
                recovered,
                replayed,
            } => {
                let begun = Subscription {
                    reader: *reader,
                    room,
                    after: after
                        .as_ref()
                        .map(|(epoch, offset)| (epoch.as_str(), *offset)),
                    epoch,
                    head: *head,
                    recovered: *recovered,
                    replayed: *replayed,
                    delivered: vec![],
                    settled: false,
                };
                all.insert(*subscription, begun);
            }
            Record::Delivered {
                subscription,
                offset,
                id,
                text,
            } => match all.get_mut(subscription) {
                Some(known) => known.delivered.push((*offset, *id, text)),
                None => report
                    .violations
                    .push(format!("a message at {offset} came before any joined")),
            },
            Record::Settled { subscription } => {
                if let Some(known) = all.get_mut(subscription) {
                    known.settled = true;
                }
            }
            _ => {}
        }
    }
    all
}

/// Checks that a subscription delivered one unbroken piece of the log, and that it begins where the server announced.
fn check_subscription(subscription: &Subscription<'_>, log: &RoomLog, report: &mut Report) {
    let Subscription { reader, room, .. } = subscription;
    let mut broken = |what: String| {
        report
            .violations
            .push(format!("{room}, reader {reader}: {what}"));
    };
    let grows = subscription
        .delivered
        .is_sorted_by(|one, two| one.0 < two.0);
    if !grows {
        broken("offsets of a subscription do not grow".into());
        return;
    }
    if subscription.epoch != log.epoch {
        broken(format!(
            "was told epoch {}, the log's is {}",
            subscription.epoch, log.epoch
        ));
        return;
    }
    let after = |offset: u64| {
        log.messages
            .partition_point(|message| message.offset <= offset)
    };
    let known = subscription
        .after
        .filter(|(epoch, _)| *epoch == log.epoch)
        .map(|(_, offset)| offset);
    // The log of a run drops nothing, so every position of this epoch can be resumed.
    if subscription.recovered != known.is_some() {
        let claim = subscription.recovered;
        broken(format!(
            "came with {known:?} and was told recovered: {claim}"
        ));
        return;
    }
    let first = subscription.delivered.first().map(|first| first.0);
    let begin = match (known, first) {
        (Some(known), _) => after(known),
        (None, Some(first)) => after(first - 1),
        (None, None) => after(subscription.head),
    };
    let promised = after(subscription.head).saturating_sub(begin) as u64;
    if (known.is_some() || first.is_some()) && subscription.replayed != promised {
        let announced = subscription.replayed;
        broken(format!(
            "was promised {announced} messages where {promised} are"
        ));
    }
    let held = &log.messages[begin..];
    if held.len() < subscription.delivered.len() {
        broken("got more messages than the log holds".into());
    }
    for (stored, (offset, id, text)) in held.iter().zip(&subscription.delivered) {
        if stored.offset != *offset {
            broken(format!(
                "got {offset} where {} comes next, and was told of no gap",
                stored.offset
            ));
            return;
        }
        if stored.id != *id || stored.text != *text {
            broken(format!("at {offset} got another message than stands there"));
            return;
        }
    }
    if subscription.settled && held.len() > subscription.delivered.len() {
        let missing = held.len() - subscription.delivered.len();
        broken(format!("never got the last {missing} messages"));
    }
}
