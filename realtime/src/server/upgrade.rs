//! Answers a request with a WebSocket: subprotocol, limits, refusals that a browser can see, and the first message.

use std::{
    future::{Future, pending},
    marker::PhantomData,
    pin::Pin,
};

use axum::{
    extract::{
        FromRef, FromRequestParts,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::upgrade::{self, OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::WebSocketConfig};

use super::{
    counted::Counted,
    framing::{MessageSink, MessageStream, halves},
    permits::Permit,
    queue::OutQueue,
    realtime::{ClientAddress, Realtime},
    refused::Refused,
    registry::Connection,
    socket::{self, SocketHandler, TEXT_BYTES, TEXT_READ_BYTES},
};
use crate::{
    close::CloseCode,
    contract::SocketContract,
    message::{Limits, SocketControl},
};

/// tungstenite's read buffer in bytes, which it fills with zeros before each read. Most messages of a client are smaller; a larger
/// one takes several reads. The default of 128 KiB would be most of an idle connection's memory.
const READ_BUFFER: usize = 512;

/// The subprotocols that the client offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Our subprotocol, perhaps among others.
    Ours,
    /// None at all.
    Nothing,
    /// Only unknown ones.
    Unknown,
}

/// What an accepted socket runs over.
type Io = TokioIo<Upgraded>;
/// The halves of an accepted socket.
type SocketHalves = (MessageSink<Io>, MessageStream<Io>);

/// A valid handshake: what accepting it takes.
struct Handshake {
    on_upgrade: OnUpgrade,
    /// The value of `Sec-WebSocket-Accept`. None over HTTP/2, where a success of `CONNECT` accepts (RFC 8441, section 5).
    accept: Option<HeaderValue>,
}

impl Handshake {
    /// axum checks the request. What it takes out of the request is copied before, because axum would also read and write the
    /// socket.
    async fn of(parts: &mut Parts) -> Result<Self, WebSocketUpgradeRejection> {
        let on_upgrade = parts.extensions.get().cloned();
        // axum refuses a connection that cannot be upgraded. hyper has a value for it, which fails.
        let on_upgrade = on_upgrade.unwrap_or_else(|| upgrade::on(Request::new(())));
        let _ = WebSocketUpgrade::from_request_parts(parts, &()).await?;
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.filter(|_| parts.version <= Version::HTTP_11);
        let accept = key.map(|key| derive_accept_key(key.as_bytes()));
        Ok(Self {
            on_upgrade,
            accept: accept.and_then(|accept| accept.try_into().ok()),
        })
    }
}

/// A request to open a socket of the contract `C`: everything that answering it takes.
///
/// It is an extractor for handlers whose state gives a [`Realtime`] (axum's `FromRef`).
pub struct SocketRequest<C> {
    handshake: Handshake,
    offer: Offer,
    /// The subprotocol to answer with.
    echo: Option<HeaderValue>,
    realtime: Realtime,
    address: Option<ClientAddress>,
    connection: Connection,
    binary_bytes: usize,
    contract: PhantomData<C>,
}

impl<C: SocketContract, S: Send + Sync> FromRequestParts<S> for SocketRequest<C>
where
    Realtime: FromRef<S>,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let realtime = Realtime::from_ref(state);
        let (offer, echo) = negotiate(&parts.headers, C::SUBPROTOCOL);
        let (address, connection) = (ClientAddress::of_request(parts), realtime.connection(parts));
        let handshake = Handshake::of(parts).await;
        Ok(Self {
            handshake: handshake.map_err(Refused::NoUpgrade)?,
            offer,
            echo,
            realtime,
            address,
            connection,
            binary_bytes: 0,
            contract: PhantomData,
        })
    }
}

impl<C: SocketContract> SocketRequest<C> {
    /// Accepts binary messages of up to `bytes`. The default is 0: text messages only.
    pub fn binary_bytes(mut self, bytes: usize) -> Self {
        self.binary_bytes = bytes;
        self
    }

