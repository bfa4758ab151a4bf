//! Jobs at a cluster: started through the proxy, and watched by clients that come to another node with each connection.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, time::Duration};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use reqwest::Client as Http;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    jobs_checker::{self, Event, Stream, Watch},
    socket::guest,
    stream::{self, Answer, EventStream, Hello, Place},
    workloads::{Outcome, Setting, random_ms},
};

/// Five seconds, so that faults come while a job runs, and a few run at the same time at each node.
const FORM: &str = "kind=countdown&steps=100&step_ms=50";
const START_MS: Range<u64> = 800..1_600;
const WATCHERS: usize = 2;
/// How long a stream lives before it is cut, in milliseconds.
const LIFE_MS: Range<u64> = 200..3_000;
const AWAY_MS: Range<u64> = 20..300;
/// The limit for a start. Caddy waits 10 s for a node that takes it.
const START_WITHIN: Duration = Duration::from_secs(15);
/// A job whose node dies has failed within 30 s. As long again is for a slow machine.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
/// How often the nodes are asked again while they do not agree.
const ASK_EVERY: Duration = Duration::from_millis(500);

pub struct Jobs {
    setting: Setting,
    http: Http,
    token: String,
    random: ChaCha8Rng,
}

struct Watcher {
    setting: Setting,
    http: Http,
    token: String,
    random: ChaCha8Rng,
    /// The last id.
    last: Option<Place>,
    watch: Watch,
}

impl Jobs {
    pub async fn new(setting: &Setting, seed: u64) -> Self {
        Self {
            setting: setting.clone(),
            http: Http::new(),
            token: guest(setting.proxy).await,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    pub async fn run(mut self) -> Outcome {
        let (mut started, mut unanswered) = (vec![], 0);
        let mut watchers = JoinSet::new();
        while self.setting.is_breaking() {
            match self.start().await {
                Some(job) => {
                    for _ in 0..WATCHERS {
                        watchers.spawn(self.watcher(&job).run());
                    }
                    started.push(job);
                }
                None => unanswered += 1,
            }
            sleep(random_ms(&mut self.random, START_MS)).await;
        }
        let watches = watchers.join_all().await;
        let views = self.views(&started).await;
        let mut report = jobs_checker::check(&watches, &views);
        for job in started.iter().filter(|job| !views.contains_key(*job)) {
            report
                .violations
                .push(format!("job {job}: not all nodes know it"));
        }
        let ends: Vec<_> = report
            .ends
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        Outcome {
            summary: format!(
                "jobs: {} started ({unanswered} starts without a job), ended: {}; {} watchers, {} streams ({} recovered, {} with an older state), {} events, {} ends told again, refused by status: {:?}",
                started.len(),
                ends.join(", "),
                watches.len(),
                report.streams,
                report.recovered,
                report.set_back,
                report.events,
                report.repeated,
                report.refused
            ),
            violations: report.violations,
        }
    }

    /// Starts a job. `None` where no node takes it, or the answer is lost; then nobody knows the job.
    async fn start(&self) -> Option<String> {
        let request = self
            .http
            .post(format!("http://{}/api/jobs/start", self.setting.proxy))
            .header("content-type", "application/x-www-form-urlencoded")
            .bearer_auth(&self.token)
            .body(FORM)
            .send();
        let answer = timeout(START_WITHIN, request).await.ok()?.ok()?;
        let started: Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some(started["id"].as_str()?.to_owned())
    }

    fn watcher(&mut self, job: &str) -> Watcher {
        Watcher {
            setting: self.setting.clone(),
            http: self.http.clone(),
            token: self.token.clone(),
            random: ChaCha8Rng::from_rng(&mut self.random),
            last: None,
            watch: Watch {
                job: job.to_owned(),
                ..Watch::default()
            },
        }
    }

    /// What the nodes say of each job that all of them know, once they agree, or after a while.
    async fn views(&self, jobs: &[String]) -> BTreeMap<String, Vec<Value>> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        let mut all = BTreeMap::new();
        for job in jobs {
            loop {
                let mut views = vec![];
                for node in &self.setting.nodes {
                    views.extend(self.view(*node, job).await);
                }
                let is_known = views.len() == self.setting.nodes.len();
                let agree = is_known && views.iter().all(|view| *view == views[0]);
                if agree || Instant::now() > deadline {
                    if is_known {
                        all.insert(job.clone(), views);
                    }
                    break;
                }
                sleep(ASK_EVERY).await;
            }
        }
        all
    }

    async fn view(&self, node: SocketAddr, job: &str) -> Option<Value> {
        let request = self.http.get(format!("http://{node}/api/jobs/{job}"));
        let answer = request.bearer_auth(&self.token).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }
}

impl Watcher {
    async fn run(mut self) -> Watch {
        let mut setting = self.setting.clone();
        let deadline = async {
            setting.mended().await;
            sleep(SETTLE_WITHIN).await;
        };
        tokio::select! {
            () = self.watch_to_the_end() => {}
            () = deadline => {}
        }
        self.watch
    }

    async fn watch_to_the_end(&mut self) {
        let (proxy, job) = (self.setting.proxy, &self.watch.job);
        let url = format!("http://{proxy}/api/jobs/{job}/events");
        loop {
            match stream::open(&self.http, &url, Some(&self.token), self.last.as_ref()).await {
                Answer::Stream(events) => self.read(*events).await,
                Answer::Finished => {
                    self.watch.finished = true;
                    return;
                }
                // The node that runs the job may be away, or this one may not have heard of it.
                Answer::Refused(status) => *self.watch.refused.entry(status).or_default() += 1,
                Answer::None => {}
            }
            sleep(random_ms(&mut self.random, AWAY_MS)).await;
        }
    }

    async fn read(&mut self, mut events: EventStream) {
        let cut_at = Instant::now() + random_ms(&mut self.random, LIFE_MS);
        loop {
            let received = match self.setting.is_breaking() {
                true => timeout_at(cut_at, events.next()).await.ok().flatten(),
                false => events.next().await,
            };
            let Some(received) = received else { return };
            if received.name == "hello" {
                self.watch.streams.push(Stream {
                    after: self.last.clone(),
                    hello: Hello::of(&received.data),
                    events: vec![],
                });
                continue;
            }
            // The kit's own events, which tell nothing of the job.
            if ["heartbeat", "drain"].contains(&received.name.as_str()) {
                continue;
            }
            let (Some(place), Some(stream)) = (received.place, self.watch.streams.last_mut())
            else {
                continue;
            };
            self.last = Some(place.clone());
            stream.events.push(Event {
                name: received.name,
                place,
                data: received.data,
            });
        }
    }
}
