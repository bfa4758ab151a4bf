//! A writer of the document: it types tokens, with a connection or without, and removes some of its own again.

use std::{net::SocketAddr, ops::Range};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    copy::{Connection, Copy, Lost},
    document::{DOCUMENT, Tally},
    document_checker::Typed,
    workloads::{Setting, random_ms},
};

/// The time between two tokens, in milliseconds.
const TYPE_MS: Range<u64> = 60..140;
/// One of so many edits removes a token.
const REMOVES_ONE_OF: u32 = 10;
/// How long a connection lives before it is cut, in milliseconds.
const LIFE_MS: Range<u64> = 300..8_000;
/// How long a writer stays away, in milliseconds. It types on meanwhile.
const AWAY_MS: Range<u64> = 20..1_500;

/// Where writers connect: a node, or the proxy.
pub struct Home {
    pub address: SocketAddr,
    pub writers: usize,
}

pub struct Writer {
    pub number: usize,
    pub address: SocketAddr,
    /// With a token the writer uses our subprotocol.
    pub token: Option<String>,
    pub setting: Setting,
    pub random: ChaCha8Rng,
    pub copy: Copy,
    pub typed: Typed,
    pub type_at: Instant,
    pub tally: Tally,
    /// Sends once, when nothing more is typed: how many bytes this writer typed that stay.
    pub has_typed: Option<mpsc::UnboundedSender<usize>>,
    /// Sends once, when the writer has what all typed, and was told that it is saved.
    pub is_complete: Option<mpsc::UnboundedSender<()>>,
    /// How many bytes all typed that stay, once that is known.
    pub expected: watch::Receiver<Option<usize>>,
    pub over: CancellationToken,
}

impl Writer {
    /// Types until nothing is broken any more, and stays until the end. Returns its number, what it typed and its text.
    pub async fn run(mut self) -> (usize, Typed, String) {
        while !self.over.is_cancelled() {
            let token = self.token.clone();
            let connecting = self.copy.connect(self.address, DOCUMENT, token.as_deref());
            if let Some(connection) = connecting.await {
                self.tally.connected();
                if let Err(why) = self.connected(connection).await {
                    self.tally.lost(why);
                }
            }
            self.away().await;
        }
        (self.number, self.typed, self.copy.string())
    }

    /// Runs one connection; `Ok` where this writer ends it.
    async fn connected(&mut self, mut connection: Connection) -> Result<(), Lost> {
        let (mut phase, over) = (self.setting.phase.clone(), self.over.clone());
        let mut expected = self.expected.clone();
        let cut_at = Instant::now() + random_ms(&mut self.random, LIFE_MS);
        loop {
            let is_breaking = self.setting.is_breaking();
            self.report(&connection);
            tokio::select! {
                frame = connection.next() => connection.receive(frame?, &self.copy).await?,
                () = sleep_until(self.type_at), if is_breaking => {
                    let update = self.edit();
                    // What our page typed before the node said what it has goes with the answer to that.
                    if self.token.is_none() || connection.has_answered {
                        connection.send_update(&update).await?;
                    }
                }
                () = sleep_until(cut_at), if is_breaking => return Ok(()),
                _ = phase.changed() => {}
                _ = expected.changed() => {}
                () = over.cancelled() => return Ok(()),
            }
        }
    }

    async fn away(&mut self) {
        let (mut phase, over) = (self.setting.phase.clone(), self.over.clone());
        let back_at = Instant::now() + random_ms(&mut self.random, AWAY_MS);
        loop {
            let is_breaking = self.setting.is_breaking();
            tokio::select! {
                () = sleep_until(self.type_at), if is_breaking => drop(self.edit()),
                () = sleep_until(back_at) => return,
                _ = phase.changed() => {}
                () = over.cancelled() => return,
            }
        }
    }

    /// Types a token, or removes one. Returns the update.
    fn edit(&mut self) -> Vec<u8> {
        self.type_at = Instant::now() + random_ms(&mut self.random, TYPE_MS);
        let text = self.copy.string();
        if self.random.random_ratio(1, REMOVES_ONE_OF) && !self.typed.kept.is_empty() {
            let which = self.random.random_range(0..self.typed.kept.len());
            let token = self.typed.kept.swap_remove(which);
            // Each of its tokens stands in its own copy; if one does not, the check finds it there and everywhere.
            if let Some(at) = text.find(&token) {
                let update = self.copy.remove(at, token.len());
                self.typed.removed.push(token);
                return update;
            }
            self.typed.kept.push(token);
        }
        let number = self.typed.kept.len() + self.typed.removed.len();
        let token = format!("[{}.{number}]", self.number);
        // At a random place between two tokens, so that each of them stays whole.
        let at = self.random.random_range(0..=text.len());
        let between = text[at..].find(']').map_or(text.len(), |end| at + end + 1);
        let update = self.copy.insert(if at == 0 { 0 } else { between }, &token);
        self.typed.kept.push(token);
        update
    }

    fn report(&mut self, connection: &Connection) {
        if self.setting.is_breaking() {
            return;
        }
        if let Some(has_typed) = self.has_typed.take() {
            let _ = has_typed.send(self.typed.kept.iter().map(String::len).sum());
        }
        let expected = *self.expected.borrow();
        let has_all = expected.is_some_and(|expected| self.copy.length() == expected);
        let is_told = || connection.all_are_counted() && connection.all_is_covered(&self.copy);
        // A Yjs client is told nothing, but it has an answer and has given one.
        let is_synchronized = connection.has_answered && connection.is_answered;
        if has_all
            && is_synchronized
            && (self.token.is_none() || is_told())
            && let Some(is_complete) = self.is_complete.take()
        {
            let _ = is_complete.send(());
        }
    }
}