    /// Accepts the socket. `serve` opens it, and returns how it goes on: [`OpenSocket::run`], [`OpenSocket::run_until`] or
    /// [`OpenSocket::refuse`]. What `serve` needed to open the socket is freed then: what the socket is to hold to its end
    /// belongs to its handler.
    ///
    /// A browser cannot see why an upgrade is refused, so a refusal is a close code. If the client offered only unknown
    /// subprotocols, the server echoes the first offer (without the echo a browser would see only 1006) and closes with
    /// 4010. If the client's address has all of its permits, the server closes with 4101.
    pub fn serve<F>(self, serve: impl FnOnce(OpenSocket<C>) -> F + Send + 'static) -> Response
    where
        F: Future<Output = RunningSocket> + Send + 'static,
    {
        let largest = self.binary_bytes.max(TEXT_READ_BYTES);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        // Held from here on, because the drain must wait for the task of the socket.
        let hold = self.realtime.drain().hold();
        let accepted = Accepted {
            offer: self.offer,
            realtime: self.realtime,
            address: self.address,
            connection: self.connection,
            binary_bytes: self.binary_bytes,
            serve,
        };
        let Handshake { on_upgrade, accept } = self.handshake;
        let opening = async move {
            match on_upgrade.await {
                Ok(upgraded) => {
                    let halves = halves(TokioIo::new(upgraded), config).await;
                    Some(accepted.open(halves).await)
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not upgraded");
                    None
                }
            }
        };
        // In a box that is freed when the socket is open: a future has room for all that it needed before.
        let opening = Box::pin(opening);
        tokio::spawn(async move {
            let _hold = hold;
            if let Some((running, _permit)) = opening.await {
                running.0.await;
            }
        });
        let mut response = StatusCode::OK.into_response();
        let headers = response.headers_mut();
        headers.extend(self.echo.map(|echo| (header::SEC_WEBSOCKET_PROTOCOL, echo)));
        if let Some(accept) = accept {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        response
    }
}

/// A socket that was accepted and is not open yet.
struct Accepted<S> {
    offer: Offer,
    realtime: Realtime,
    address: Option<ClientAddress>,
    connection: Connection,
    binary_bytes: usize,
    serve: S,
}

impl<S> Accepted<S> {
    /// How the socket goes on, and what its address holds meanwhile.
    async fn open<C, F>(self, socket: SocketHalves) -> (RunningSocket, Option<Permit>)
    where
        C: SocketContract,
        S: FnOnce(OpenSocket<C>) -> F,
        F: Future<Output = RunningSocket>,
    {
        if self.offer == Offer::Unknown {
            let reason = "this subprotocol is not spoken here";
            let code = CloseCode::UnknownProtocol.code();
            return (RunningSocket::refused(socket, code, reason), None);
        }
        let Ok(permit) = self.realtime.permit(self.address) else {
            let reason = "too many open sockets from this address";
            let code = CloseCode::RateLimitIgnored.code();
            return (RunningSocket::refused(socket, code, reason), None);
        };
        let sockets = self.realtime.sockets(C::NAME);
        let open = OpenSocket {
            socket,
            queue: OutQueue::default(),
            offer: self.offer,
            counted: Counted::new(sockets, "websocket", C::NAME),
            realtime: self.realtime,
            connection: self.connection,
            binary_bytes: self.binary_bytes,
            contract: PhantomData,
        };
        ((self.serve)(open).await, permit)
    }
}

/// How an [`OpenSocket`] goes on: it runs to its end, or it is closed. [`SocketRequest::serve`] takes it.
#[must_use = "a socket that does not run is cut off"]
pub struct RunningSocket(Pin<Box<dyn Future<Output = ()> + Send>>);

impl RunningSocket {
    fn new(running: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(running))
    }

    fn refused(socket: SocketHalves, code: u16, reason: &'static str) -> Self {
        Self::new(socket::refuse(socket, code, reason))
    }
}

/// An accepted socket of the contract `C`. First [`OpenSocket::welcome`] is called, then [`OpenSocket::run`].
pub struct OpenSocket<C> {
    socket: SocketHalves,
    queue: OutQueue,
    offer: Offer,
    counted: Counted,
    realtime: Realtime,
    connection: Connection,
    binary_bytes: usize,
    contract: PhantomData<C>,
}

impl<C: SocketContract> OpenSocket<C> {
    /// The queue of this socket. Its clones share one state.
    pub fn queue(&self) -> &OutQueue {
        &self.queue
    }

    /// The subprotocols that the client offered.
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// The connection, for instance to record whose it is.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether this socket must treat the history of its client as lost; see [`Connection::has_expired`].
    pub fn has_expired(&self) -> bool {
        self.connection.has_expired()
    }

    /// Sends no text message, not even the kit's own, because the peer speaks another protocol of binary messages. Call it
    /// before anything is queued.
    pub fn send_binary_only(&mut self) {
        self.queue = OutQueue::binary_only();
    }

