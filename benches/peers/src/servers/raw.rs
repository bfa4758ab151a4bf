//! Raw TCP: what the kernel alone costs. No server that sends each event in a write of its own can cost less.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context, Result};

use super::{announce, block};

/// A fault that the checks of the benchmark must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Lose,
    Double,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Double => "double",
        }
    }
}

/// The delivery that is lost or doubled.
const FAULTY_DELIVERY: u64 = 10_007;

struct Subscribers {
    streams: Vec<TcpStream>,
    deliveries: u64,
    fault: Option<Fault>,
}

impl Subscribers {
    /// One write for each subscriber.
    fn send(&mut self, bytes: &[u8]) {
        let (deliveries, fault) = (&mut self.deliveries, self.fault);
        self.streams.retain_mut(|stream| {
            *deliveries += 1;
            let fault = fault.filter(|_| *deliveries == FAULTY_DELIVERY);
            if fault == Some(Fault::Double) && stream.write_all(bytes).is_err() {
                return false;
            }
            fault == Some(Fault::Lose) || stream.write_all(bytes).is_ok()
        });
    }
}

/// `joined`: events that came together go in one write.
pub fn serve(joined: bool, fault: Option<Fault>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let feed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    announce(listener.local_addr()?.port(), feed.local_addr()?.port());
    // Held for one round of writes. A panic of its holder ends the process.
    let subscribers = Arc::new(Mutex::new(Subscribers {
        streams: vec![],
        deliveries: 0,
        fault,
    }));
    let new = subscribers.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.set_nodelay(true).ok();
            let Ok(mut subscribers) = new.lock() else {
                return;
            };
            if stream.write_all(b"ready\n\n").is_ok() {
                subscribers.streams.push(stream);
            }
        }
    });
    let (mut source, _) = feed.accept()?;
    let mut buffer = vec![0; 64 * 1024];
    let mut rest = String::new();
    let mut sequence = 0;
    loop {
        let length = source.read(&mut buffer).context("the feed")?;
        if length == 0 {
            return Ok(());
        }
        rest.push_str(std::str::from_utf8(&buffer[..length])?);
        let Some(end) = rest.rfind('\n') else {
            continue;
        };
        let blocks = rest[..end].lines().map(|line| {
            sequence += 1;
            block(sequence, line)
        });
        let blocks: Vec<String> = blocks.collect();
        rest.drain(..=end);
        let Ok(mut subscribers) = subscribers.lock() else {
            return Ok(());
        };
        if joined {
            subscribers.send(blocks.concat().as_bytes());
        } else {
            blocks
                .iter()
                .for_each(|block| subscribers.send(block.as_bytes()));
        }
    }
}
