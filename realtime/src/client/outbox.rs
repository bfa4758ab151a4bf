//! Keeps commands until they are acknowledged: bounded, in order, and sent again under the same id after a reconnect. Pure.
//!
//! Every command has an *ordering key* (the room of a chat message). Commands with the same key are sent in order. A key that
//! is not ready does not hold up the others.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use crate::json::{self, Json};

/// The maximum number of commands. When a user has typed this many messages offline, further ones are refused with an error
/// rather than lost.
pub const CAPACITY: usize = 500;
/// The maximum number of commands in flight. The server would refuse every further one for its rate.
const WINDOW: usize = 16;
/// The longest wait that a refusal can ask for, in milliseconds. Without a bound, a faulty server could silence a page for
/// hours.
pub const LONGEST_WAIT_MS: f64 = 60_000.0;

/// Commands that need an acknowledgement, in the order in which they were pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox<C> {
    entries: VecDeque<Entry<C>>,
    /// Ordering keys whose commands may be sent. A key is not ready when the connection opens, but once the page has joined
    /// what it sends to.
    ready: HashSet<String>,
    /// Nothing is sent before this time (Unix milliseconds).
    held_until: f64,
    /// After a refusal for the rate, one command is sent at a time, this many milliseconds apart, until no command waits. If a
    /// whole window were sent at once, all but its first command would be refused again.
    pace_ms: Option<f64>,
}

/// A command that is kept until it is acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<C> {
    /// Also the id inside the command, by which the server recognizes a repeated command.
    pub id: Uuid,
    /// Commands with the same key are sent in order. The key is a room, for instance.
    pub ordering_key: String,
    /// What is sent, unchanged with every repetition.
    pub command: C,
    /// Whether the command waits, is in flight, or was refused permanently.
    pub state: EntryState,
}

/// The state of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// It is sent as soon as possible.
    Waiting,
    /// It is in flight on the current connection.
    Sending,
    /// It was refused permanently, with this reason. It stays until it is removed, so that nothing vanishes unnoticed.
    Failed(String),
}

/// An entry as it is stored across a reload.
#[derive(Serialize, Deserialize)]
struct Kept<C> {
    id: Uuid,
    #[serde(rename = "lane")]
    ordering_key: String,
    command: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// The outbox already holds [`CAPACITY`] commands.
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
    /// Appends a command. A command whose id is known changes nothing.
    pub fn push(&mut self, id: Uuid, ordering_key: &str, command: C) -> Result<(), Full> {
        if self.find(id).is_some() {
            return Ok(());
        }
        if self.entries.len() >= CAPACITY {
            return Err(Full);
        }
        self.entries.push_back(Entry {
            id,
            ordering_key: ordering_key.to_owned(),
            command,
            state: EntryState::Waiting,
        });
        Ok(())
    }

    /// Commands with this key may be sent from now on.
    pub fn ready(&mut self, ordering_key: &str) {
        self.ready.insert(ordering_key.to_owned());
    }

    /// Commands with this key are not sent until the key is [`Outbox::ready`] again. Those in flight are sent again then.
    pub fn not_ready(&mut self, ordering_key: &str) {
        self.ready.remove(ordering_key);
        let has_key = |entry: &&mut Entry<C>| entry.ordering_key == ordering_key;
        self.entries
            .iter_mut()
            .filter(has_key)
            .for_each(Entry::requeue);
    }

    /// The connection is lost. Commands in flight may or may not have arrived, so they are sent again.
    pub fn lost(&mut self) {
        self.ready.clear();
        self.held_until = 0.0;
        self.pace_ms = None;
        self.entries.iter_mut().for_each(Entry::requeue);
    }

    /// Removes and returns a command that was acknowledged or is no longer wanted.
    pub fn remove(&mut self, id: Uuid) -> Option<C> {
        let index = self.find(id)?;
        let entry = self.entries.remove(index);
        if self.waiting() == 0 {
            self.pace_ms = None;
        }
        entry.map(|entry| entry.command)
    }

