//! What waits to be acknowledged: bounded, ordered, sent again after a reconnect under the same id. Pure.
//!
//! A command goes into a *lane*, the name of the order it belongs to (a chat's room). WindowCounter a lane nothing overtakes; a lane
//! that cannot be sent to does not hold up the others.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// Commands that wait at most; a person who typed this much offline is told instead of losing something.
pub const CAPACITY: usize = 500;
/// Commands under way at once. More would only be refused for their rate, all of them.
const WINDOW: usize = 16;
/// Longest wait that a refusal can ask for, in milliseconds: a mistaken server shall not silence a page for hours.
pub const LONGEST_WAIT_MS: f64 = 60_000.0;

/// Commands that need an answer, in the order in which they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox<C> {
    entries: VecDeque<Entry<C>>,
    /// Lanes that take commands. Not from the connection's opening on, but once the page has joined what it sends to.
    ready: HashSet<String>,
    /// Until then nothing is sent (Unix milliseconds).
    held_until: f64,
    /// After a refusal for the rate: one command at a time, this many milliseconds apart, until nothing waits. A whole
    /// window at once would be refused again but for its first.
    pace_ms: Option<f64>,
}

/// A command that is kept until it is acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<C> {
    /// Also the command's own, by which the server knows it again.
    pub id: Uuid,
    /// Commands of one lane leave in order; a room, for instance.
    pub lane: String,
    pub command: C,
    pub state: EntryState,
}

/// Where a command is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Leaves as soon as it can.
    Waiting,
    /// Under way on the present connection.
    Sending,
    /// Refused for good, with the reason. It stays until it is removed, so that nothing vanishes unseen.
    Failed(String),
}

/// An entry as it survives a reload.
#[derive(Serialize, Deserialize)]
struct Kept<C> {
    id: Uuid,
    lane: String,
    command: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// The outbox holds [`CAPACITY`] commands already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{CAPACITY} messages wait to be sent. Nothing more is taken until some have arrived.")]
pub struct Full;

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            ready: HashSet::new(),
            held_until: 0.0,
            pace_ms: None,
        }
    }
}

impl<C: Clone> Outbox<C> {
    /// Takes a command. The same id again changes nothing.
    pub fn push(&mut self, id: Uuid, lane: &str, command: C) -> Result<(), Full> {
        if self.find(id).is_some() {
            return Ok(());
        }
        if self.entries.len() >= CAPACITY {
            return Err(Full);
        }
        self.entries.push_back(Entry {
            id,
            lane: lane.to_owned(),
            command,
            state: EntryState::Waiting,
        });
        Ok(())
    }

    /// The lane takes commands now.
    pub fn ready(&mut self, lane: &str) {
        self.ready.insert(lane.to_owned());
    }

    /// The lane takes no commands until it is [`Outbox::ready`] again; what was under way in it goes again then.
    pub fn not_ready(&mut self, lane: &str) {
        self.ready.remove(lane);
        let lane = |entry: &&mut Entry<C>| entry.lane == lane;
        self.entries.iter_mut().filter(lane).for_each(Entry::again);
    }

    /// The connection is gone: what was under way may or may not have arrived, and goes again.
    pub fn lost(&mut self) {
        self.ready.clear();
        self.held_until = 0.0;
        self.pace_ms = None;
        self.entries.iter_mut().for_each(Entry::again);
    }

    /// Takes the command out, because it arrived or is not wanted any more; gives it back.
    pub fn remove(&mut self, id: Uuid) -> Option<C> {
        let place = self.find(id)?;
        let entry = self.entries.remove(place);
        if self.waiting() == 0 {
            self.pace_ms = None;
        }
        entry.map(|entry| entry.command)
    }

    /// The command is refused but may succeed `wait_ms` from `now`: it and all after it in its lane go again then, and
    /// nothing goes before. With `paced`, one at a time.
    pub fn refused(&mut self, id: Uuid, now: f64, wait_ms: f64, paced: bool) {
        let Some(place) = self.find(id) else {
            return;
        };
        let lane = self.entries[place].lane.clone();
        let later = self.entries.iter_mut().skip(place);
        later
            .filter(|entry| entry.lane == lane)
            .for_each(Entry::again);
        let wait_ms = wait_ms.clamp(1.0, LONGEST_WAIT_MS);
        self.held_until = self.held_until.max(now + wait_ms);
        if paced {
            self.pace_ms = Some(self.pace_ms.unwrap_or(0.0).max(wait_ms));
        }
    }

