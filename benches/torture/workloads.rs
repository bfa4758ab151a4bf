//! What runs beside the chat at a cluster, under the same faults: a document, prices, jobs and pointers.

use std::{net::SocketAddr, ops::Range, time::Duration};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    client::Phase,
    document::{self, Texts},
    jobs, pointers, prices,
};

/// The cluster as the workloads see it.
#[derive(Clone)]
pub struct Setting {
    /// The proxy, which chooses a node for each connection.
    pub proxy: SocketAddr,
    pub nodes: Vec<SocketAddr>,
    pub phase: watch::Receiver<Phase>,
}

/// What a workload did, as a line, and what was wrong.
pub struct Outcome {
    pub summary: String,
    pub violations: Vec<String>,
}

pub struct Workloads {
    document: JoinHandle<(Outcome, Texts)>,
    others: Vec<JoinHandle<Outcome>>,
}

impl Setting {
    /// Whether faults are caused still.
    pub fn is_breaking(&self) -> bool {
        *self.phase.borrow() == Phase::Breaking
    }

    /// Resolves when nothing is broken any more.
    pub async fn mended(&mut self) {
        let is_mended = |phase: &Phase| *phase != Phase::Breaking;
        // The phase ends with the run.
        let _ = self.phase.wait_for(is_mended).await;
    }
}

impl Workloads {
    pub async fn start(setting: &Setting, random: &mut ChaCha8Rng) -> Self {
        let mut seed = || random.random();
        let document = document::Document::new(setting, seed()).await;
        let prices = prices::run(setting.clone(), seed());
        let jobs = jobs::Jobs::new(setting, seed()).await;
        let pointers = pointers::Pointers::new(setting, seed()).await;
        Self {
            document: tokio::spawn(document.run()),
            others: vec![
                tokio::spawn(prices),
                tokio::spawn(jobs.run()),
                tokio::spawn(pointers.run()),
            ],
        }
    }

    /// The outcomes, and the texts that every node has now. Each workload bounds how long it takes once nothing is broken.
    pub async fn finish(self) -> (Vec<Outcome>, Texts) {
        let finished = "a workload reports, it does not fail";
        let (outcome, texts) = self.document.await.expect(finished);
        let mut outcomes = vec![outcome];
        for other in self.others {
            outcomes.push(other.await.expect(finished));
        }
        (outcomes, texts)
    }
}

/// A random time.
pub fn random_ms(random: &mut ChaCha8Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
