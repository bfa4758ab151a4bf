//! The load client: many connections on one thread. It checks and times everything that arrives.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    check::{Marks, Sequences},
    clock::Clock,
    decode::{Body, Decoder, Item, masked, text_frame},
    greeting::Greeting,
    http::expect_success,
};

/// The limit for opening all connections, and for what was sent to arrive.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The longest latency that is told from longer ones, in microseconds.
const LONGEST: u64 = 60_000_000;
/// Connections that are opened at a time, so that no listener's queue overflows.
const BATCH: usize = 100;

/// How to open a connection.
#[derive(Debug, Clone)]
pub struct Opening {
    pub address: SocketAddr,
    pub request: Vec<u8>,
    pub greeting: Greeting,
    pub body: Body,
}

struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    /// What the server has not taken yet.
    outgoing: Vec<u8>,
    greeting: Greeting,
    ready: bool,
    sequences: Sequences,
    /// The id of the last event of a stream.
    last_id: String,
}

/// Counts and times since the last reset.
pub struct Totals {
    pub received: u64,
    /// Microseconds from when a message was due until the client had it.
    pub latency: Histogram<u64>,
    /// Only messages that were due at this time or later are timed.
    pub timed_from: u64,
    pub ready: usize,
    /// When each connection got ready.
    pub ready_at: Vec<u64>,
}

pub struct Load {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    connections: Vec<Connection>,
    marks: Marks,
    /// Whether the ids of events are remembered, for a resume.
    keep_ids: bool,
    pub clock: Clock,
    pub totals: Totals,
}

impl Load {
    pub fn new(marks: Marks, clock: Clock) -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            buffer: vec![0; 64 * 1024].into(),
            connections: vec![],
            marks,
            keep_ids: false,
            clock,
            totals: Totals {
                received: 0,
                latency: Histogram::new_with_max(LONGEST, 3)?,
                timed_from: 0,
                ready: 0,
                ready_at: vec![],
            },
        })
    }

    /// From now on the ids of events are remembered, for a resume.
    pub fn remember_ids(&mut self) {
        self.keep_ids = true;
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Chunks and frames that all connections have got.
    pub fn pieces(&self) -> u64 {
        self.connections.iter().map(|one| one.decoder.pieces).sum()
    }

    pub fn missing(&self) -> u64 {
        self.connections
            .iter()
            .map(|one| one.sequences.missing)
            .sum()
    }

    /// Opens connections, some at a time, and waits until all are ready. `between` runs after each batch.
    pub fn open(
        &mut self,
        openings: Vec<Opening>,
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        for batch in openings.chunks(BATCH) {
            for opening in batch {
                let connection = self.connect(opening, self.connections.len())?;
                self.connections.push(connection);
            }
            self.until_ready()?;
            between()?;
        }
        Ok(())
    }

    pub fn until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.totals.ready < self.connections.len() {
            if Instant::now() > deadline {
                let missing = self.connections.len() - self.totals.ready;
                bail!("{missing} connections were not ready after {PATIENCE:?}");
            }
            self.look(Some(Duration::from_millis(100)))?;
        }
        Ok(())
    }

    fn connect(&self, opening: &Opening, index: usize) -> Result<Connection> {
        let mut stream = TcpStream::connect(opening.address).context("a connection")?;
        stream.set_nodelay(true).ok();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), both)?;
        Ok(Connection {
            stream,
            decoder: Decoder::new(opening.body, !opening.request.is_empty()),
            // Sent when the system says that the connection is established.
            outgoing: opening.request.clone(),
            greeting: opening.greeting.clone(),
            ready: false,
            sequences: Sequences::default(),
            last_id: String::new(),
        })
    }

    /// Cuts all connections at once, then connects all of them again at once. `resuming` makes the request from the last
    /// id of a stream. Where `tolerant`, what was missed is counted.
    pub fn cut(
        &mut self,
        opening: &Opening,
        tolerant: bool,
        resuming: impl Fn(&str) -> Vec<u8>,
    ) -> Result<()> {
        for connection in &mut self.connections {
            self.poll.registry().deregister(&mut connection.stream)?;
            connection.stream.shutdown(Shutdown::Both).ok();
        }
        self.totals.ready = 0;
        self.totals.ready_at.clear();
        for index in 0..self.connections.len() {
            let request = resuming(&self.connections[index].last_id);
            let opening = Opening {
                request,
                ..opening.clone()
            };
            let mut connection = self.connect(&opening, index)?;
            let old = &mut self.connections[index];
            connection.sequences = std::mem::take(&mut old.sequences);
            connection.sequences.tolerant = tolerant;
            connection.last_id = std::mem::take(&mut old.last_id);
            *old = connection;
        }
        Ok(())
    }

    /// Sends a text message on one of the sockets.
    pub fn send(&mut self, index: usize, text: &str) -> Result<()> {
        let connection = &mut self.connections[index];
        connection.outgoing.extend(text_frame(text));
        connection.flush()
    }

    /// Takes what has arrived. Without a timeout it waits for something.
    pub fn look(&mut self, timeout: Option<Duration>) -> Result<()> {
        let mut timeout = timeout;
        loop {
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut count = 0;
            for event in &self.events {
                count += 1;
                let index = event.token().0;
                let Some(connection) = self.connections.get_mut(index) else {
                    continue;
                };
                let took = if event.is_writable() && !connection.outgoing.is_empty() {
                    connection.flush()
                } else {
                    Ok(())
                };
                let receiver = (&self.marks, self.clock, self.keep_ids);
                took.and_then(|()| {
                    connection.receive(&mut self.buffer, receiver, &mut self.totals)
                })
                .with_context(|| format!("the connection {index}"))?;
            }
            // Events that did not fit are fetched at once.
            if count < self.events.capacity() {
                return Ok(());
            }
            timeout = Some(Duration::ZERO);
        }
    }
}

