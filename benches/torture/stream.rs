//! Event streams of the workloads: opened with the last id of the client, and read event by event.

use std::time::Duration;

use realtime::event_parser::{EventParser, ParsedEvent};
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout};

/// A place in a history: its epoch and an offset.
pub type Place = (String, u64);

/// The limit for an answer to a request. Caddy waits 10 s for a node that takes it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// What a client got that asked for a stream.
pub enum Answer {
    Stream(Box<EventStream>),
    /// 204: the client has the end, and need not come again.
    Finished,
    /// Another status.
    Refused(u16),
    /// No answer in time, or a broken connection.
    None,
}

pub struct EventStream {
    response: Response,
    parser: EventParser,
    /// When the newest bytes were received.
    at: Instant,
}

/// An event, and when its bytes were received.
pub struct Received {
    pub name: String,
    pub data: Value,
    pub place: Option<Place>,
    pub at: Instant,
}

/// The first event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub epoch: String,
    pub offset: u64,
    pub recovered: bool,
    pub replayed: usize,
}

/// Asks for a stream from a place on.
pub async fn open(http: &Client, url: &str, token: Option<&str>, after: Option<&Place>) -> Answer {
    let mut request = http.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some((epoch, offset)) = after {
        request = request.header("last-event-id", format!("{epoch}-{offset}"));
    }
    match timeout(ANSWERS_WITHIN, request.send()).await {
        Ok(Ok(response)) => match response.status().as_u16() {
            200 => Answer::Stream(Box::new(EventStream {
                response,
                parser: EventParser::default(),
                at: Instant::now(),
            })),
            204 => Answer::Finished,
            status => Answer::Refused(status),
        },
        _ => Answer::None,
    }
}

impl EventStream {
    /// The next event; `None` at the end of the stream, or where the connection broke. To be dropped at any time.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(event) = self.parser.next_event() {
                return Some(self.read(event));
            }
            let bytes = self.response.chunk().await.ok()??;
            self.at = Instant::now();
            self.parser.feed(&bytes);
        }
    }

    fn read(&self, event: ParsedEvent) -> Received {
        let ParsedEvent { name, data, id } = event;
        Received {
            name,
            data: serde_json::from_str(&data).expect("the server sends JSON"),
            place: id.as_deref().and_then(place),
            at: self.at,
        }
    }
}

impl Hello {
    pub fn of(data: &Value) -> Self {
        let number = |name: &str| data[name].as_u64().expect("a number");
        Self {
            epoch: data["epoch"].as_str().expect("an epoch").to_owned(),
            offset: number("offset"),
            recovered: data["recovered"] == true,
            replayed: number("replayed") as usize,
        }
    }
}

fn place(id: &str) -> Option<Place> {
    let (epoch, offset) = id.split_once('-')?;
    Some((epoch.to_owned(), offset.parse().ok()?))
}
