//! A feed that replays a CSV file with the columns `timestamp,symbol,price[,volume]` at a given speed, in a loop.
//!
//! A price gets the time at which it is replayed. The file's own times only determine the intervals between prices.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use csv::{ReaderBuilder, StringRecord, Trim};
use futures::{FutureExt, future::BoxFuture};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use tokio::time::{Instant, sleep_until};

use super::{Feed, News, number, quote, symbol};
use crate::ticker::message::{Listing, Quote, decimals};
use realtime::server::now_ms;

/// The pause between the last price of a round and the first of the next.
const PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of prices that are published at once. More follow in the next batch, so that a fast replay does
/// not starve other tasks.
const BATCH: usize = 1_000;
/// The maximum number of bad rows that are logged one by one; the rest is only counted.
const REPORTED: usize = 20;

/// The rows of the file, and the position of the replay in them.
#[derive(Debug)]
pub struct Replay {
    rows: Vec<Row>,
    symbols: Vec<Listing>,
    /// The speed, as a multiple of real time.
    speed: f64,
    next: usize,
    /// When the first row of this round was due.
    began: Option<Instant>,
    /// The first price of each symbol in this round, and its volume since then.
    day: HashMap<usize, (f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    /// Unix milliseconds.
    at: i64,
    /// An index in `symbols`.
    symbol: usize,
    price: f64,
    volume: f64,
}

/// A row that cannot be used.
#[derive(Debug, PartialEq, Eq)]
struct BadRow {
    line: u64,
    reason: String,
}

impl Replay {
    /// Reads the file. Bad rows are logged and skipped. The error is a sentence.
    pub fn open(file: &Path, speed: f64) -> Result<Self, String> {
        let bytes = std::fs::read(file)
            .map_err(|error| format!("The replay file {} cannot be read: {error}. Name another with --feed replay:FILE.csv.", file.display()))?;
        let (replay, bad) = Self::read(&bytes, speed)
            .map_err(|error| format!("The replay file {} {error}", file.display()))?;
        for BadRow { line, reason } in bad.iter().take(REPORTED) {
            tracing::warn!(file = %file.display(), line, reason, "a row of the replay file is skipped");
        }
        if bad.len() > REPORTED {
            tracing::warn!(file = %file.display(), rows = bad.len() - REPORTED, "more rows of the replay file are skipped");
        }
        Ok(replay)
    }

    fn read(bytes: &[u8], speed: f64) -> Result<(Self, Vec<BadRow>), String> {
        // A byte order mark would become part of the first column's name.
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut reader = ReaderBuilder::new()
            .trim(Trim::All)
            .flexible(true)
            .from_reader(bytes);
        let header = reader
            .headers()
            .map_err(|error| format!("has no header that can be read: {error}."))?;
        let columns = Columns::find(header)?;
        let (mut rows, mut bad) = (vec![], vec![]);
        let mut lines = Lines {
            bytes,
            counted_to: 0,
            line: 1,
        };
        let mut indices = BTreeMap::new();
        let mut symbols: Vec<Listing> = vec![];
        for record in reader.records() {
            let read = match &record {
                Ok(record) => columns
                    .read(record)
                    .map_err(|reason| (record.position(), reason)),
                Err(error) => Err((error.position(), error.to_string())),
            };
            match read {
                Ok((at, name, price, volume)) => {
                    let index = *indices.entry(name.clone()).or_insert(symbols.len());
                    if index == symbols.len() {
                        symbols.push(Listing {
                            name: name.clone(),
                            symbol: name,
                            decimals: 2,
                        });
                    }
                    symbols[index].decimals = symbols[index].decimals.max(decimals(price));
                    rows.push(Row {
                        at,
                        symbol: index,
                        price,
                        volume,
                    });
                }
                Err((position, reason)) => bad.push(BadRow {
                    line: lines.of(position),
                    reason,
                }),
            }
        }
        if rows.is_empty() {
            let first = bad.first().map_or(String::new(), |bad| {
                format!(" The first is line {}: {}.", bad.line, bad.reason)
            });
            return Err(format!(
                "holds no good row ({} bad ones).{first}",
                bad.len()
            ));
        }
        // Stable: rows of the same time keep the order of the file.
        rows.sort_by_key(|row| row.at);
        let replay = Self {
            rows,
            symbols,
            speed,
            next: 0,
            began: None,
            day: HashMap::new(),
        };
        Ok((replay, bad))
    }

    /// The time between the first row and this one.
    fn due_after(&self, row: usize) -> Duration {
        let milliseconds = self.rows[row].at.abs_diff(self.rows[0].at) as f64;
        // The time overflows for a file that spans centuries at a low speed, which is as good as endless.
        Duration::try_from_secs_f64(milliseconds / 1_000.0 / self.speed)
            .unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
    }

