//! The client of a race: an HTTP client that parses an event stream, or a WebSocket client. It connects over TLS where the
//! server speaks it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use bytes::Buf;
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};
use tokio_util::{either::Either, io::InspectReader};
use uuid::Uuid;

use crate::{
    progress::message::{RaceEvent, RaceEvents, RaceSocket},
    routes::OwnServer,
    web::server::own_certificate,
};
use realtime::{
    contract::{SocketContract, StreamContract},
    event_parser::EventParser,
    strum::VariantNames,
    transport::Transport,
};

/// A connection that counts the bytes read from it.
type Counting = InspectReader<TcpStream, Count>;
type Count = Box<dyn FnMut(&[u8]) + Send>;
type Wire = Either<Counting, TlsStream<Counting>>;

/// A client of one channel that has received its greeting.
pub struct Client {
    connection: Connection,
    bytes: Arc<AtomicU64>,
}

enum Connection {
    Events {
        body: Incoming,
        parser: EventParser,
        /// Drives the HTTP connection; ends with the client.
        _driving: JoinSet<()>,
    },
    Socket(Box<WebSocketStream<Wire>>),
}

impl Client {
    /// Connects and waits for the greeting.
    pub async fn connect(
        server: &OwnServer,
        transport: Transport,
        channel: Uuid,
    ) -> Result<Self, String> {
        let address = server.address;
        let tcp = TcpStream::connect(address).await.map_err(words)?;
        tcp.set_nodelay(true).map_err(words)?;
        let bytes = Arc::<AtomicU64>::default();
        let counter = bytes.clone();
        let count: Count = Box::new(move |read| {
            counter.fetch_add(read.len() as u64, Ordering::Relaxed);
        });
        let tcp = InspectReader::new(tcp, count);
        let wire = match &server.tls {
            None => Either::Left(tcp),
            Some(tls) => {
                let connecting =
                    own_certificate::connector(Some(tls))?.connect(address.ip().into(), tcp);
                Either::Right(connecting.await.map_err(words)?)
            }
        };
        let connection = match transport {
            Transport::Sse => events(wire, address, channel).await?,
            Transport::WebSocket => socket(wire, address, channel).await?,
        };
        let mut client = Self { connection, bytes };
        client.greeting().await?;
        Ok(client)
    }

    /// The bytes read from the TCP socket so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The payload of the next message.
    pub async fn next(&mut self) -> Result<String, String> {
        loop {
            let (name, data) = self.event().await?;
            // Heartbeats, and whatever else a server may send.
            if name
                .as_deref()
                .is_some_and(|name| !RaceEvent::VARIANTS.contains(&name))
            {
                continue;
            }
            if let Ok(RaceEvent::Payload { data }) = serde_json::from_str(&data) {
                return Ok(data);
            }
        }
    }

    async fn greeting(&mut self) -> Result<(), String> {
        self.event().await.map(drop)
    }

    /// The next event: its name, where the transport has one apart from the data, and its JSON.
    async fn event(&mut self) -> Result<(Option<String>, String), String> {
        match &mut self.connection {
            Connection::Events { body, parser, .. } => loop {
                if let Some(event) = parser.next_event() {
                    return Ok((Some(event.name), event.data));
                }
                let frame = body
                    .frame()
                    .await
                    .ok_or("the stream ended")?
                    .map_err(words)?;
                if let Some(bytes) = frame.data_ref() {
                    parser.feed(bytes.chunk());
                }
            },
            Connection::Socket(socket) => loop {
                match socket
                    .next()
                    .await
                    .ok_or("the socket ended")?
                    .map_err(words)?
                {
                    Message::Text(text) => return Ok((None, text.as_str().to_owned())),
                    Message::Close(_) => return Err("the socket closed".into()),
                    _ => {}
                }
            },
        }
    }
}

async fn events(wire: Wire, server: SocketAddr, channel: Uuid) -> Result<Connection, String> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(words)?;
    let mut driving = JoinSet::new();
    driving.spawn(async move {
        // Errors of the connection reach the body too.
        let _ = connection.await;
    });
    let request = Request::get(RaceEvents { lane: channel }.url())
        .header(header::HOST, server.to_string())
        .header(header::ACCEPT, "text/event-stream")
        .body(Body::empty())
        .map_err(words)?;
    let response = requests.send_request(request).await.map_err(words)?;
    if response.status() != StatusCode::OK {
        return Err(format!("the server answered {}", response.status()));
    }
    Ok(Connection::Events {
        body: response.into_body(),
        parser: EventParser::default(),
        _driving: driving,
    })
}

async fn socket(wire: Wire, server: SocketAddr, channel: Uuid) -> Result<Connection, String> {
    let url = format!("ws://{server}{}", RaceSocket { lane: channel }.url());
    let mut request = url.into_client_request().map_err(words)?;
    request.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(RaceSocket::SUBPROTOCOL),
    );
    let (socket, _) = client_async(request, wire).await.map_err(words)?;
    Ok(Connection::Socket(Box::new(socket)))
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
