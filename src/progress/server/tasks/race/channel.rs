//! The channels of a race. Each is open for one client of one heat.

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

/// The channels that wait for their client. Cheap to clone; all clones share one state.
#[derive(Clone, Default)]
pub struct RaceChannels(Arc<Mutex<HashMap<Uuid, ServerEnd>>>);

/// The server's end of a channel, as its route needs it.
pub struct ServerEnd {
    transport: Transport,
    /// The number of messages that an event stream holds for its client.
    pub history: usize,
    pub opened: oneshot::Sender<Outlet>,
}

/// An open channel; it closes when dropped.
pub struct RaceChannel {
    id: Uuid,
    channels: RaceChannels,
}

/// The connection to which a heat's messages are sent.
pub enum Outlet {
    Events(Topic<()>),
    Socket(OutQueue),
}

impl RaceChannels {
    /// Opens a channel under an id that cannot be guessed. Its outlet is received once its client has connected.
    pub fn open(
        &self,
        transport: Transport,
        history: usize,
    ) -> (RaceChannel, oneshot::Receiver<Outlet>) {
        let (opened, outlet) = oneshot::channel();
        let channel = RaceChannel {
            id: Uuid::new_v4(),
            channels: self.clone(),
        };
        let end = ServerEnd {
            transport,
            history,
            opened,
        };
        self.ends().insert(channel.id, end);
        (channel, outlet)
    }

    /// The server's end of a channel, for its one client.
    pub fn take(&self, id: Uuid, transport: Transport) -> Result<ServerEnd, ApiError> {
        let error = "There is no such lane. Lanes are for the race's own client, once.";
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
    fn ends(&self) -> MutexGuard<'_, HashMap<Uuid, ServerEnd>> {
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
        self.channels.ends().remove(&self.id);
    }
}

impl Outlet {
    pub fn send(&self, event: &RaceEvent) {
        match self {
            Self::Events(topic) => {
                topic.publish(|()| event);
            }
            Self::Socket(queue) => queue.push_json(event),
        }
    }
}
