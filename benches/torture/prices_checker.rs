//! Proves that a client of the prices saw each price once, in order, or was told that it begins anew. Knows nothing of the
//! server.
//!
//! The truth of an epoch is what all clients together have received of it. A stream may leave a price out only where a newer
//! price of the same symbol comes instead, because a reader that is behind is sent the newest price of each symbol. Both
//! would have come with one write, so the newer price has to come at once. A price that was missed before a resume and is
//! replayed is never left out.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Included},
    time::Duration,
};

use super::stream::{Hello, Place};

/// A newer price takes the place of one that was left out within this time: a slow machine may need it to read one write.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// What one client received.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub number: usize,
    /// `None`: all symbols.
    pub symbol: Option<String>,
    pub streams: Vec<Stream>,
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The last id that the client had.
    pub after: Option<Place>,
    pub hello: Hello,
    pub received: Vec<Received>,
    /// Since the beginning of the run.
    pub ended: Duration,
}

#[derive(Clone, Debug)]
pub struct Received {
    pub place: Place,
    /// Since the beginning of the run.
    pub at: Duration,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// All prices.
    Snapshot,
    Price {
        symbol: String,
        data: String,
    },
    /// An event without a price, which moves the position all the same.
    Other,
}

#[derive(Debug, Default)]
pub struct Report {
    pub epochs: usize,
    /// Prices of the truth.
    pub published: usize,
    pub received: usize,
    pub streams: usize,
    pub recovered: usize,
    /// Streams that began anew although the client came with a position of the same epoch.
    pub refused: usize,
    /// Prices for which a newer one came at once.
    pub conflated: usize,
    pub violations: Vec<String>,
}

/// The prices of an epoch by offset, with their symbols.
type Truth<'a> = BTreeMap<u64, (&'a str, &'a str)>;

pub fn check(clients: &[Client]) -> Report {
    let mut report = Report::default();
    let mut truth: HashMap<&str, Truth<'_>> = HashMap::new();
    for received in clients
        .iter()
        .flat_map(|client| &client.streams)
        .flat_map(|stream| &stream.received)
    {
        if let What::Price { symbol, data } = &received.what {
            report.received += 1;
            let (epoch, offset) = &received.place;
            let price = (symbol.as_str(), data.as_str());
            let of_epoch = truth.entry(epoch).or_default();
            if *of_epoch.entry(*offset).or_insert(price) != price {
                report
                    .violations
                    .push(format!("two prices have the id {epoch}-{offset}"));
            }
        }
    }
    report.epochs = truth.len();
    report.published = truth.values().map(BTreeMap::len).sum();
    for client in clients {
        Checked::new(client, &truth).run(&mut report);
    }
    report
}

/// A client while its streams are checked.
struct Checked<'a> {
    client: &'a Client,
    truth: &'a HashMap<&'a str, Truth<'a>>,
    /// The last id.
    position: Option<Place>,
    /// Prices that were left out, until a newer one of the same symbol comes: symbol, offset, and since when.
    left_out: Vec<(&'a str, u64, Duration)>,
}

impl<'a> Checked<'a> {
    fn new(client: &'a Client, truth: &'a HashMap<&'a str, Truth<'a>>) -> Self {
        Self {
            client,
            truth,
            position: None,
            left_out: vec![],
        }
    }

    fn run(mut self, report: &mut Report) {
        for stream in &self.client.streams {
            report.streams += 1;
            report.recovered += usize::from(stream.hello.recovered);
            if let Err(what) = self.stream(stream, report) {
                let number = self.client.number;
                report
                    .violations
                    .push(format!("prices, client {number}: {what}"));
                // Whatever follows would be found broken too.
                return;
            }
        }
    }

