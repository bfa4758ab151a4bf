//! Which events of a topic a client gets.

/// A client that missed more events than this gets the state instead: a longer replay takes longer than starting anew.
pub const REPLAY_CAP: usize = 1_000;

/// Which events are delivered to a reader that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Every event. If the ring no longer holds a reader's next event, the reader is ended; the client resumes or
    /// starts anew.
    EveryEvent,
    /// The newest event of each key, in ascending offset order.
    LatestPerKey,
}

/// Decides by its key whether an event is meant.
pub type Filter<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// The events that a client wants.
pub struct Selection<K> {
    pub(super) wanted: Filter<K>,
    /// Keys whose state the client gets in any case.
    pub(super) stated: Option<Filter<K>>,
}

impl<K> Selection<K> {
    /// All events.
    pub fn all() -> Self {
        Self::of(|_| true)
    }

    /// The events whose key `wanted` accepts.
    pub fn of(wanted: impl Fn(&K) -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Box::new(wanted),
            stated: None,
        }
    }

    /// The client gets the state of these keys also where it resumes, because it did not receive them before. Their
    /// events up to the head are neither replayed nor counted.
    pub fn with_state_of(mut self, stated: impl Fn(&K) -> bool + Send + Sync + 'static) -> Self {
        self.stated = Some(Box::new(stated));
        self
    }
}
