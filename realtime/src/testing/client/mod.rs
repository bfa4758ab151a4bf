//! The client of a script: opens streams and sockets of an application's router, in memory.

mod channel;
mod pipe;
mod socket;
mod stream;

use axum::{
    Router,
    http::{HeaderName, HeaderValue},
};

use self::pipe::Pipes;
pub use self::{
    channel::JoinedChannel,
    socket::{OpenedSocket, SocketItem},
    stream::{OpenedStream, StreamItem},
};
use crate::{
    contract::{SocketContract, StreamContract},
    position::Position,
    status::Answer,
};

/// A client of an application's router. Each stream and each socket has a connection of its own, over a pipe in memory that the
/// kit's own code serves; so the limits, the timers and the fault injection of a connection are there as over TCP.
///
/// # Panics
///
/// Each wait ends after 10 s of the runtime's clock with a panic that says what was waited for.
pub struct ScriptedClient(Pipes);

impl ScriptedClient {
    /// A client of this router, whose state is set.
    pub fn new(app: Router) -> Self {
        Self(Pipes::new(app))
    }

    /// Sends this header with every request from now on: a cookie, or the address that a proxy reports.
    ///
    /// # Panics
    ///
    /// Panics if it is no header (RFC 9110, section 5).
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(self.0.headers.insert(name, value)),
            _ => panic!("{name:?}: {value:?} is no header"),
        }
        self
    }

    /// Opens a stream without a position: it begins with a state.
    ///
    /// # Panics
    ///
    /// Panics if the server refuses the stream.
    pub async fn stream<C: StreamContract>(&self, contract: &C) -> OpenedStream<C> {
        self.open(contract, None).await
    }

    /// Opens a stream that goes on after a position.
    ///
    /// # Panics
    ///
    /// Panics if the server refuses the stream.
    pub async fn stream_after<C: StreamContract>(
        &self,
        contract: &C,
        after: &Position,
    ) -> OpenedStream<C> {
        self.open(contract, Some(after)).await
    }

    /// Opens a stream that the server refuses: the status, `Retry-After`, and the reason of a 401.
    ///
    /// # Panics
    ///
    /// Panics if the server sends a stream.
    pub async fn refused_stream<C: StreamContract>(&self, contract: &C) -> Answer {
        let url = contract.url();
        match stream::open::<C>(&self.0, &url, None).await {
            Ok(_) => panic!("the server was to refuse {url}, and sends a stream"),
            Err(answer) => answer,
        }
    }

    /// Opens a socket and offers the subprotocol of its contract. A server refuses a socket by closing it: then the first
    /// [`OpenedSocket::next`] is [`SocketItem::Closed`].
    ///
    /// # Panics
    ///
    /// Panics if the server does not answer with a socket.
    pub async fn socket<C: SocketContract>(&self, contract: &C) -> OpenedSocket<C> {
        OpenedSocket::open(&self.0, &contract.url()).await
    }

    async fn open<C: StreamContract>(
        &self,
        contract: &C,
        after: Option<&Position>,
    ) -> OpenedStream<C> {
        let url = contract.url();
        match stream::open(&self.0, &url, after).await {
            Ok(stream) => stream,
            Err(answer) => panic!("the server refuses {url}: {answer:?}"),
        }
    }
}