    /// The command was refused but may succeed `wait_ms` milliseconds after `now`. It and all later commands with its key are
    /// sent again then, and nothing is sent before. With `paced`, commands are sent one at a time.
    pub fn refused(&mut self, id: Uuid, now: f64, wait_ms: f64, paced: bool) {
        let Some(index) = self.find(id) else {
            return;
        };
        let ordering_key = self.entries[index].ordering_key.clone();
        let later = self.entries.iter_mut().skip(index);
        later
            .filter(|entry| entry.ordering_key == ordering_key)
            .for_each(Entry::requeue);
        let wait_ms = wait_ms.clamp(1.0, LONGEST_WAIT_MS);
        // An earlier time that the clock has made meaningless must not hide this one.
        let earlier = self.is_held(now).then_some(self.held_until);
        self.held_until = earlier.unwrap_or(now).max(now + wait_ms);
        if paced {
            self.pace_ms = Some(self.pace_ms.unwrap_or(0.0).max(wait_ms));
        }
    }

    /// The command was refused permanently. Returns whether it was in the outbox.
    pub fn fail(&mut self, id: Uuid, reason: &str) -> bool {
        let index = self.find(id);
        if let Some(index) = index {
            self.entries[index].state = EntryState::Failed(reason.to_owned());
        }
        index.is_some()
    }

    /// Returns the next command to send now, oldest first, and marks it as in flight.
    pub fn take_next(&mut self, now: f64) -> Option<C> {
        let entry = self.next_due(now)?;
        let entry = self.entries.get_mut(entry)?;
        entry.state = EntryState::Sending;
        if let Some(pace) = self.pace_ms {
            self.held_until = now + pace;
        }
        Some(entry.command.clone())
    }

    /// Whether [`Outbox::take_next`] would return a command.
    pub fn is_due(&self, now: f64) -> bool {
        self.next_due(now).is_some()
    }

    fn next_due(&self, now: f64) -> Option<usize> {
        let window = self.pace_ms.map_or(WINDOW, |_| 1);
        let in_flight = self.count(|entry| entry.state == EntryState::Sending);
        if self.is_held(now) || in_flight >= window {
            return None;
        }
        self.entries.iter().position(|entry| {
            entry.state == EntryState::Waiting && self.ready.contains(&entry.ordering_key)
        })
    }

    /// When to call [`Outbox::take_next`] again if nothing else happens before (Unix milliseconds).
    pub fn due_at(&self, now: f64) -> Option<f64> {
        let waits = self.count(|entry| entry.state == EntryState::Waiting) > 0;
        (waits && self.is_held(now)).then_some(self.held_until)
    }

    /// Whether nothing may be sent yet. If the remaining time exceeds the longest wait, the clock was set back meanwhile, and
    /// the time is ignored.
    fn is_held(&self, now: f64) -> bool {
        let left_ms = self.held_until - now;
        left_ms > 0.0 && left_ms <= LONGEST_WAIT_MS
    }

    /// All commands that are kept, the failed ones included, in the order in which they were pushed.
    pub fn entries(&self) -> impl Iterator<Item = &Entry<C>> {
        self.entries.iter()
    }

    /// The number of commands that are not acknowledged yet, without the failed ones.
    pub fn waiting(&self) -> usize {
        self.count(|entry| !matches!(entry.state, EntryState::Failed(_)))
    }

    /// Whether a command with this id is kept, in any state.
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
    /// Marks a command in flight as waiting again.
    fn requeue(&mut self) {
        if self.state == EntryState::Sending {
            self.state = EntryState::Waiting;
        }
    }
}

impl<C: Clone + Serialize + DeserializeOwned> Outbox<C> {
    /// The entries as JSON, to survive a reload; `None` if there are none.
    pub fn to_json(&self) -> Option<String> {
        let kept = |entry: &Entry<C>| Kept {
            id: entry.id,
            ordering_key: entry.ordering_key.clone(),
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

    /// Restores what [`Outbox::to_json`] wrote and places it before newer commands. Single entries that cannot be read are
    /// dropped.
    pub fn restore(&mut self, json: &str) {
        let kept: Vec<Value> = json::decode(json).unwrap_or_default();
        let kept = kept
            .into_iter()
            .filter_map(|entry| Kept::<C>::deserialize(Json(entry)).ok());
        let newer = std::mem::take(&mut self.entries);
        for entry in kept {
            let known = self.contains(entry.id) || newer.iter().any(|newer| newer.id == entry.id);
            if known || self.entries.len() + newer.len() >= CAPACITY {
                continue;
            }
            self.entries.push_back(Entry {
                id: entry.id,
                ordering_key: entry.ordering_key,
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
