//! What a node knows of the jobs that run at others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use realtime::server::Mirror;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use super::{
    job::{Job, State},
    store::PREFIX,
};
use crate::bus::{SharedBus, carrier::BusCarrier};

/// The jobs of other nodes, and what is needed to follow them.
pub struct Elsewhere {
    pub bus: SharedBus,
    /// This node.
    pub node: Uuid,
    /// A std mutex: it is held for map operations only.
    running: Mutex<HashMap<Uuid, Running>>,
    /// Tells that a job became known.
    pub arrived: watch::Sender<()>,
}

/// A job that runs at another node.
pub struct Running {
    pub node: Uuid,
    pub mirror: Arc<Mirror<State>>,
    /// Ends the mirror.
    _following: DropGuard,
}

impl Running {
    pub fn new(node: Uuid, mirror: Arc<Mirror<State>>, following: DropGuard) -> Self {
        Self {
            node,
            mirror,
            _following: following,
        }
    }
}

impl Elsewhere {
    /// `None` on one server.
    pub fn new(bus: &SharedBus) -> Option<Self> {
        Some(Self {
            node: bus.node()?,
            bus: bus.clone(),
            running: Mutex::default(),
            arrived: watch::Sender::new(()),
        })
    }

    /// The jobs that run at other nodes. A panic while the lock was held leaves the map whole.
    pub fn running(&self) -> MutexGuard<'_, HashMap<Uuid, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirror of a job that runs at another node.
    pub fn mirror_of(&self, id: Uuid) -> Option<Arc<Mirror<State>>> {
        self.running().get(&id).map(|job| job.mirror.clone())
    }

    pub fn runs_elsewhere(&self, job: &Job) -> bool {
        self.running().contains_key(&job.id())
    }

    /// The mirror of a job's topic, to own or to follow it.
    pub fn mirror(&self, job: &Job) -> Arc<Mirror<State>> {
        let carrier = BusCarrier::new(self.bus.clone(), format!("{PREFIX}{}", job.id()));
        Arc::new(Mirror::new(job.topic().clone(), carrier))
    }
}
