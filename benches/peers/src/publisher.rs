//! What makes the servers deliver something: a feed of prices, or members of a room who write.

use std::{
    io::{ErrorKind, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tungstenite::{Message, WebSocket};

use crate::load::Load;

/// The prices of a tick.
pub const TICK: u64 = 11;
/// Products take turns. The ticker of Wirewise gives a reader that is behind only the newest price of each product: with so
/// many of them, every price arrives while no reader is a second behind. It takes at most 200.
const PRODUCTS: u64 = 18 * TICK;

/// The products that Wirewise is started with.
pub fn products() -> String {
    (0..PRODUCTS).map(product).collect::<Vec<_>>().join(",")
}

fn product(sequence: u64) -> String {
    format!("P{:03}-USD", sequence % PRODUCTS)
}

/// The limit for Wirewise to connect to the exchange.
const PATIENCE: Duration = Duration::from_secs(15);
const TEXT: &str = "A message as people write them: a sentence or two.";

pub enum Publisher {
    /// Prices for a peer with a port for lines.
    Lines(Lines),
    /// Prices for Wirewise.
    Exchange(Box<Exchange>),
    /// Messages of members to their room.
    Room { dialect: Dialect, sent: u64 },
}

/// How a member writes into a room.
#[derive(Debug, Clone, Copy)]
pub enum Dialect {
    Wirewise,
    /// What is to be delivered, as it is.
    Plain,
    SocketIo,
}

impl Publisher {
    /// Events or messages that every receiver gets for one call of `publish`.
    pub fn joined(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.joined,
            Self::Exchange(exchange) => exchange.joined,
            Self::Room { .. } => 1,
        }
    }

    /// Publishes what is due at a time.
    pub fn publish(&mut self, load: &mut Load, due: u64) -> Result<()> {
        match self {
            Self::Lines(lines) => lines.publish(due),
            Self::Exchange(exchange) => exchange.publish(due),
            Self::Room { dialect, sent } => {
                // All members write in turn.
                let members = load.len() as u64;
                let (sender, sequence) = (*sent % members, *sent / members);
                let text = dialect.command(sender, sequence, due, *sent);
                *sent += 1;
                load.send(usize::try_from(sender)?, &text)
            }
        }
    }

    /// Says that the source is alive, while nothing is published.
    pub fn keep_alive(&mut self) -> Result<()> {
        match self {
            Self::Exchange(exchange) => exchange.keep_alive(),
            _ => Ok(()),
        }
    }
}

/// A connection on which each line is an event.
pub struct Lines {
    stream: TcpStream,
    joined: u64,
    chat: bool,
    sequence: u64,
}

impl Lines {
    /// `chat`: the lines are messages of a room, not prices.
    pub fn connect(port: u16, joined: u64, chat: bool) -> Result<Self> {
        let stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the feed of a peer")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            joined,
            chat,
            sequence: 0,
        })
    }

    fn publish(&mut self, due: u64) -> Result<()> {
        let mut lines = String::new();
        for _ in 0..self.joined {
            lines += &if self.chat {
                message(0, self.sequence, due)
            } else {
                price(self.sequence, due)
            };
            lines.push('\n');
            self.sequence += 1;
        }
        self.stream
            .write_all(lines.as_bytes())
            .context("the feed of a peer")
    }
}

/// A server with the part of Coinbase Exchange that the feed of Wirewise needs.
pub struct Exchange {
    socket: WebSocket<TcpStream>,
    joined: u64,
    sequence: u64,
}

impl Exchange {
    /// A listener for the address that Wirewise is started with.
    pub fn listen() -> Result<TcpListener> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Waits until Wirewise has connected and subscribed.
    pub fn accept(listener: &TcpListener, joined: u64) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the exchange"),
            }
            if Instant::now() > deadline {
                bail!("Wirewise did not connect to the exchange within {PATIENCE:?}");
            }
            sleep(Duration::from_millis(5));
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let mut socket = tungstenite::accept(stream).context("the handshake with the exchange")?;
        socket.read().context("the subscription at the exchange")?;
        socket.send(Message::text(r#"{"type":"subscriptions","channels":[]}"#))?;
        Ok(Self {
            socket,
            joined,
            sequence: 0,
        })
    }

    /// The time is the price, and the sequence number the volume. All prices of a tick go in one write.
    fn publish(&mut self, due: u64) -> Result<()> {
        for _ in 0..self.joined {
            let sequence = self.sequence;
            self.sequence += 1;
            let ticker = json!({"type": "ticker", "sequence": sequence + 1, "product_id": product(sequence), "price": due.to_string(), "open_24h": due.to_string(), "volume_24h": sequence.to_string()});
            self.socket.write(Message::text(ticker.to_string()))?;
        }
        self.socket.flush().context("the feed of Wirewise")
    }

    fn keep_alive(&mut self) -> Result<()> {
        let heartbeat = r#"{"type":"heartbeat"}"#;
        self.socket
            .send(Message::text(heartbeat))
            .context("the feed of Wirewise")
    }
}

impl Dialect {
    fn command(self, sender: u64, sequence: u64, due: u64, id: u64) -> String {
        match self {
            Self::Plain => message(sender, sequence, due),
            Self::SocketIo => format!("42[\"message\",{}]", message(sender, sequence, due)),
            Self::Wirewise => {
                let text = text(sender, sequence, due);
                format!(
                    r#"{{"type":"send","id":"{}","room":"lobby","text":"{text}"}}"#,
                    id_of(id)
                )
            }
        }
    }
}

fn id_of(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn text(sender: u64, sequence: u64, due: u64) -> String {
    format!("{sender} {sequence} {due} {TEXT}")
}

/// A message as Wirewise delivers it, so that all peers deliver as many bytes.
fn message(sender: u64, sequence: u64, due: u64) -> String {
    let (id, user, text) = (id_of(sequence), id_of(sender), text(sender, sequence, due));
    format!(
        r##"{{"type":"message","room":"lobby","offset":{sequence},"id":"{id}","from":{{"id":"{user}","name":"Sunny Otter","color":"#00629e"}},"text":"{text}","at":1795858735010}}"##
    )
}

/// A price as Wirewise delivers it.
fn price(sequence: u64, due: u64) -> String {
    let product = product(sequence);
    format!(
        r#"{{"type":"price","symbol":"{product}","price":{due}.0,"change":0.0,"change_percent":0.0,"volume":{sequence}.0,"at":1795858735010}}"#
    )
}
