//! Connects a page to one channel of a socket.
//!
//! It executes what [`ChannelList`] decides. A page with several channels at a time owns such a list itself, beside a
//! [`use_socket`](super::use_socket()).

use leptos::prelude::*;
use uuid::Uuid;

use super::{
    channel::{Applied, ChannelList},
    coalesce::Alarm,
    outbox::Full,
    platform::{effect, now},
    use_socket::{Socket, SocketEvent, SocketOptions, use_socket_with_options},
};
use crate::{
    channel::{ChannelContract, NOT_JOINED},
    message::SocketError,
};

/// What a handler of a channel gets.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelUpdate<E> {
    /// The channel is joined, and this is the answer. If it was not `recovered`, the page drops what it holds of the channel:
    /// the latest messages follow.
    Joined {
        /// Whether everything that was missed follows.
        recovered: bool,
        /// The answer of the server.
        event: E,
    },
    /// An event of the channel, each message once and in order.
    Event(E),
    /// Messages after one offset and before another did not arrive, which is a fault of the server. They are requested once
    /// more; if that does not help, the page goes on without them.
    Gap {
        /// The offset up to which every message arrived, as far as it is known.
        after: u64,
        /// The offset of the message after the gap.
        offset: u64,
    },
    /// A command was refused for good: a message, which stays in the outbox as failed, or the join.
    Refused(SocketError),
}

/// A page's handle to a channel.
pub struct ChannelHandle<C: ChannelContract> {
    /// The handle to the socket. Its outbox holds the messages that are not acknowledged yet.
    pub socket: Socket<C>,
    channel: Memo<String>,
}

/// What the effects and the callbacks of a channel share.
struct Shared<C: ChannelContract> {
    list: StoredValue<ChannelList<C>>,
    /// Set once the hook of the socket has returned.
    socket: StoredValue<Option<Socket<C>>>,
    channel: Memo<String>,
    /// When a refused join is sent again even if nothing else happens.
    alarm: Alarm,
}

impl<C: ChannelContract> Clone for ChannelHandle<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ChannelContract> Copy for ChannelHandle<C> {}

impl<C: ChannelContract> Clone for Shared<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ChannelContract> Copy for Shared<C> {}

impl<C: ChannelContract> ChannelHandle<C>
where
    C::Command: Send + Sync,
{
    /// Sends a message to the channel: it is kept until the server has acknowledged it, and stored once. Returns its id.
    pub fn send(&self, draft: C::Draft) -> Result<Uuid, Full> {
        let (id, channel) = (Uuid::new_v4(), self.channel.get_untracked());
        let command = C::send(&channel, id, draft);
        self.socket.send_reliably(id, &channel, command)?;
        Ok(id)
    }
}

/// Connects while `contract` returns `Some`, joins `channel`, and calls `handler` with what belongs to it.
///
/// When `channel` changes, the page leaves the old one and joins the new one on the same socket. Messages to the old one that
/// are not acknowledged yet stay in the outbox until the page joins it again. After a reconnect the handler gets exactly what
/// was missed.
pub fn use_channel<C: ChannelContract>(
    contract: impl Fn() -> Option<C> + 'static,
    channel: impl Fn() -> String + Send + Sync + 'static,
    handler: impl FnMut(ChannelUpdate<C::Event>) + 'static,
) -> ChannelHandle<C>
where
    C::Command: Send + Sync,
{
    use_channel_with_options(contract, channel, handler, SocketOptions::default())
}

/// Like [`use_channel`], with the options of the socket.
pub fn use_channel_with_options<C: ChannelContract>(
    contract: impl Fn() -> Option<C> + 'static,
    channel: impl Fn() -> String + Send + Sync + 'static,
    mut handler: impl FnMut(ChannelUpdate<C::Event>) + 'static,
    options: SocketOptions,
) -> ChannelHandle<C>
where
    C::Command: Send + Sync,
{
    let shared = Shared {
        list: StoredValue::new(ChannelList::default()),
        socket: StoredValue::new(None),
        channel: Memo::new(move |_| channel()),
        alarm: Alarm::new(),
    };
    let receive = move |event| shared.receive(event, &mut handler);
    let socket = use_socket_with_options(contract, receive, options);
    shared.socket.set_value(Some(socket));
    effect(move |_| shared.change_to(&shared.channel.get()));
    let channel = shared.channel;
    ChannelHandle { socket, channel }
}

