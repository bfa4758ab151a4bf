//! Prices at a cluster: clients that come to another node with each connection, and remember the last id that they got.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use reqwest::Client as Http;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    prices_checker::{self, Client, Received, Stream, What},
    stream::{self, Answer, EventStream, Hello, Place},
    workloads::{Outcome, Setting, random_ms},
};

const CLIENTS: usize = 10;
/// Every third client has one symbol only.
const SYMBOL: &str = "ACME";
/// How long a stream lives before it is cut, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 300..5_000;
/// How long a client stays away, in milliseconds. Some prices are to be missed meanwhile.
const AWAY_MS: std::ops::Range<u64> = 20..2_000;
/// A node that owned the prices and died counts for 10 s. Then all get the prices of another one.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// Where each client is; `None` if it has received no price since the places were forgotten.
type Places = watch::Sender<Vec<Option<Place>>>;

struct Watcher {
    setting: Setting,
    http: Http,
    began: Instant,
    places: Places,
    over: CancellationToken,
    random: ChaCha8Rng,
    last: Option<Place>,
    client: Client,
}

pub async fn run(mut setting: Setting, seed: u64) -> Outcome {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let places = Places::new(vec![None; CLIENTS]);
    let over = CancellationToken::new();
    let mut watchers = JoinSet::new();
    for number in 0..CLIENTS {
        let watcher = Watcher {
            setting: setting.clone(),
            http: Http::new(),
            began: Instant::now(),
            places: places.clone(),
            over: over.clone(),
            random: ChaCha8Rng::from_rng(&mut random),
            last: None,
            client: Client {
                number,
                symbol: number.is_multiple_of(3).then(|| SYMBOL.to_owned()),
                streams: vec![],
            },
        };
        watchers.spawn(watcher.run());
    }
    setting.mended().await;
    let is_settled = timeout(SETTLE_WITHIN, settle(&places)).await.is_ok();
    let at_last = places.borrow().clone();
    over.cancel();
    let clients = watchers.join_all().await;
    let mut report = prices_checker::check(&clients);
    if !is_settled {
        report.violations.push(format!(
            "prices: the clients do not all get the same within {SETTLE_WITHIN:?} of quiet: {at_last:?}"
        ));
    }
    Outcome {
        summary: format!(
            "prices: {} published in {} epochs, {} received by {CLIENTS} clients ({} replaced by newer ones), {} streams ({} recovered, {} refused in the same epoch)",
            report.published,
            report.epochs,
            report.received,
            report.conflated,
            report.streams,
            report.recovered,
            report.refused
        ),
        violations: report.violations,
    }
}

/// Resolves when all clients get prices of one epoch, and each has come to where the first of them was.
async fn settle(places: &Places) {
    places.send_replace(vec![None; CLIENTS]);
    let mut changes = places.subscribe();
    let is_one = |places: &Vec<Option<Place>>| {
        let epoch = |place: &Option<Place>| place.as_ref().map(|(epoch, _)| epoch.clone());
        let first = epoch(&places[0]);
        first.is_some() && places.iter().all(|place| epoch(place) == first)
    };
    loop {
        // The sender is held by the caller, so it is not closed.
        let Ok(of_one) = changes.wait_for(is_one).await.map(|places| places.clone()) else {
            return;
        };
        let target = of_one.iter().flatten().map(|(_, offset)| *offset).max();
        let has_come = |place: &Place| Some(place.1) >= target;
        let arrived =
            |places: &Vec<Option<Place>>| !is_one(places) || places.iter().flatten().all(has_come);
        if changes
            .wait_for(arrived)
            .await
            .is_ok_and(|places| is_one(&places))
        {
            return;
        }
    }
}

impl Watcher {
    async fn run(mut self) -> Client {
        let query = self.client.symbol.as_ref();
        let query = query.map_or_else(String::new, |symbol| format!("?symbols={symbol}"));
        let proxy = self.setting.proxy;
        let url = format!("http://{proxy}/api/ticker/events{query}");
        let over = self.over.clone();
        while !over.is_cancelled() {
            let answer = tokio::select! {
                answer = stream::open(&self.http, &url, None, self.last.as_ref()) => answer,
                () = over.cancelled() => break,
            };
            if let Answer::Stream(events) = answer {
                self.read(*events).await;
            }
            sleep(random_ms(&mut self.random, AWAY_MS)).await;
        }
        self.client
    }

    async fn read(&mut self, mut events: EventStream) {
        let (mut phase, over) = (self.setting.phase.clone(), self.over.clone());
        let cut_at = Instant::now() + random_ms(&mut self.random, LIFE_MS);
        let mut stream = None::<Stream>;
        loop {
            let is_breaking = self.setting.is_breaking();
            let received = tokio::select! {
                received = events.next() => received,
                () = sleep_until(cut_at), if is_breaking => None,
                // The cut may no longer count.
                _ = phase.changed() => continue,
                () = over.cancelled() => None,
            };
            let Some(received) = received else { break };
            match &mut stream {
                None => {
                    assert_eq!(received.name, "hello", "a stream begins with hello");
                    stream = Some(Stream {
                        after: self.last.clone(),
                        hello: Hello::of(&received.data),
                        received: vec![],
                        ended: Duration::ZERO,
                    });
                }
                Some(stream) => self.event(received, stream),
            }
        }
        if let Some(mut stream) = stream {
            stream.ended = self.began.elapsed();
            self.client.streams.push(stream);
        }
    }

    fn event(&mut self, received: stream::Received, stream: &mut Stream) {
        let Some(place) = received.place else { return };
        let what = match received.name.as_str() {
            "snapshot" => What::Snapshot,
            "price" => What::Price {
                symbol: received.data["symbol"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                data: received.data.to_string(),
            },
            _ => What::Other,
        };
        if matches!(what, What::Price { .. }) {
            let number = self.client.number;
            self.places
                .send_modify(|places| places[number] = Some(place.clone()));
        }
        self.last = Some(place.clone());
        stream.received.push(Received {
            place,
            at: received.at.duration_since(self.began),
            what,
        });
    }
}
