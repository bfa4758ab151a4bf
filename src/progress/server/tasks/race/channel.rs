//! The channels of a race: each is open for one client of one heat.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use realtime::{
    server::{queue::OutQueue, topic::Topic},
    transport::Transport,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{progress::message::RaceEvent, web::error::ApiError};

/// The lanes that wait for their client. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct RaceChannels(Arc<Mutex<HashMap<Uuid, End>>>);

/// What the route of a lane needs.
pub struct End {
    transport: Transport,
    /// Messages that an event stream holds for its client.
    pub ring: usize,
    pub opened: oneshot::Sender<Outlet>,
}

/// An open lane; it closes when dropped.
pub struct RaceChannel {
    id: Uuid,
    lanes: RaceChannels,
}

/// Where a heat's messages go.
pub enum Outlet {
    Events(Topic<()>),
    Socket(OutQueue),
}

impl RaceChannels {
    /// Opens a lane under an id that nobody can guess. Its outlet comes with its client.
    pub fn open(
        &self,
        transport: Transport,
        ring: usize,
    ) -> (RaceChannel, oneshot::Receiver<Outlet>) {
        let (opened, outlet) = oneshot::channel();
        let lane = RaceChannel {
            id: Uuid::new_v4(),
            lanes: self.clone(),
        };
        let end = End {
            transport,
            ring,
            opened,
        };
        self.ends().insert(lane.id, end);
        (lane, outlet)
    }

    /// The lane's end, for its one client.
    pub fn take(&self, id: Uuid, transport: Transport) -> Result<End, ApiError> {
        let error = "There is no such lane. RaceChannels are for the race's own client, once.";
        let end = self.ends().remove(&id);
        let end = end.ok_or_else(|| ApiError::new(404, error))?;
        if end.transport == transport {
            Ok(end)
        } else {
            let other = end.transport.name();
            Err(ApiError::new(400, format!("This lane is for {other}.")))
        }
    }

    /// A std mutex: it is held for map operations only, and a panic leaves the map whole.
    fn ends(&self) -> MutexGuard<'_, HashMap<Uuid, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaceChannel {
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl Drop for RaceChannel {
    fn drop(&mut self) {
        self.lanes.ends().remove(&self.id);
    }
}

impl Outlet {
    pub fn send(&self, event: &RaceEvent) {
        match self {
            Self::Events(topic) => {
                topic.publish((), event);
            }
            Self::Socket(queue) => queue.push_json(event),
        }
    }
}
