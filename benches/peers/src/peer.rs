//! The servers that are compared, how each is started, and how a client connects to it.

use std::{env, ffi::OsString};

use anyhow::{Context, Result, bail};

use crate::{
    check::Marks,
    clock::Clock,
    decode::Body,
    greeting::Greeting,
    http,
    load::{Load, Opening},
    options::Options,
    process::Server,
    publisher::{Dialect, Exchange, Lines, Publisher, products},
    servers::raw::Fault,
};

/// In the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    RawTcp,
    Wirewise,
    AxumSse,
    AxumSocket,
    NodeSse,
    Ws,
    SocketIo,
    UWebSockets,
    Express,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Wirewise => "Wirewise",
            Self::RawTcp => "raw TCP",
            Self::AxumSse => "axum `Sse`",
            Self::AxumSocket => "axum `ws`",
            Self::NodeSse => "Node `http`",
            Self::Ws => "`ws`",
            Self::SocketIo => "Socket.IO",
            Self::UWebSockets => "uWebSockets.js",
            Self::Express => "Express, `compression`",
        }
    }
}

/// Where the servers of a run come from.
pub struct Bench<'a> {
    pub options: &'a Options,
    pub clock: Clock,
    /// Deliveries a second that every server is asked for.
    pub deliveries: f64,
}

/// A server, with all clients connected and ready.
pub struct Stage {
    pub server: Server,
    pub load: Load,
    pub publisher: Publisher,
}

/// The argument of raw TCP with which events that came together go in one write.
pub const JOINED: &str = "joined";
/// The prices of Wirewise, where they come from the simulation and are not to disturb.
const QUIET: [&str; 4] = ["--feed", "simulated:1", "--tick-ms", "3600000"];

