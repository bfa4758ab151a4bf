//! What all parts of a panel share: the connection, the log of what it sees, and the fault that is tried.

use leptos::prelude::*;
use realtime::{
    client::{Connection, observer::TraceEvent},
    transport::Transport,
};

use super::{fault_run::FaultRun, log::Log};

/// What all parts of a panel share. All copies are one.
#[derive(Clone, Copy)]
pub(super) struct Watched {
    pub connection: Connection,
    pub transport: Transport,
    pub log: StoredValue<Log>,
    pub trial: RwSignal<Option<FaultRun>>,
    /// Counts up whenever what is shown may be out of date.
    pub looked: RwSignal<u64>,
}

impl Watched {
    pub fn new(connection: Connection, transport: Transport) -> Self {
        Self {
            connection,
            transport,
            log: StoredValue::new(Log::default()),
            trial: RwSignal::new(None),
            looked: RwSignal::new(0),
        }
    }

    /// From here on the log takes what the connection sees.
    pub fn watch(self) {
        self.connection.watch(move |sight| {
            let now = js_sys::Date::now();
            let _ = self.log.try_update_value(|log| log.record(&sight, now));
            self.try_out(&sight, now);
        });
    }

    /// Tells the trial, where one is under way. Its views hear only of what changed.
    fn try_out(self, sight: &TraceEvent, now: f64) {
        let under_way =
            |trial: &Option<FaultRun>| trial.as_ref().is_some_and(|trial| trial.refusal.is_none());
        if self.trial.try_with_untracked(under_way) != Some(true) {
            return;
        }
        self.trial.try_maybe_update(|trial| {
            let changed = self.log.try_with_value(|log| {
                trial
                    .as_mut()
                    .is_some_and(|trial| trial.saw(sight, log, now))
            });
            (changed == Some(true), ())
        });
    }

    /// Reads from the log, now and whenever it is looked at again.
    pub fn read<T>(self, read: impl FnOnce(&Log) -> T) -> T {
        self.looked.track();
        self.log.with_value(read)
    }

    pub fn look_again(self) {
        let _ = self.looked.try_update(|looked| *looked += 1);
    }
}
