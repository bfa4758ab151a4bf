//! An event stream that a scripted client has opened.

use std::marker::PhantomData;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use strum::VariantNames;

use super::pipe::{Pipes, Running, in_time};
use crate::{
    backoff::retry_after_ms,
    contract::StreamContract,
    event_parser::{EventParser, ParsedEvent},
    message::{Hello, StreamControl},
    position::Position,
    server::now_ms,
    status::Answer,
};

/// What a stream brings.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem<E> {
    /// The first event.
    Hello(Hello),
    /// A heartbeat, with the number of open connections.
    Heartbeat {
        /// Open connections of this stream.
        connections: usize,
    },
    /// The server shuts down.
    Drain {
        /// The shortest delay before a reconnect, in milliseconds.
        retry_ms: u64,
    },
    /// An event of the application.
    Event {
        /// The event.
        event: E,
        /// Its position, if it has one.
        position: Option<Position>,
    },
    /// The stream has ended.
    Ended,
}

/// An open event stream. Dropping it cuts the connection.
pub struct OpenedStream<C> {
    body: Incoming,
    parser: EventParser,
    position: Option<Position>,
    _sender: SendRequest<Body>,
    _connection: Running,
    contract: PhantomData<C>,
}

/// Opens a stream; an error is the answer of a server that sends none.
pub async fn open<C: StreamContract>(
    pipes: &Pipes,
    url: &str,
    after: Option<&Position>,
) -> Result<OpenedStream<C>, Answer> {
    let mut request = Request::get(url).header(header::ACCEPT, "text/event-stream");
    if let Some(after) = after {
        request = request.header("last-event-id", after.to_string());
    }
    let request = request.header(header::HOST, "scripted").body(Body::empty());
    let Ok(mut request) = request else {
        panic!("{url} is no address");
    };
    request.headers_mut().extend(pipes.headers.clone());
    let (mut sender, connection) = match handshake(TokioIo::new(pipes.connect())).await {
        Ok(connected) => connected,
        Err(error) => panic!("the connection failed: {error}"),
    };
    let connection = Running::spawn(async {
        // It ends with the stream, which sees an error itself.
        let _ = connection.await;
    });
    let response = match in_time("response", sender.send_request(request)).await {
        Ok(response) => response,
        Err(error) => panic!("there was no response: {error}"),
    };
    let status = response.status();
    if status != StatusCode::OK {
        let headers = response.headers().clone();
        let retry_after = headers.get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let date = headers
            .get(header::DATE)
            .and_then(|date| date.to_str().ok());
        let body = in_time("whole response", response.into_body().collect()).await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(Answer {
            status: status.as_u16(),
            retry_after_ms: retry_after
                .and_then(|value| retry_after_ms(value, date, now_ms() as f64)),
            reason: reason_of(&body),
        });
    }
    Ok(OpenedStream {
        body: response.into_body(),
        parser: EventParser::default(),
        position: after.cloned(),
        _sender: sender,
        _connection: connection,
        contract: PhantomData,
    })
}

impl<C: StreamContract> OpenedStream<C> {
    /// The next item. After [`StreamItem::Ended`] there is no other.
    ///
    /// # Panics
    ///
    /// Panics if an event is none of the contract's, or if nothing comes within 10 s.
    pub async fn next(&mut self) -> StreamItem<C::Event> {
        loop {
            if let Some(event) = self.parser.next_event() {
                return self.decoded(event);
            }
            match in_time("event", self.body.frame()).await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.parser.feed(&bytes);
                    }
                }
                Some(Err(_)) | None => return StreamItem::Ended,
            }
        }
    }

    /// The hello, which is the first item.
    ///
    /// # Panics
    ///
    /// Panics if the next item is another one.
    pub async fn hello(&mut self) -> Hello {
        match self.next().await {
            StreamItem::Hello(hello) => hello,
            other => panic!("instead of hello there was {}", kind_of(&other)),
        }
    }

    /// The next event of the application. Heartbeats before it are skipped.
    ///
    /// # Panics
    ///
    /// Panics if the next item is another one.
    pub async fn event(&mut self) -> C::Event {
        loop {
            match self.next().await {
                StreamItem::Event { event, .. } => return event,
                StreamItem::Heartbeat { .. } => {}
                other => panic!("instead of an event there was {}", kind_of(&other)),
            }
        }
    }

    /// The position of the last event: [`ScriptedClient::stream_after`](super::ScriptedClient::stream_after) goes on there.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Ends the connection without a word, as a lost network does.
    pub fn cut(self) {}

    fn decoded(&mut self, event: ParsedEvent) -> StreamItem<C::Event> {
        let ParsedEvent { name, data, id } = event;
        if StreamControl::VARIANTS.contains(&&*name) {
            return match decode(&name, &data) {
                StreamControl::Hello(hello) => StreamItem::Hello(hello),
                StreamControl::Heartbeat { connections, .. } => {
                    StreamItem::Heartbeat { connections }
                }
                StreamControl::Drain { retry_ms } => StreamItem::Drain { retry_ms },
            };
        }
        let position: Option<Position> = id.and_then(|id| id.parse().ok());
        if position.is_some() {
            self.position.clone_from(&position);
        }
        let event = decode(&name, &data);
        StreamItem::Event { event, position }
    }
}

fn decode<T: DeserializeOwned>(name: &str, data: &str) -> T {
    match serde_json::from_str(data) {
        Ok(event) => event,
        Err(error) => panic!("the event {name:?} cannot be decoded: {error}: {data}"),
    }
}

/// The reason in the body of a 401.
fn reason_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Unauthorized {
        reason: Option<String>,
    }
    let body: Unauthorized = serde_json::from_slice(body).ok()?;
    body.reason
}

fn kind_of<E>(item: &StreamItem<E>) -> &'static str {
    match item {
        StreamItem::Hello(_) => "hello",
        StreamItem::Heartbeat { .. } => "a heartbeat",
        StreamItem::Drain { .. } => "drain",
        StreamItem::Event { .. } => "an event",
        StreamItem::Ended => "the end of the stream",
    }
}
