//! The state that all parts of a panel share: the connection, the log of its frames, and the current fault run.

use leptos::prelude::*;
use realtime::{
    client::{Connection, observer::TraceEvent},
    transport::Transport,
};

use super::{fault_run::FaultRun, log::Log};

/// The state that all parts of a panel share. All copies share one state.
#[derive(Clone, Copy)]
pub(super) struct Watched {
    pub connection: Connection,
    pub transport: Transport,
    pub log: StoredValue<Log>,
    pub fault_run: RwSignal<Option<FaultRun>>,
    /// Counts up whenever the views may be out of date.
    pub refreshes: RwSignal<u64>,
}

impl Watched {
    pub fn new(connection: Connection, transport: Transport) -> Self {
        Self {
            connection,
            transport,
            log: StoredValue::new(Log::default()),
            fault_run: RwSignal::new(None),
            refreshes: RwSignal::new(0),
        }
    }

    /// Records in the log what the connection sees from here on.
    pub fn watch(self) {
        self.connection.observe(move |trace_event| {
            let now = js_sys::Date::now();
            let copy = self.has_fault_run().then(|| trace_event.clone());
            let _ = self
                .log
                .try_update_value(|log| log.record(trace_event, now));
            if let Some(trace_event) = copy {
                self.update_fault_run(&trace_event, now);
            }
        });
    }

    /// Whether a fault run is under way.
    fn has_fault_run(self) -> bool {
        let under_way = |fault_run: &Option<FaultRun>| {
            fault_run
                .as_ref()
                .is_some_and(|fault_run| fault_run.refusal.is_none())
        };
        self.fault_run.try_with_untracked(under_way) == Some(true)
    }

    /// Passes a trace event to the fault run. Its views are notified only of changes.
    fn update_fault_run(self, trace_event: &TraceEvent, now: f64) {
        self.fault_run.try_maybe_update(|fault_run| {
            let changed = self.log.try_with_value(|log| {
                fault_run
                    .as_mut()
                    .is_some_and(|fault_run| fault_run.apply(trace_event, log, now))
            });
            (changed == Some(true), ())
        });
    }

    /// Reads from the log, now and on each refresh.
    pub fn read<T>(self, read: impl FnOnce(&Log) -> T) -> T {
        self.refreshes.track();
        self.log.with_value(read)
    }

    pub fn refresh(self) {
        let _ = self.refreshes.try_update(|refreshes| *refreshes += 1);
    }
}