    fn quote(&mut self, row: Row, at: u64) -> Quote {
        let (open, volume) = self.day.entry(row.symbol).or_insert((row.price, 0.0));
        *volume += row.volume;
        let symbol = &self.symbols[row.symbol].symbol;
        quote(symbol, row.price, *open, *volume, at)
    }

    async fn due(&mut self) -> Vec<Quote> {
        if self.next == self.rows.len() {
            self.next = 0;
            self.day.clear();
            self.began = Some(Instant::now() + PAUSE);
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        sleep_until(began + self.due_after(self.next)).await;
        // A replay that is always behind would otherwise never yield.
        tokio::task::yield_now().await;
        let (now, at) = (Instant::now(), now_ms());
        let mut quotes = vec![];
        while quotes.len() < BATCH
            && self.next < self.rows.len()
            && began + self.due_after(self.next) <= now
        {
            quotes.push(self.quote(self.rows[self.next], at));
            self.next += 1;
        }
        quotes
    }
}

impl Feed for Replay {
    fn listings(&self) -> Vec<Listing> {
        self.symbols.clone()
    }

    fn next(&mut self) -> BoxFuture<'_, News> {
        self.due().map(News::Prices).boxed()
    }
}

/// Counts lines. The reader's own count stops at the end of the previous line, or of the last line that was not empty.
struct Lines<'a> {
    bytes: &'a [u8],
    counted_to: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the row at the reader's position begins. Called for rows in their order.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let offset = position.map_or(self.counted_to, |position| position.byte() as usize);
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let breaks = rest
            .iter()
            .take_while(|byte| b"\r\n".contains(byte))
            .count();
        let passed = self
            .bytes
            .get(self.counted_to..offset + breaks)
            .unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counted_to = offset + breaks;
        self.line
    }
}

/// The index of each column.
struct Columns {
    timestamp: usize,
    symbol: usize,
    price: usize,
    volume: Option<usize>,
}

impl Columns {
    fn find(header: &StringRecord) -> Result<Self, String> {
        let index = |name: &str| {
            header
                .iter()
                .position(|column| column.eq_ignore_ascii_case(name))
        };
        let needed = |name: &str| {
            index(name).ok_or_else(|| {
                format!("has no column {name}: its first line names timestamp, symbol, price and perhaps volume, in any order.")
            })
        };
        Ok(Self {
            timestamp: needed("timestamp")?,
            symbol: needed("symbol")?,
            price: needed("price")?,
            volume: index("volume"),
        })
    }

    fn read(&self, record: &StringRecord) -> Result<(i64, String, f64, f64), String> {
        let field = |index: usize, name: &str| {
            record
                .get(index)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("it has no {name}"))
        };
        let at = milliseconds(field(self.timestamp, "timestamp")?)?;
        let symbol = symbol(field(self.symbol, "symbol")?)?;
        let price = number(field(self.price, "price")?)
            .filter(|price| *price > 0.0)
            .ok_or("a price is a number above 0")?;
        let volume = match self.volume.and_then(|index| record.get(index)) {
            None | Some("") => 0.0,
            Some(text) => number(text)
                .filter(|volume| *volume >= 0.0)
                .ok_or("a volume is a number from 0")?,
        };
        Ok((at, symbol, price, volume))
    }
}

