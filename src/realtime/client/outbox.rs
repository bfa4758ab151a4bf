//! What waits to be acknowledged: bounded, ordered, sent again after a reconnect under the same id. Pure.

use std::collections::VecDeque;

use uuid::Uuid;

/// Commands that wait at most; a person who typed this much offline is told instead of losing something.
pub const CAPACITY: usize = 500;
/// Commands under way at once. More would only be refused for their rate, all of them.
const WINDOW: usize = 16;

/// Commands that need an answer, in the order in which they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox<C> {
    entries: VecDeque<Entry<C>>,
    /// The connection takes commands. Not from its opening on, but once the page has joined what it sends to.
    ready: bool,
    /// Between a refusal and its retry nothing is sent: later ones would overtake the refused one.
    held_back: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry<C> {
    pub id: Uuid,
    pub command: C,
    /// Under way on the present connection.
    pub sent: bool,
}

/// The outbox holds [`CAPACITY`] commands already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{CAPACITY} messages wait to be sent. Nothing more is taken until some have arrived.")]
pub struct Full;

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            ready: false,
            held_back: false,
        }
    }
}

impl<C: Clone> Outbox<C> {
    /// Takes a command. The same id again changes nothing.
    pub fn push(&mut self, id: Uuid, command: C) -> Result<(), Full> {
        if self.entries.iter().any(|entry| entry.id == id) {
            return Ok(());
        }
        if self.entries.len() >= CAPACITY {
            return Err(Full);
        }
        self.entries.push_back(Entry {
            id,
            command,
            sent: false,
        });
        Ok(())
    }

    /// The connection takes commands now.
    pub fn ready(&mut self) {
        self.ready = true;
    }

    /// The connection is gone: what was under way may or may not have arrived, and goes again.
    pub fn lost(&mut self) {
        self.ready = false;
        self.held_back = false;
        self.entries.iter_mut().for_each(|entry| entry.sent = false);
    }

    /// The command arrived. Says whether it was waiting.
    pub fn acknowledged(&mut self, id: Uuid) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id != id);
        self.entries.len() != before
    }

    /// The command is refused but may succeed later: it and all after it go again after [`Outbox::go_on`].
    pub fn refused(&mut self, id: Uuid) {
        let Some(place) = self.entries.iter().position(|entry| entry.id == id) else {
            return;
        };
        self.entries
            .iter_mut()
            .skip(place)
            .for_each(|entry| entry.sent = false);
        self.held_back = true;
    }

    pub fn go_on(&mut self) {
        self.held_back = false;
    }

    /// The command is refused for good; it is given back.
    pub fn remove(&mut self, id: Uuid) -> Option<C> {
        let place = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(place).map(|entry| entry.command)
    }

    /// The commands to send now, oldest first; they count as under way.
    pub fn take_due(&mut self) -> Vec<C> {
        if !self.ready || self.held_back {
            return vec![];
        }
        let under_way = self.entries.iter().filter(|entry| entry.sent).count();
        let due = self
            .entries
            .iter_mut()
            .filter(|entry| !entry.sent)
            .take(WINDOW.saturating_sub(under_way));
        due.map(|entry| {
            entry.sent = true;
            entry.command.clone()
        })
        .collect()
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry<C>> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u128) -> Outbox<u128> {
        let mut outbox = Outbox::default();
        for number in 1..=count {
            outbox.push(Uuid::from_u128(number), number).unwrap();
        }
        outbox
    }

    #[test]
    fn nothing_leaves_before_the_connection_is_ready() {
        let mut outbox = filled(3);
        assert!(outbox.take_due().is_empty());
        outbox.ready();
        assert_eq!(outbox.take_due(), [1, 2, 3]);
        assert!(outbox.take_due().is_empty(), "each once");
    }

    #[test]
    fn what_was_not_acknowledged_goes_again_in_order() {
        let mut outbox = filled(3);
        outbox.ready();
        outbox.take_due();
        assert!(outbox.acknowledged(Uuid::from_u128(2)));
        assert!(!outbox.acknowledged(Uuid::from_u128(2)));
        outbox.lost();
        outbox.push(Uuid::from_u128(4), 4).unwrap();
        assert!(outbox.take_due().is_empty());
        outbox.ready();
        assert_eq!(outbox.take_due(), [1, 3, 4]);
    }

    #[test]
    fn only_a_window_is_under_way() {
        let mut outbox = filled(40);
        outbox.ready();
        assert_eq!(outbox.take_due().len(), WINDOW);
        assert!(outbox.take_due().is_empty());
        outbox.acknowledged(Uuid::from_u128(1));
        assert_eq!(outbox.take_due(), [WINDOW as u128 + 1]);
    }

    #[test]
    fn after_a_refusal_everything_from_it_on_goes_again() {
        let mut outbox = filled(4);
        outbox.ready();
        outbox.take_due();
        outbox.acknowledged(Uuid::from_u128(1));
        outbox.refused(Uuid::from_u128(2));
        outbox.refused(Uuid::from_u128(3));
        assert!(
            outbox.take_due().is_empty(),
            "held back until it may succeed"
        );
        outbox.go_on();
        assert_eq!(outbox.take_due(), [2, 3, 4]);
    }

    #[test]
    fn a_command_refused_for_good_is_given_back() {
        let mut outbox = filled(2);
        assert_eq!(outbox.remove(Uuid::from_u128(1)), Some(1));
        assert_eq!(outbox.remove(Uuid::from_u128(1)), None);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn a_full_outbox_says_so_and_keeps_what_it_has() {
        let mut outbox = filled(CAPACITY as u128);
        assert_eq!(outbox.push(Uuid::nil(), 0), Err(Full));
        assert_eq!(
            outbox.push(Uuid::from_u128(1), 1),
            Ok(()),
            "a known id is no new entry"
        );
        assert_eq!(outbox.len(), CAPACITY);
    }
}