impl Bench<'_> {
    /// Streams of prices: `joined` prices at a time.
    pub fn prices(&self, peer: Peer, streams: usize, joined: u64) -> Result<Stage> {
        let (server, mut publisher) = self.feed(peer, joined)?;
        let opening = self.stream(peer, &server);
        let mut load = Load::new(Marks::price(), self.clock)?;
        load.open(vec![opening; streams], || publisher.keep_alive())?;
        Ok(Stage {
            server,
            load,
            publisher,
        })
    }

    /// Streams over raw TCP, with a fault that the checks must find.
    pub fn faulty(&self, fault: Fault, streams: usize) -> Result<Stage> {
        let server = self.own(&["raw-tcp", fault.name()])?;
        let publisher = Publisher::Lines(Lines::connect(server.feed_port, 1, false)?);
        let mut load = Load::new(Marks::price(), self.clock)?;
        load.open(vec![self.stream(Peer::RawTcp, &server); streams], || Ok(()))?;
        Ok(Stage {
            server,
            load,
            publisher,
        })
    }

    /// A server with a source of prices.
    fn feed(&self, peer: Peer, joined: u64) -> Result<(Server, Publisher)> {
        if peer == Peer::Wirewise {
            let listener = Exchange::listen()?;
            let feed = format!("coinbase:ws://{}/", listener.local_addr()?);
            let server = self.wirewise(&["--feed", &feed, "--products", &products()])?;
            let exchange = Exchange::accept(&listener, joined)?;
            return Ok((server, Publisher::Exchange(Box::new(exchange))));
        }
        let server = self.start(peer, joined > 1)?;
        let lines = Lines::connect(server.feed_port, joined, false)?;
        Ok((server, Publisher::Lines(lines)))
    }

    pub fn stream(&self, peer: Peer, server: &Server) -> Opening {
        let (path, greeting) = match peer {
            Peer::Wirewise => ("/api/ticker/events", Greeting::Snapshot),
            _ => ("/events", Greeting::Wait),
        };
        let request = match peer {
            Peer::RawTcp => vec![],
            _ => http::request("GET", path, &[("accept", "text/event-stream")]),
        };
        Opening {
            address: server.address(),
            request,
            greeting,
            body: Body::Blocks,
        }
    }

    /// A room in which all members write and read.
    pub fn room(&self, peer: Peer, members: usize) -> Result<Stage> {
        let (server, mut publisher) = match peer {
            Peer::RawTcp => {
                let server = self.start(peer, false)?;
                let lines = Lines::connect(server.feed_port, 1, true)?;
                (server, Publisher::Lines(lines))
            }
            Peer::Wirewise => (self.wirewise(&QUIET)?, room(Dialect::Wirewise)),
            Peer::SocketIo => (self.start(peer, false)?, room(Dialect::SocketIo)),
            _ => (self.start(peer, false)?, room(Dialect::Plain)),
        };
        let openings = match peer {
            Peer::RawTcp => vec![self.stream(peer, &server); members],
            _ => self.sockets(peer, &server, members, |_| Some("lobby".into()))?,
        };
        let mut load = Load::new(Marks::chat(), self.clock)?;
        load.open(openings, || publisher.keep_alive())?;
        Ok(Stage {
            server,
            load,
            publisher,
        })
    }

    /// Sockets of so many users. Where `room_of` names a room, a client of Wirewise joins it.
    pub fn sockets(
        &self,
        peer: Peer,
        server: &Server,
        count: usize,
        room_of: impl Fn(usize) -> Option<String>,
    ) -> Result<Vec<Opening>> {
        let opening = |request, greeting| Opening {
            address: server.address(),
            request,
            greeting,
            body: Body::Frames,
        };
        match peer {
            Peer::Wirewise => {
                let guests = http::guests(server.address(), count)?;
                let member = |(index, token): (usize, String)| {
                    let bearer = format!("Bearer {token}");
                    let headers = [
                        ("authorization", bearer.as_str()),
                        ("sec-websocket-protocol", "wirewise.chat.v1"),
                    ];
                    let request = http::upgrade("/api/chat/socket", &headers);
                    opening(request, Greeting::Wirewise(room_of(index)))
                };
                Ok(guests.into_iter().enumerate().map(member).collect())
            }
            Peer::SocketIo => {
                let request = http::upgrade("/socket.io/?EIO=4&transport=websocket", &[]);
                Ok(vec![opening(request, Greeting::SocketIo); count])
            }
            _ => Ok(vec![
                opening(http::upgrade("/socket", &[]), Greeting::Wait);
                count
            ]),
        }
    }

    /// A server that nobody feeds.
    pub fn idle(&self, peer: Peer) -> Result<Server> {
        match peer {
            Peer::Wirewise => self.wirewise(&QUIET),
            _ => self.start(peer, false),
        }
    }

    /// Express with a page in a file.
    pub fn express(&self, page: &OsString) -> Result<Server> {
        self.node("express.mjs", std::slice::from_ref(page))
    }

    fn wirewise(&self, flags: &[&str]) -> Result<Server> {
        let folder = self.options.work.join("server");
        let mut command = vec![self.options.wirewise.clone().into_os_string()];
        let mut push = |name: &str, value: OsString| command.extend([OsString::from(name), value]);
        push("--addr", "127.0.0.1:0".into());
        push("--metrics-addr", "127.0.0.1:0".into());
        push("--site-root", self.options.site_root.clone().into());
        push("--data-dir", folder.join("data").into());
        push("--log", "warn".into());
        // All clients have one address.
        push("--max-connections-per-ip", "0".into());
        push("--requests-per-second", "100000".into());
        push("--messages-per-second", "100000".into());
        command.extend(flags.iter().map(OsString::from));
        let server = Server::start(&command, &folder)?;
        server.until_ready()?;
        Ok(server)
    }

    fn start(&self, peer: Peer, joined: bool) -> Result<Server> {
        match peer {
            Peer::RawTcp if joined => self.own(&["raw-tcp", JOINED]),
            Peer::RawTcp => self.own(&["raw-tcp"]),
            Peer::AxumSse | Peer::AxumSocket => self.own(&["axum"]),
            Peer::NodeSse => self.node("sse.mjs", &[]),
            Peer::Ws => self.node("ws.mjs", &[]),
            Peer::SocketIo => self.node("socket-io.mjs", &[]),
            Peer::UWebSockets => self.node("uwebsockets.mjs", &[]),
            Peer::Wirewise | Peer::Express => bail!("{} is started otherwise", peer.name()),
        }
    }

    /// A server that is part of this program.
    fn own(&self, arguments: &[&str]) -> Result<Server> {
        let mut command = vec![env::current_exe().context("this program")?.into_os_string()];
        command.extend(arguments.iter().map(OsString::from));
        Server::start(&command, &self.options.work.join("server"))
    }

    fn node(&self, script: &str, arguments: &[OsString]) -> Result<Server> {
        let mut command = vec![
            "node".into(),
            self.options.node.join(script).into_os_string(),
        ];
        command.extend_from_slice(arguments);
        Server::start(&command, &self.options.work.join("server"))
    }
}

fn room(dialect: Dialect) -> Publisher {
    Publisher::Room { dialect, sent: 0 }
}