    fn stream(&mut self, stream: &'a Stream, report: &mut Report) -> Result<(), String> {
        let Stream { hello, after, .. } = stream;
        if *after != self.position {
            let position = &self.position;
            return Err(format!("came with {after:?}, its last id was {position:?}"));
        }
        let told = (hello.epoch.clone(), hello.offset);
        if hello.recovered && after.as_ref() != Some(&told) {
            return Err(format!("came with {after:?} and was recovered at {told:?}"));
        }
        if !hello.recovered && after.as_ref().is_some_and(|(epoch, _)| *epoch == told.0) {
            report.refused += 1;
        }
        // What was left out before a cut is replayed now.
        if let Some(first) = stream.received.first() {
            for (_, _, since) in &mut self.left_out {
                *since = first.at;
            }
        }
        let mut prices = 0;
        for (number, received) in stream.received.iter().enumerate() {
            let place = &received.place;
            if place.0 != told.0 {
                return Err(format!("{place:?} came on a stream of {}", told.0));
            }
            let is_snapshot = matches!(received.what, What::Snapshot);
            if is_snapshot == (hello.recovered || number > 0) {
                return Err(format!("{} of the stream is {received:?}", number + 1));
            }
            if is_snapshot {
                if *place != told {
                    return Err(format!("the snapshot is of {place:?}, not of {told:?}"));
                }
                self.left_out.clear();
                self.position = Some(told.clone());
                continue;
            }
            let is_replayed = hello.recovered && prices < hello.replayed;
            prices += usize::from(matches!(received.what, What::Price { .. }));
            self.passed(received, is_replayed, report)?;
            self.position = Some(place.clone());
        }
        self.superseded_by(stream.ended)
    }

    /// The position moves to that of an event.
    fn passed(
        &mut self,
        received: &'a Received,
        is_replayed: bool,
        report: &mut Report,
    ) -> Result<(), String> {
        let (epoch, offset) = &received.place;
        let last = self.position.as_ref().map_or(0, |(_, last)| *last);
        let is_price = matches!(received.what, What::Price { .. });
        // A heartbeat repeats the position where nothing has happened.
        if *offset < last || (is_price && *offset == last) {
            return Err(format!("{epoch}-{offset} came after {epoch}-{last}"));
        }
        self.superseded_by(received.at)?;
        if let What::Price { symbol, .. } = &received.what {
            let wanted = self.client.symbol.as_ref();
            if wanted.is_some_and(|wanted| wanted != symbol) {
                return Err(format!("{symbol} came, and is not among its symbols"));
            }
            self.left_out
                .retain(|(left_out, before, _)| left_out != symbol || before > offset);
        }
        let Some(truth) = self.truth.get(epoch.as_str()) else {
            return Ok(());
        };
        let upto = if is_price {
            Excluded(*offset)
        } else {
            Included(*offset)
        };
        // An empty range, as of a heartbeat that repeats the position, would panic.
        if last == *offset {
            return Ok(());
        }
        for (missed, (symbol, _)) in truth.range((Excluded(last), upto)) {
            let wanted = self.client.symbol.as_deref();
            if wanted.is_some_and(|wanted| wanted != *symbol) {
                continue;
            }
            if is_replayed {
                return Err(format!(
                    "was recovered, and {epoch}-{missed} is missing before {epoch}-{offset}"
                ));
            }
            report.conflated += 1;
            let newer =
                matches!(&received.what, What::Price { symbol: newer, .. } if newer == symbol);
            if !newer {
                self.left_out.push((symbol, *missed, received.at));
            }
        }
        Ok(())
    }

    /// Whatever was left out long before this time is missing.
    fn superseded_by(&self, now: Duration) -> Result<(), String> {
        let is_late = |(_, _, since): &&(&str, u64, Duration)| now.saturating_sub(*since) > AT_ONCE;
        match self.left_out.iter().find(is_late) {
            Some((symbol, missed, _)) => Err(format!(
                "the price {missed} of {symbol} was left out, and no newer one came at once"
            )),
            None => Ok(()),
        }
    }
}
