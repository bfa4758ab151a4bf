//! Documents at a cluster: one that writers at all nodes type into, and some on which one visitor follows the other.
//!
//! What a writer typed is never lost, because it sends again what a node lacks. So the writers prove that all copies become
//! one, and not that what is said to be saved is. The visitors prove that: each types one token, leaves for good as soon as
//! it is told that the token is saved, and forgets everything. Nobody is there who could send it again.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    copy::{Copy, Lost},
    document_checker::{Typed, check},
    document_visitors::visit_often,
    document_writer::{Home, Writer},
    socket::guest,
    workloads::{Outcome, Setting},
};

pub const DOCUMENT: &str = "torture";
const WRITERS_AT_EACH_NODE: usize = 2;
/// These come to another node with each connection.
const WRITERS_THAT_MOVE: usize = 2;
/// Documents with visitors, one at a time.
const VISITED: usize = 3;
/// Once nothing is broken any more all copies are equal within this time.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);
/// Between two attempts to reach a node.
const RETRY: Duration = Duration::from_millis(200);
/// The ids of the clients that only read.
const READERS: std::ops::Range<u64> = 1 << 40..1 << 41;

/// What all who take part have in common.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    connections: usize,
    /// Closes by code; 0 stands for a connection that broke.
    closed: BTreeMap<u16, usize>,
    violations: Vec<String>,
}

/// The documents at the end: their names, and what was typed into each and its text.
pub type Texts = Vec<(String, Vec<Typed>, String)>;

pub struct Document {
    setting: Setting,
    writers: Vec<Writer>,
    tally: Tally,
    token: String,
    random: ChaCha8Rng,
    typed: mpsc::UnboundedReceiver<usize>,
    complete: mpsc::UnboundedReceiver<()>,
    length: watch::Sender<Option<usize>>,
    over: CancellationToken,
}

impl Document {
    pub async fn new(setting: &Setting, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let tally = Tally::default();
        let (has_typed, typed) = mpsc::unbounded_channel();
        let (is_complete, complete) = mpsc::unbounded_channel();
        let (length, expected) = watch::channel(None);
        let over = CancellationToken::new();
        let nodes = setting.nodes.iter().map(|node| Home {
            address: *node,
            writers: WRITERS_AT_EACH_NODE,
        });
        let proxy = Home {
            address: setting.proxy,
            writers: WRITERS_THAT_MOVE,
        };
        let mut writers = vec![];
        for Home {
            address,
            writers: count,
        } in nodes.chain([proxy])
        {
            for number in 0..count {
                writers.push(Writer {
                    number: writers.len(),
                    address,
                    // One of two uses our subprotocol, and is told what is saved.
                    token: match number % 2 {
                        0 => Some(guest(setting.proxy).await),
                        _ => None,
                    },
                    setting: setting.clone(),
                    random: ChaCha8Rng::from_rng(&mut random),
                    copy: Copy::new(writers.len() as u64 + 1),
                    typed: Typed::default(),
                    type_at: Instant::now(),
                    tally: tally.clone(),
                    has_typed: Some(has_typed.clone()),
                    is_complete: Some(is_complete.clone()),
                    expected: expected.clone(),
                    over: over.clone(),
                });
            }
        }
        Self {
            setting: setting.clone(),
            writers,
            tally,
            token: guest(setting.proxy).await,
            random,
            typed,
            complete,
            length,
            over,
        }
    }

