//! Keeps the newest events of a log in memory. Pure.

use std::collections::VecDeque;

use super::event::Event;

/// Most events that are kept, and most bytes of them: a few commits of a busy log.
const EVENTS: usize = 64;
const BYTES: usize = 32 * 1024;

/// What a commit changed in a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// The name of the log.
    pub log: String,
    /// Its head before the commit.
    pub before: u64,
    /// Its head after the commit.
    pub head: u64,
    /// Every event up to this offset is dropped.
    pub floor: u64,
    /// Every event after `before`, oldest first.
    pub events: Vec<Event>,
}

/// The newest events of a log, without a gap, up to its head.
#[derive(Debug, Default)]
pub struct Recent {
    /// Every event after this offset is kept; `None` before the first commit.
    floor: Option<u64>,
    head: u64,
    events: VecDeque<Event>,
    bytes: usize,
}

impl Recent {
    /// The head of the log as of the last commit; 0 before the first.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Adds what a commit changed.
    pub fn grow(&mut self, growth: Growth) {
        if self.floor.is_none() || self.head != growth.before {
            *self = Self {
                floor: Some(growth.before),
                ..Self::default()
            };
        }
        self.head = growth.head;
        let bytes = growth.events.iter().map(|event| event.bytes.len());
        self.bytes += bytes.sum::<usize>();
        self.events.extend(growth.events);
        let is_dropped = |event: &Event| event.offset <= growth.floor;
        while self.events.len() > EVENTS
            || self.bytes > BYTES
            || self.events.front().is_some_and(is_dropped)
        {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes.len();
            self.floor = Some(oldest.offset);
        }
    }

    /// Up to `limit` events after an offset, oldest first; `None` if some of them may not be kept.
    pub fn after(&self, offset: u64, limit: usize) -> Option<Vec<Event>> {
        if self.floor.is_none_or(|floor| offset < floor) {
            return None;
        }
        let from = self.events.partition_point(|event| event.offset <= offset);
        Some(self.events.range(from..).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn event(offset: u64, bytes: usize) -> Event {
        Event {
            offset,
            id: Uuid::from_u128(offset.into()),
            at: offset,
            bytes: vec![0; bytes].into(),
        }
    }

    fn growth(before: u64, offsets: &[u64]) -> Growth {
        Growth {
            log: "log".into(),
            before,
            head: offsets.last().copied().unwrap_or(before),
            floor: 0,
            events: offsets.iter().map(|offset| event(*offset, 10)).collect(),
        }
    }

    fn after(recent: &Recent, offset: u64) -> Option<Vec<u64>> {
        let events = recent.after(offset, 100)?;
        Some(events.iter().map(|event| event.offset).collect())
    }

    #[test]
    fn before_the_first_commit_nothing_is_known() {
        let mut recent = Recent::default();
        assert_eq!((recent.head(), after(&recent, 0)), (0, None));
        recent.grow(growth(7, &[8, 9]));
        assert_eq!(recent.head(), 9);
        assert_eq!(after(&recent, 6), None, "7 may exist");
        assert_eq!(after(&recent, 7), Some(vec![8, 9]));
        assert_eq!(after(&recent, 8), Some(vec![9]));
        assert_eq!(after(&recent, 9), Some(vec![]), "there is no other");
    }

    #[test]
    fn a_commit_that_was_missed_leaves_no_hole() {
        let mut recent = Recent::default();
        recent.grow(growth(0, &[1]));
        recent.grow(growth(5, &[6]));
        assert_eq!(after(&recent, 1), None);
        assert_eq!(after(&recent, 5), Some(vec![6]));
    }

    #[test]
    fn what_the_log_drops_is_dropped_here_too() {
        let mut recent = Recent::default();
        recent.grow(growth(0, &[1, 2, 3]));
        recent.grow(Growth {
            floor: 2,
            ..growth(3, &[])
        });
        assert_eq!(
            after(&recent, 1),
            None,
            "a read says what is no longer held"
        );
        assert_eq!(after(&recent, 2), Some(vec![3]));
    }

    #[test]
    fn a_large_event_is_not_kept() {
        let mut recent = Recent::default();
        recent.grow(growth(0, &[1]));
        let large = vec![event(2, BYTES + 1)];
        recent.grow(Growth {
            events: large,
            ..growth(1, &[2])
        });
        assert_eq!(after(&recent, 1), None, "it is to be read");
        assert_eq!(after(&recent, 2), Some(vec![]));
    }

    proptest! {
        /// A follower that reads whatever is not kept gets each event once and in order.
        #[test]
        fn a_follower_gets_every_event_once(
            commits in prop::collection::vec((0..90_usize, 0..2_000_usize, any::<bool>()), 1..30),
            limit in 1..100_usize,
        ) {
            let (mut recent, mut stored, mut followed) = (Recent::default(), vec![], vec![]);
            for (count, bytes, follows) in commits {
                let before = stored.len() as u64;
                let events: Vec<_> = (1..=count as u64).map(|more| event(before + more, bytes)).collect();
                stored.extend(events.clone());
                let head = stored.len() as u64;
                recent.grow(Growth { log: "log".into(), before, head, floor: 0, events });
                while follows && followed.len() < stored.len() {
                    let next = recent.after(followed.len() as u64, limit);
                    let next = next.unwrap_or_else(|| stored[followed.len()..][..1].to_vec());
                    prop_assert!(!next.is_empty() && next.len() <= limit);
                    followed.extend(next);
                }
                prop_assert!(recent.events.len() <= EVENTS && recent.bytes <= BYTES);
            }
            prop_assert_eq!(&followed[..], &stored[..followed.len()]);
        }
    }
}
