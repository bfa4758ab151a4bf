//! What most applications use, for `use realtime::prelude::*`.

pub use strum::{self, VariantNames};

#[cfg(feature = "ssr")]
pub use crate::server::{
    Delivery, OpenSocket, Realtime, RealtimeOptions, Selection, SocketRequest, StreamRequest,
    Topic, channel::memory::MemoryChannels, listen, queue::OutQueue, socket::SocketHandler,
};
pub use crate::{
    client::{
        ChannelHandle, ChannelUpdate, ClientConfig, Connection, Credential, STATUS_LINE_CSS,
        Socket, SocketEvent, SocketOptions, StatusLine, StatusWords, StreamEvent, StreamOptions,
        use_channel, use_channel_with_options, use_event_source, use_event_source_with_options,
        use_latest, use_latest_with_options, use_socket, use_socket_with_options,
    },
    contract::{SocketContract, StreamContract},
    message::SocketError,
    position::Position,
};
