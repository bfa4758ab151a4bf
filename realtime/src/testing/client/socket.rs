//! A socket that a scripted client has opened.

use std::marker::PhantomData;

use axum::http::{HeaderValue, header};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use strum::VariantNames;
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::pipe::{Pipes, in_time};
use crate::{
    contract::SocketContract,
    message::{SocketControl, SocketError},
};

/// What a socket brings.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketItem<W, E> {
    /// The first message.
    Welcome {
        /// The fields of the application.
        welcome: W,
        /// Open sockets of this endpoint.
        connections: usize,
    },
    /// An event of the application.
    Event(E),
    /// A command was refused.
    Refused(SocketError),
    /// A binary message.
    Binary(Vec<u8>),
    /// The server shuts down.
    Drain {
        /// The shortest delay before a reconnect, in milliseconds.
        retry_ms: u64,
    },
    /// The socket is closed.
    Closed {
        /// The close code; 1006 if there was none.
        code: u16,
        /// The close reason; empty if there was none.
        reason: String,
    },
}

/// An open socket. Dropping it cuts the connection.
pub struct OpenedSocket<C> {
    socket: WebSocketStream<DuplexStream>,
    contract: PhantomData<C>,
}

impl<C: SocketContract> OpenedSocket<C> {
    pub(super) async fn open(pipes: &Pipes, url: &str) -> Self {
        let Ok(mut request) = format!("ws://scripted{url}").into_client_request() else {
            panic!("{url} is no address");
        };
        let protocol = HeaderValue::from_static(C::SUBPROTOCOL);
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        headers.extend(pipes.headers.clone());
        match in_time("socket", client_async(request, pipes.connect())).await {
            Ok((socket, _)) => Self {
                socket,
                contract: PhantomData,
            },
            Err(error) => panic!("the server does not answer {url} with a socket: {error}"),
        }
    }

    /// The next item. After [`SocketItem::Closed`] there is no other.
    ///
    /// # Panics
    ///
    /// Panics if a message is none of the contract's, or if nothing comes within 10 s.
    pub async fn next(&mut self) -> SocketItem<C::Welcome, C::Event> {
        loop {
            let closed = |code, reason| SocketItem::Closed { code, reason };
            match in_time("message", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    if let Some(item) = decoded::<C>(&text) {
                        return item;
                    }
                }
                Some(Ok(Message::Binary(bytes))) => return SocketItem::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return closed(frame.code.into(), frame.reason.as_str().to_owned());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => {
                    return closed(1006, String::new());
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// The welcome, which is the first message.
    ///
    /// # Panics
    ///
    /// Panics if the next item is another one.
    pub async fn welcome(&mut self) -> C::Welcome {
        match self.next().await {
            SocketItem::Welcome { welcome, .. } => welcome,
            other => panic!("instead of welcome there was {}", kind_of(&other)),
        }
    }

    /// The next event of the application.
    ///
    /// # Panics
    ///
    /// Panics if the next item is another one.
    pub async fn event(&mut self) -> C::Event {
        match self.next().await {
            SocketItem::Event(event) => event,
            other => panic!("instead of an event there was {}", kind_of(&other)),
        }
    }

    /// The next refusal of a command. Events before it are skipped.
    ///
    /// # Panics
    ///
    /// Panics if the next other item is no refusal.
    pub async fn refused(&mut self) -> SocketError {
        loop {
            match self.next().await {
                SocketItem::Refused(error) => return error,
                SocketItem::Event(_) => {}
                other => panic!("instead of a refusal there was {}", kind_of(&other)),
            }
        }
    }

    /// Waits for the close: its code and its reason. What comes before is skipped.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            if let SocketItem::Closed { code, reason } = self.next().await {
                return (code, reason);
            }
        }
    }

    /// Sends a command.
    ///
    /// # Panics
    ///
    /// Panics if the socket is closed.
    pub async fn send(&mut self, command: &C::Command) {
        match serde_json::to_string(command) {
            Ok(text) => self.send_message(Message::text(text)).await,
            Err(error) => panic!("the command cannot be serialized: {error}"),
        }
    }

    /// Sends bytes.
    ///
    /// # Panics
    ///
    /// Panics if the socket is closed.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec())).await;
    }

    /// Ends the connection without a close frame, as a lost network does.
    pub fn cut(self) {}

    async fn send_message(&mut self, message: Message) {
        if let Err(error) = in_time("room to send", self.socket.send(message)).await {
            panic!("the message was not sent: {error}");
        }
    }
}

/// `None` for the answer to a ping, which a test does not send.
fn decoded<C: SocketContract>(text: &str) -> Option<SocketItem<C::Welcome, C::Event>> {
    let decoded = serde_json::from_str::<Value>(text).and_then(|message| {
        let name = message["type"].as_str().unwrap_or_default();
        if !SocketControl::<()>::VARIANTS.contains(&name) {
            return serde_json::from_value(message)
                .map(SocketItem::Event)
                .map(Some);
        }
        let control: SocketControl<C::Welcome> = serde_json::from_value(message)?;
        Ok(match control {
            SocketControl::Welcome {
                feature,
                connections,
                ..
            } => Some(SocketItem::Welcome {
                welcome: feature,
                connections,
            }),
            SocketControl::Pong { .. } => None,
            SocketControl::Error(error) => Some(SocketItem::Refused(error)),
            SocketControl::Drain { retry_ms } => Some(SocketItem::Drain { retry_ms }),
        })
    });
    match decoded {
        Ok(item) => item,
        Err(error) => panic!("a message cannot be decoded: {error}: {text}"),
    }
}

pub(super) fn kind_of<W, E>(item: &SocketItem<W, E>) -> String {
    match item {
        SocketItem::Welcome { .. } => "the welcome".into(),
        SocketItem::Event(_) => "an event".into(),
        SocketItem::Refused(error) => format!("a refusal: {error:?}"),
        SocketItem::Binary(_) => "a binary message".into(),
        SocketItem::Drain { .. } => "drain".into(),
        SocketItem::Closed { code, reason } => format!("the close {code} {reason:?}"),
    }
}