impl Connection {
    fn flush(&mut self) -> Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It is not established yet.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error).context("the server takes nothing"),
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        (marks, clock, keep_ids): (&Marks, Clock, bool),
        totals: &mut Totals,
    ) -> Result<()> {
        let mut reply = vec![];
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed it"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::NotConnected => break,
                Err(error) => return Err(error).context("the server broke it"),
            };
            let now = clock.now();
            let Self {
                decoder,
                greeting,
                ready,
                sequences,
                last_id,
                ..
            } = self;
            decoder.decode(&buffer[..length], &mut |item| {
                match item {
                    Item::Head(head) => expect_success(head)?,
                    Item::End => bail!("the server ended it"),
                    Item::Ping(payload) => reply.extend(masked(0x8a, payload)),
                    Item::Text(text) => {
                        if keep_ids {
                            remember_id(text, last_id);
                        }
                        if !*ready {
                            *ready = greeting.answer(text, &mut reply)?;
                            if *ready {
                                totals.ready += 1;
                                totals.ready_at.push(now);
                            }
                        } else if matches!(greeting, Greeting::SocketIo) && text == b"2" {
                            // The ping of Engine.IO, and its pong.
                            reply.extend(text_frame("3"));
                        }
                        if let Some(mark) = marks.find(text) {
                            sequences.check(mark)?;
                            totals.received += 1;
                            if mark.due >= totals.timed_from {
                                totals
                                    .latency
                                    .saturating_record(now.saturating_sub(mark.due));
                            }
                        }
                    }
                }
                Ok(())
            })?;
            // A short read has emptied the socket (epoll(7)).
            if length < buffer.len() {
                break;
            }
        }
        if !reply.is_empty() {
            self.outgoing.extend(reply);
            self.flush()?;
        }
        Ok(())
    }
}

fn remember_id(block: &[u8], last_id: &mut String) {
    if let Some(id) = block.strip_prefix(b"id: ") {
        let line = id.split(|byte| *byte == b'\n').next().unwrap_or_default();
        last_id.clear();
        last_id.push_str(&String::from_utf8_lossy(line));
    }
}