    /// Closes the socket with a reason and a [`CloseCode`], or a code of the application.
    pub fn refuse(self, code: impl Into<u16>, reason: &'static str) -> RunningSocket {
        let code = code.into();
        RunningSocket::new(async move {
            // All of it, because it is open and counted until then.
            let this = self;
            socket::refuse(this.socket, code, reason).await;
        })
    }

    /// The first message of the socket, with the fields that the feature adds. The browser counts as connected once it has
    /// received this message, and reconnects if none arrives.
    pub fn welcome_message(&self, feature: C::Welcome) -> SocketControl<C::Welcome> {
        SocketControl::Welcome {
            connection: self.connection.id().to_owned(),
            heartbeat_ms: self.realtime.timing().client_ping.as_millis() as u64,
            connections: self.counted.count(),
            limits: Limits {
                text_bytes: TEXT_BYTES,
                binary_bytes: self.binary_bytes,
                messages_per_second: self.realtime.messages_per_second(),
            },
            feature,
        }
    }

    /// Queues the [`OpenSocket::welcome_message`].
    pub fn welcome(&self, feature: C::Welcome) {
        self.queue.push_json(&self.welcome_message(feature));
    }

    /// Runs the socket to its end.
    pub fn run(self, handler: impl SocketHandler<Contract = C> + 'static) -> RunningSocket {
        self.run_until(handler, pending())
    }

    /// Runs the socket to its end, or until the session of its user ends: `ended` resolves with the reason for the close
    /// code [`SocketHandler::session_code`].
    pub fn run_until(
        self,
        mut handler: impl SocketHandler<Contract = C> + 'static,
        ended: impl Future<Output = &'static str> + Send + 'static,
    ) -> RunningSocket {
        let Self {
            socket,
            queue,
            realtime,
            connection,
            counted,
            ..
        } = self;
        if connection.may_write_directly() {
            queue.write_with(socket.0.direct());
        }
        // In a box, because a future has room for what it is called with, and for what it makes of that.
        let ended = Box::pin(ended);
        RunningSocket::new(async move {
            socket::run(
                socket,
                queue,
                &mut handler,
                &realtime,
                &connection,
                &counted,
                ended,
            )
            .await;
        })
    }
}

/// What the client offers, and the subprotocol to answer with.
fn negotiate(headers: &HeaderMap, ours: &str) -> (Offer, Option<HeaderValue>) {
    let values = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|offer| !offer.is_empty())
        .collect();
    let (offer, echo) = match offered.first() {
        None => return (Offer::Nothing, None),
        Some(_) if offered.contains(&ours) => (Offer::Ours, ours),
        Some(first) => (Offer::Unknown, *first),
    };
    // A part of a valid header value is a valid header value.
    (offer, HeaderValue::from_str(echo).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_is_no_handshake_is_told_what_would_be_one() {
        let refusal = async |method: &str, version: &str| {
            let request = Request::builder()
                .method(method)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
                .header(header::SEC_WEBSOCKET_VERSION, version);
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let handshake = Handshake::of(&mut parts).await;
            let response = Refused::NoUpgrade(handshake.err().unwrap()).into_response();
            let header = |name| response.headers().get(name).cloned();
            (
                response.status().as_u16(),
                header(header::SEC_WEBSOCKET_VERSION),
                header(header::ALLOW),
            )
        };
        let version = Some(HeaderValue::from_static("13"));
        assert_eq!(refusal("GET", "8").await, (400, version.clone(), None));
        let allow = Some(HeaderValue::from_static("GET"));
        assert_eq!(refusal("POST", "13").await, (405, version, allow));
    }

    #[test]
    fn our_subprotocol_is_found_among_others_and_an_unknown_one_is_echoed() {
        let negotiated = |offers: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(
                    header::SEC_WEBSOCKET_PROTOCOL,
                    header::HeaderValue::from_static(offer),
                );
            }
            let (offer, echo) = negotiate(&headers, "ours.v1");
            (offer, echo.map(|echo| echo.to_str().unwrap().to_owned()))
        };
        assert_eq!(negotiated(&[]), (Offer::Nothing, None));
        assert_eq!(
            negotiated(&["ours.v1"]),
            (Offer::Ours, Some("ours.v1".into()))
        );
        assert_eq!(
            negotiated(&["ours.v2, ours.v1"]),
            (Offer::Ours, Some("ours.v1".into()))
        );
        assert_eq!(
            negotiated(&["x", "ours.v1"]),
            (Offer::Ours, Some("ours.v1".into()))
        );
        assert_eq!(
            negotiated(&["ours.v2,y"]),
            (Offer::Unknown, Some("ours.v2".into()))
        );
    }
}