    pub async fn run(mut self) -> (Outcome, Texts) {
        let mut visited = JoinSet::new();
        for number in 0..VISITED {
            visited.spawn(visit_often(
                number,
                self.setting.clone(),
                self.token.clone(),
                ChaCha8Rng::from_rng(&mut self.random),
                self.tally.clone(),
            ));
        }
        let mut writers = JoinSet::new();
        let count = self.writers.len();
        for writer in self.writers.drain(..) {
            writers.spawn(writer.run());
        }
        self.setting.mended().await;
        let is_settled = timeout(SETTLE_WITHIN, async {
            let mut length = 0;
            for _ in 0..count {
                length += self.typed.recv().await.unwrap_or_default();
            }
            self.length.send_replace(Some(length));
            for _ in 0..count {
                self.complete.recv().await;
            }
        });
        let is_settled = is_settled.await.is_ok();
        self.over.cancel();
        let (mut typed, mut texts) = (vec![], vec![]);
        for (number, of_writer, text) in writers.join_all().await {
            texts.push((format!("writer {number}"), text));
            typed.push(of_writer);
        }
        let visited = visited.join_all().await;
        let counts = std::mem::take(&mut *self.tally.counts());
        let mut violations = counts.violations;
        if !is_settled {
            violations.push(format!(
                "not all writers had everything, and were told so, within {SETTLE_WITHIN:?} of quiet"
            ));
        }
        let sum = |typed: &[Typed], of: fn(&Typed) -> usize| typed.iter().map(of).sum::<usize>();
        let of_visitors: Vec<Typed> = visited.iter().map(|(_, typed)| typed.clone()).collect();
        let mut summary = format!(
            "document: {} tokens typed and {} removed by {count} writers; {} saved and {} doubtful of visitors to {VISITED} documents; {} connections, closes by code (0: broken): {:?}",
            sum(&typed, |typed| typed.kept.len() + typed.removed.len()),
            sum(&typed, |typed| typed.removed.len()),
            sum(&of_visitors, |typed| typed.kept.len()),
            sum(&of_visitors, |typed| typed.doubtful.len()),
            counts.connections,
            counts.closed,
        );
        let mut all = vec![(DOCUMENT.to_owned(), typed, texts)];
        for (document, typed) in visited {
            all.push((document, vec![typed], vec![]));
        }
        let mut at_last: Texts = vec![];
        let deadline = Instant::now() + SETTLE_WITHIN;
        for (document, typed, mut texts) in all {
            for node in &self.setting.nodes {
                let expected = texts
                    .first()
                    .map(|(_, text): &(String, String)| text.clone());
                let text = read(*node, &document, &typed, expected.as_deref(), deadline).await;
                texts.push((format!("node {node}"), text));
            }
            for node in &self.setting.nodes {
                let place = format!("the page of node {node}");
                let page = page(*node, &document).await;
                // A page that holds the text shows it as it is: no character of it has another form in HTML.
                if !page.contains(&texts[0].1) {
                    violations.push(format!("{document}: {place} does not show the text"));
                }
            }
            let found = check(&typed, &texts);
            violations.extend(found.iter().map(|what| format!("{document}: {what}")));
            let text = texts.swap_remove(0).1;
            at_last.push((document, typed, text));
        }
        summary.push_str(&format!("; {} bytes at each node", at_last[0].2.len()));
        let outcome = Outcome {
            summary,
            violations: violations
                .iter()
                .map(|what| format!("document {what}"))
                .collect(),
        };
        (outcome, at_last)
    }
}

pub fn visited_document(number: usize) -> String {
    format!("visited-{number}")
}

/// Compares the documents with what a node serves that has just begun with nothing.
pub async fn compare(node: SocketAddr, documents: &Texts) -> Vec<String> {
    let mut found = vec![];
    for (document, typed, expected) in documents {
        let deadline = Instant::now() + SETTLE_WITHIN;
        let text = read(node, document, typed, Some(expected), deadline).await;
        let texts = [
            ("the others".to_owned(), expected.clone()),
            ("a new node".to_owned(), text),
        ];
        let differences = check(typed, &texts);
        found.extend(
            differences
                .iter()
                .map(|what| format!("document {document}: {what}")),
        );
    }
    found
}

/// The text that a node serves to a client that has nothing, once it is the expected one, or once it is right; or as it is
/// at the deadline.
async fn read(
    node: SocketAddr,
    document: &str,
    typed: &[Typed],
    expected: Option<&str>,
    deadline: Instant,
) -> String {
    let is_right = |text: String| match expected {
        Some(expected) => text == expected,
        None => check(typed, &[(String::new(), text)]).is_empty(),
    };
    loop {
        let copy = Copy::new(rand::rng().random_range(READERS));
        if let Some(mut connection) = copy.connect(node, document, None).await {
            while let Ok(Ok(frame)) = timeout_at(deadline, connection.next()).await {
                let received = connection.receive(frame, &copy).await;
                if received.is_err() || (connection.is_answered && is_right(copy.string())) {
                    break;
                }
            }
        }
        if is_right(copy.string()) || Instant::now() > deadline {
            return copy.string();
        }
        sleep(RETRY).await;
    }
}

async fn page(node: SocketAddr, document: &str) -> String {
    let url = format!("http://{node}/collab/{document}");
    match reqwest::get(url).await {
        Ok(page) => page.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

impl Tally {
    pub fn connected(&self) {
        self.counts().connections += 1;
    }

    pub fn lost(&self, why: Lost) {
        let mut counts = self.counts();
        let code = match why {
            Lost::Broken => 0,
            Lost::Closed(code) => code,
            // As long as NATS is away, more may wait than a node holds.
            Lost::Refused(event) if event["code"] == "unavailable" => return,
            Lost::Refused(event) => {
                counts.violations.push(format!("refused: {event}"));
                return;
            }
        };
        *counts.closed.entry(code).or_default() += 1;
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