/// Parses Unix seconds or milliseconds, or a date and time of RFC 3339, into Unix milliseconds. Without a zone the time
/// is UTC.
fn milliseconds(text: &str) -> Result<i64, String> {
    /// Seconds are below this until the year 5138, milliseconds above it since 1973.
    const SECONDS_BELOW: f64 = 1e11;
    if let Some(number) = number(text) {
        let scale = if number.abs() < SECONDS_BELOW {
            1_000.0
        } else {
            1.0
        };
        return Ok((number * scale) as i64);
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    text.parse::<DateTime>()
        .and_then(|civil| civil.to_zoned_datetime(TimeZone::UTC))
        .map(|zoned| zoned.timestamp().as_millisecond())
        .map_err(|_| {
            "a timestamp is Unix seconds or milliseconds, or as in 2024-05-01T14:30:00Z".into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "symbol,price,timestamp,volume\nAAA,10,100,5\nBBB,2.125,101,\n aaa , 11 ,102.5,7\n";

    fn replay(text: &str, speed: f64) -> (Replay, Vec<BadRow>) {
        Replay::read(text.as_bytes(), speed).unwrap()
    }

    #[test]
    fn columns_stand_in_any_order_and_volume_may_be_missing() {
        let (one, bad) = replay(GOOD, 1.0);
        assert_eq!(bad, []);
        let prices: Vec<(i64, f64, f64)> = one
            .rows
            .iter()
            .map(|row| (row.at, row.price, row.volume))
            .collect();
        assert_eq!(
            prices,
            [
                (100_000, 10.0, 5.0),
                (101_000, 2.125, 0.0),
                (102_500, 11.0, 7.0)
            ]
        );
        let listed: Vec<(&str, u8)> = one
            .symbols
            .iter()
            .map(|listing| (listing.symbol.as_str(), listing.decimals))
            .collect();
        assert_eq!(listed, [("AAA", 2), ("BBB", 3)]);
        let (two, _) = replay("\u{feff}Timestamp,SYMBOL,Price\r\n100,AAA,10\r\n", 1.0);
        assert_eq!(two.rows.len(), 1);
    }

    #[test]
    fn times_are_unix_or_rfc_3339_and_rows_are_sorted_by_them() {
        let (replay, bad) = replay(
            "timestamp,symbol,price\n2024-05-01T14:30:00Z,A,3\n1714573799000,A,2\n1714573798,A,1\n2024-05-01 14:30:01,A,4\n2024-05-01,A,0.5\n",
            1.0,
        );
        assert_eq!(bad, []);
        let prices: Vec<f64> = replay.rows.iter().map(|row| row.price).collect();
        assert_eq!(prices, [0.5, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_bad_row_is_reported_with_its_line_and_skipped() {
        let text = "timestamp,symbol,price,volume\n100,AAA,10,1\nsoon,AAA,10,1\n101,,10,1\n102,AAA,-3,1\n103,AAA,NaN,1\n104,AAA\n\n105,AAA,11,many\n106,A A,1,1\n107,AAA,12\n";
        let (replay, bad) = replay(text, 1.0);
        assert_eq!(replay.rows.len(), 2);
        let lines: Vec<u64> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 9, 10]);
        assert!(bad[0].reason.contains("a timestamp is"), "{bad:?}");
        assert_eq!(bad[1].reason, "it has no symbol");
        assert_eq!(bad[2].reason, "a price is a number above 0");
        let (_, bad) = self::replay(
            "timestamp,symbol,price\r\n1,A,1\r\n\r\nsoon,A,1\r\n2,A,x\r\n",
            1.0,
        );
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [4, 5]);
        let (replay, bad) =
            Replay::read(b"timestamp,symbol,price\n1,\xFF\xFE,2\n1,A,2\n", 1.0).unwrap();
        assert_eq!((replay.rows.len(), bad.len(), bad[0].line), (1, 1, 2));
    }

    #[test]
    fn a_file_without_one_good_row_is_refused_in_words() {
        for (text, needle) in [
            ("", "no column timestamp"),
            ("timestamp,symbol\n1,A\n", "no column price"),
            ("timestamp,symbol,price\n", "holds no good row"),
            ("timestamp,symbol,price\n1,A,free\n", "line 2"),
        ] {
            let error = Replay::read(text.as_bytes(), 1.0).unwrap_err();
            assert!(error.contains(needle), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_are_replayed_at_the_given_speed_in_a_loop() {
        let (mut replay, _) = replay(GOOD, 2.0);
        let began = Instant::now();
        let mut seen = vec![];
        for _ in 0..4 {
            let quotes = replay.due().await;
            seen.extend(quotes.into_iter().map(|quote| {
                (
                    began.elapsed().as_millis(),
                    quote.symbol,
                    quote.price,
                    quote.change,
                    quote.volume,
                )
            }));
        }
        let seen: Vec<_> = seen
            .iter()
            .map(|(at, symbol, price, change, volume)| {
                (*at, symbol.as_str(), *price, *change, *volume)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (0, "AAA", 10.0, 0.0, 5.0),
                (500, "BBB", 2.125, 0.0, 0.0),
                (1_250, "AAA", 11.0, 1.0, 12.0),
                // After a pause of a second the next round begins, and with it the day.
                (2_250, "AAA", 10.0, 0.0, 5.0),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_faster_than_its_clock_is_published_in_batches() {
        let rows: String = (0..2_500)
            .map(|row| format!("{row},A,{}\n", row + 1))
            .collect();
        let (mut replay, _) = replay(&format!("timestamp,symbol,price\n{rows}"), 1e9);
        let lengths = [
            replay.due().await.len(),
            replay.due().await.len(),
            replay.due().await.len(),
        ];
        assert!(
            lengths.iter().all(|length| (1..=BATCH).contains(length)),
            "{lengths:?}"
        );
    }
}