    /// The command is refused for good. Says whether it was here.
    pub fn fail(&mut self, id: Uuid, reason: &str) -> bool {
        let place = self.find(id);
        if let Some(place) = place {
            self.entries[place].state = EntryState::Failed(reason.to_owned());
        }
        place.is_some()
    }

    /// The commands to send now, oldest first; they count as under way.
    pub fn take_due(&mut self, now: f64) -> Vec<C> {
        if self.is_held(now) {
            return vec![];
        }
        let window = self.pace_ms.map_or(WINDOW, |_| 1);
        let under_way = self.count(|entry| entry.state == EntryState::Sending);
        let ready = &self.ready;
        let due = self
            .entries
            .iter_mut()
            .filter(|entry| entry.state == EntryState::Waiting && ready.contains(&entry.lane));
        let due: Vec<C> = due
            .take(window.saturating_sub(under_way))
            .map(|entry| {
                entry.state = EntryState::Sending;
                entry.command.clone()
            })
            .collect();
        if let Some(pace) = self.pace_ms.filter(|_| !due.is_empty()) {
            self.held_until = now + pace;
        }
        due
    }

    /// When [`Outbox::take_due`] is worth calling again although nothing else happens (Unix milliseconds).
    pub fn due_at(&self, now: f64) -> Option<f64> {
        let waits = self.count(|entry| entry.state == EntryState::Waiting) > 0;
        (waits && self.is_held(now)).then_some(self.held_until)
    }

    /// Whether nothing may be sent yet. A time further away than any wait is of a clock that was set back meanwhile.
    fn is_held(&self, now: f64) -> bool {
        let left_ms = self.held_until - now;
        left_ms > 0.0 && left_ms <= LONGEST_WAIT_MS
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry<C>> {
        self.entries.iter()
    }

    /// Commands that have not arrived yet, without those that never will.
    pub fn waiting(&self) -> usize {
        self.count(|entry| !matches!(entry.state, EntryState::Failed(_)))
    }

    pub fn contains(&self, id: Uuid) -> bool {
        self.find(id).is_some()
    }

    fn count(&self, which: impl Fn(&Entry<C>) -> bool) -> usize {
        self.entries.iter().filter(|entry| which(entry)).count()
    }

    fn find(&self, id: Uuid) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == id)
    }
}

impl<C> Entry<C> {
    fn again(&mut self) {
        if self.state == EntryState::Sending {
            self.state = EntryState::Waiting;
        }
    }
}

impl<C: Clone + Serialize + DeserializeOwned> Outbox<C> {
    /// What a reload must not lose, as JSON; `None` when there is nothing.
    pub fn to_json(&self) -> Option<String> {
        let kept = |entry: &Entry<C>| Kept {
            id: entry.id,
            lane: entry.lane.clone(),
            command: entry.command.clone(),
            failed: match &entry.state {
                EntryState::Failed(reason) => Some(reason.clone()),
                _ => None,
            },
        };
        let kept: Vec<_> = self.entries.iter().map(kept).collect();
        let json = (!kept.is_empty()).then(|| serde_json::to_string(&kept));
        json.and_then(Result::ok)
    }

    /// Takes back what [`Outbox::to_json`] wrote, before anything newer. What cannot be read is dropped, entry by entry.
    pub fn restore(&mut self, json: &str) {
        let kept: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
        let kept = kept
            .into_iter()
            .filter_map(|entry| serde_json::from_value::<Kept<C>>(entry).ok());
        let newer = std::mem::take(&mut self.entries);
        for entry in kept {
            let known = self.contains(entry.id) || newer.iter().any(|newer| newer.id == entry.id);
            if known || self.entries.len() + newer.len() >= CAPACITY {
                continue;
            }
            self.entries.push_back(Entry {
                id: entry.id,
                lane: entry.lane,
                command: entry.command,
                state: entry.failed.map_or(EntryState::Waiting, EntryState::Failed),
            });
        }
        self.entries.extend(newer);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