impl<C: ChannelContract> Shared<C>
where
    C::Command: Send + Sync,
{
    // Timers and callbacks may run after the page is gone. Then the list and the socket are not there, and nothing happens.

    fn receive(
        self,
        event: SocketEvent<C::Welcome, C::Event>,
        handler: &mut impl FnMut(ChannelUpdate<C::Event>),
    ) {
        match event {
            SocketEvent::Welcome { .. } => {
                self.list.try_update_value(ChannelList::lost);
                self.join();
            }
            SocketEvent::Event(event) => self.apply(event, handler),
            SocketEvent::Refused(error) => self.refused(error, handler),
            SocketEvent::Binary(_) | SocketEvent::Closed { .. } | SocketEvent::Undecoded { .. } => {
            }
        }
    }

    fn apply(self, event: C::Event, handler: &mut impl FnMut(ChannelUpdate<C::Event>)) {
        let applied = self.list.try_update_value(|list| list.apply(&event));
        let (Some(applied), Some(socket)) = (applied, self.socket()) else {
            return;
        };
        let name = C::meaning(&event).map_or(String::new(), |(name, _)| name.to_owned());
        match applied {
            Applied::Joined { recovered } => {
                handler(ChannelUpdate::Joined { recovered, event });
                socket.ready(&name);
            }
            Applied::New | Applied::Other => handler(ChannelUpdate::Event(event)),
            Applied::Gap {
                after,
                offset,
                rejoins,
            } => {
                handler(ChannelUpdate::Gap { after, offset });
                if rejoins {
                    socket.not_ready(&name);
                    self.join();
                } else {
                    handler(ChannelUpdate::Event(event));
                }
            }
            Applied::Acknowledged { id, .. } => {
                socket.acknowledge(id);
                handler(ChannelUpdate::Event(event));
            }
            Applied::Duplicate | Applied::Elsewhere => {}
        }
    }

    fn refused(self, error: SocketError, handler: &mut impl FnMut(ChannelUpdate<C::Event>)) {
        let until = self
            .list
            .try_update_value(|list| list.refused(&error, now()));
        if error.code == NOT_JOINED
            && let (Some(name), Some(socket)) = (C::channel_of(&error), self.socket())
        {
            socket.not_ready(name);
        }
        match until.flatten() {
            Some(_) => self.join(),
            None => handler(ChannelUpdate::Refused(error)),
        }
    }

    /// Leaves the other channels and joins this one.
    fn change_to(self, channel: &str) {
        let left = self.list.try_update_value(|list| {
            let names = list.names().map(str::to_owned);
            let others: Vec<_> = names.filter(|name| name != channel).collect();
            list.add(channel, None);
            let leave = |name: String| Some((list.remove(&name)?, name));
            others.into_iter().filter_map(leave).collect::<Vec<_>>()
        });
        if let Some(socket) = self.socket() {
            for (leave, name) in left.unwrap_or_default() {
                socket.send_unbounded(&leave);
                socket.not_ready(&name);
            }
        }
        self.join();
    }

    /// Sends the joins that are due. What is not sent because the socket is not open is due again with the next `welcome`.
    fn join(self) {
        let Some(socket) = self.socket() else {
            return;
        };
        let first = self.channel.try_get_untracked().unwrap_or_default();
        let due = self.list.try_update_value(|list| {
            let joins = list.joins_due(&first, now());
            (joins, list.due_at())
        });
        let (joins, due_at) = due.unwrap_or_default();
        joins.iter().for_each(|join| {
            socket.send_unbounded(join);
        });
        if let Some(due_at) = due_at {
            self.alarm.run_at(due_at, move || self.join());
        }
    }

    fn socket(self) -> Option<Socket<C>> {
        self.socket.try_get_value().flatten()
    }
}
