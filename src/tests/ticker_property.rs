//! Tests a running publisher with clients that drop, stall and change their symbols: no client ends with a price older
//! than the newest one of the server, and no event is received twice.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::Value;

use realtime::contract::StreamContract;
use wirewise::ticker::{
    message::{Listing, Quote, TickerEvents},
    page::choice::Subscription,
};

use crate::support::{Event, Events, Server};

const SYMBOLS: [&str; 6] = ["ACME", "BOLT", "INIT", "NULL", "TIDE", "ROAD"];

/// What a client does next.
#[derive(Clone, Debug)]
enum Step {
    /// Reads so many events, or fewer if it is up to date.
    Read(usize),
    /// Reads nothing while the publisher goes on.
    Stall,
    /// The connection breaks; the client resumes from its position.
    Drop,
    /// Selects other symbols, by the bits of this number; all symbols if it is zero.
    Change(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..80_usize).prop_map(Step::Read),
        2 => Just(Step::Stall),
        2 => Just(Step::Drop),
        2 => (0..64_u8).prop_map(Step::Change),
    ];
    proptest::collection::vec(step, 4..24)
}

struct Client<'a> {
    server: &'a Server,
    events: Events,
    /// The subscription as the page keeps it.
    subscription: Subscription,
    listings: Vec<Listing>,
    /// `None` selects all symbols.
    wanted: Option<BTreeSet<String>>,
    /// The newest price of each wanted symbol, and its time.
    prices: HashMap<String, (f64, u64)>,
    id: String,
    offset: u64,
}

impl<'a> Client<'a> {
    async fn new(server: &'a Server) -> Result<Self, TestCaseError> {
        let mut client = Self {
            server,
            events: server.stream(TickerEvents::ROUTE, &[]).await,
            subscription: Subscription::default(),
            listings: server.state.features.ticker.first_prices().listings,
            wanted: None,
            prices: HashMap::new(),
            id: String::new(),
            offset: 0,
        };
        client.opened(0).await?;
        Ok(client)
    }

    /// Reconnects at its position, with the symbols that it lacks as `added`.
    async fn connect(&mut self) -> Result<(), TestCaseError> {
        let request = self.subscription.want(self.wanted.clone(), &self.listings);
        if let Some(wanted) = &self.wanted {
            self.prices.retain(|symbol, _| wanted.contains(symbol));
        }
        let url = request.url();
        let mark = if url.contains('?') { '&' } else { '?' };
        let path = format!("{url}{mark}last_event_id={}", self.id);
        self.events = self.server.stream(&path, &[]).await;
        self.opened(request.added.len()).await
    }

    /// Reads the beginning of a stream: `hello` and, where it is due, the state.
    async fn opened(&mut self, lacking: usize) -> Result<(), TestCaseError> {
        let hello = self.events.expect("hello").await;
        let recovered = hello.data["recovered"] == true;
        let replayed = hello.data["replayed"].as_u64().unwrap();
        self.subscription.greeted(recovered, replayed as usize);
        if recovered {
            prop_assert_eq!(hello.id.as_deref(), Some(self.id.as_str()));
        }
        if !recovered || lacking > 0 {
            let snapshot = self.events.expect("snapshot").await;
            let quotes = snapshot.data["quotes"].as_array().unwrap();
            if recovered {
                prop_assert_eq!(quotes.len(), lacking);
            } else {
                self.prices.clear();
            }
            self.subscription.state_received();
            for quote in quotes {
                let (before, at) = self.record(quote)?;
                prop_assert!(before <= at, "a state of {at} after {before}");
            }
            self.offset = snapshot.offset();
            self.id = snapshot.id.unwrap();
        }
        Ok(())
    }

    fn receive(&mut self, event: Event) -> Result<(), TestCaseError> {
        prop_assert!(
            event.offset() > self.offset || event.name == "heartbeat",
            "{} after {}",
            event.offset(),
            self.offset
        );
        prop_assert!(event.offset() >= self.offset);
        self.offset = event.offset();
        self.id = event.id.clone().unwrap();
        if event.name == "price" {
            self.subscription.price_received();
            let (before, at) = self.record(&event.data)?;
            prop_assert!(before < at, "a price of {at} after {before}");
        }
        Ok(())
    }

    /// Records a price, which must be of a selected symbol. Returns the time of the price before it, and its own.
    fn record(&mut self, quote: &Value) -> Result<(u64, u64), TestCaseError> {
        let symbol = quote["symbol"].as_str().unwrap().to_owned();
        let price = quote["price"].as_f64().unwrap();
        let at = quote["at"].as_u64().unwrap();
        let wanted = &self.wanted;
        prop_assert!(
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&symbol))
        );
        let before = self.prices.insert(symbol, (price, at));
        Ok((before.map_or(0, |(_, before)| before), at))
    }

    /// Whether every price that is published by now, and selected, was received.
    fn is_up_to_date(&self) -> bool {
        let first = self.server.state.features.ticker.first_prices();
        let wanted = |quote: &Quote| {
            let wanted = self.wanted.as_ref();
            wanted.is_none_or(|wanted| wanted.contains(&quote.symbol))
        };
        let newest = first.quotes.into_iter().filter(wanted);
        newest
            .map(|quote| (quote.symbol, quote.price))
            .all(|(symbol, price)| self.prices.get(&symbol).map(|held| held.0) == Some(price))
    }

    async fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Read(most) => {
                for _ in 0..most {
                    if self.is_up_to_date() {
                        break;
                    }
                    let event = self.events.next().await.expect("the stream goes on");
                    self.receive(event)?;
                }
                Ok(())
            }
            Step::Stall => {
                let from = self
                    .server
                    .state
                    .features
                    .ticker
                    .first_prices()
                    .position
                    .offset;
                while self
                    .server
                    .state
                    .features
                    .ticker
                    .first_prices()
                    .position
                    .offset
                    < from + 1_500
                {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Step::Drop => self.connect().await,
            Step::Change(bits) => {
                let picked = SYMBOLS
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| bits & (1 << bit) != 0);
                let picked: BTreeSet<String> =
                    picked.map(|(_, symbol)| symbol.to_string()).collect();
                self.wanted = (!picked.is_empty()).then_some(picked);
                self.connect().await
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_client_of_a_running_publisher_ends_with_an_old_price(steps in steps(), history in 50..3_000_u32) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Arc::new(Server::with(|settings| settings.history = history).await);
            let enough = Arc::new(AtomicBool::new(false));
            let publisher = tokio::spawn({
                let (server, enough) = (server.clone(), enough.clone());
                async move {
                    while !enough.load(Ordering::Relaxed) {
                        server.step(2);
                        tokio::task::yield_now().await;
                    }
                }
            });
            let run = async {
                let mut client = Client::new(&server).await?;
                for step in steps {
                    client.run(step).await?;
                }
                Ok::<_, TestCaseError>(client)
            };
            let run = run.await;
            // Set even after a failure, or the publisher would never stop.
            enough.store(true, Ordering::Relaxed);
            publisher.await.unwrap();
            let mut client = run?;
            while !client.is_up_to_date() {
                let event = client.events.next().await.expect("the stream goes on");
                client.receive(event)?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
