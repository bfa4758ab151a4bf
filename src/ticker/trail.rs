//! The last minutes of a price, one value for every few seconds, from which the charts are drawn. Pure.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ui::numbers::push_fixed;

/// The length of a bucket in milliseconds; each bucket has one value.
pub const BUCKET_MS: u64 = 3_000;
/// The number of values that are kept: four minutes.
pub const KEPT: usize = 80;

/// Prices of consecutive buckets, oldest first. A bucket without a price repeats the one before. Cheap to clone: the clones
/// share their prices and their lines until one of them changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trail(Arc<Line>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    /// The number of the first bucket, counted from 1970.
    first: u64,
    prices: Vec<f64>,
    /// What [`Trail::path`] returns for each [`PlotSize`].
    #[serde(skip)]
    paths: [OnceLock<String>; 2],
}

impl Serialize for Trail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Line::deserialize(deserializer).map(|line| Self(Arc::new(line)))
    }
}

/// Without the paths: a line is copied to be changed.
impl Clone for Line {
    fn clone(&self) -> Self {
        Self {
            first: self.first,
            prices: self.prices.clone(),
            paths: Default::default(),
        }
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first && self.prices == other.prices
    }
}

/// The box in which a trail is drawn.
#[derive(Clone, Copy, Debug)]
pub enum PlotSize {
    /// 80 by 20.
    Row,
    /// 800 by 200.
    Chart,
}

impl Trail {
    /// Adds the price at the time `at` (Unix milliseconds). Returns whether the trail changed.
    pub fn push(&mut self, at: u64, price: f64) -> bool {
        let bucket = at / BUCKET_MS;
        let last = self.0.first + (self.0.prices.len() as u64).saturating_sub(1);
        let newest = self.0.prices.last().copied();
        // The number of buckets after the newest one.
        let ahead = match (newest, bucket.checked_sub(last)) {
            (None, _) => 0,
            // Older than the newest bucket, because a clock went back: ignored.
            (Some(_), None) => return false,
            (Some(newest), Some(0)) if newest == price => return false,
            (Some(_), Some(ahead)) => ahead,
        };
        let line = Arc::make_mut(&mut self.0);
        line.paths = Default::default();
        match newest {
            None => (line.first, line.prices) = (bucket, vec![price]),
            Some(_) if ahead == 0 => {
                line.prices.pop();
                line.prices.push(price);
            }
            Some(newest) => {
                let empty_buckets = (ahead - 1).min(KEPT as u64) as usize;
                line.prices
                    .extend(std::iter::repeat_n(newest, empty_buckets));
                line.prices.push(price);
                line.prices.drain(..line.prices.len().saturating_sub(KEPT));
                line.first = bucket + 1 - line.prices.len() as u64;
            }
        }
        true
    }

    pub fn prices(&self) -> &[f64] {
        &self.0.prices
    }

    /// The start of the first bucket and the end of the last one (Unix milliseconds).
    pub fn span(&self) -> (u64, u64) {
        let first = self.0.first * BUCKET_MS;
        (first, first + self.0.prices.len() as u64 * BUCKET_MS)
    }

    /// The lowest and the highest value.
    pub fn range(&self) -> Option<(f64, f64)> {
        let prices = self.0.prices.iter().copied();
        prices.fold(None, |range, price| {
            let (low, high) = range.unwrap_or((price, price));
            Some((f64::min(low, price), f64::max(high, price)))
        })
    }

    /// The line as the `d` attribute of an SVG path. The newest value is at the right edge. It is drawn once, and then shared
    /// by the clones: a server draws it for every page.
    pub fn path(&self, size: PlotSize) -> String {
        let (kept, width, height) = match size {
            PlotSize::Row => (&self.0.paths[0], 80.0, 20.0),
            PlotSize::Chart => (&self.0.paths[1], 800.0, 200.0),
        };
        kept.get_or_init(|| self.draw(width, height)).clone()
    }

    fn draw(&self, width: f64, height: f64) -> String {
        let Some((low, high)) = self.range() else {
            return String::new();
        };
        let prices = self.prices();
        let step = width / (KEPT - 1) as f64;
        let left = width - step * (prices.len() - 1) as f64;
        // A price that did not change is a line in the middle.
        let scale = if high > low {
            height / (high - low)
        } else {
            0.0
        };
        let top = if high > low { 0.0 } else { height / 2.0 };
        let mut path = String::with_capacity(prices.len() * 12);
        for (index, price) in prices.iter().enumerate() {
            // From the highest price down, which stands at zero exactly and never at "-0.0".
            let (x, y) = (left + step * index as f64, top + (high - price) * scale);
            path.push(if index == 0 { 'M' } else { 'L' });
            push_fixed(&mut path, x, 1);
            path.push(' ');
            push_fixed(&mut path, y, 1);
        }
        // A single value is a point, which is invisible without a length.
        if prices.len() == 1 {
            path.push_str("h.1");
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(pushes: &[(u64, f64)]) -> Trail {
        let mut trail = Trail::default();
        for (second, price) in pushes {
            trail.push(second * 1_000, *price);
        }
        trail
    }

    #[test]
    fn a_bucket_holds_its_last_price_and_an_empty_one_repeats_the_one_before() {
        let trail = trail(&[(0, 1.0), (1, 2.0), (3, 3.0), (12, 4.0)]);
        assert_eq!(trail.prices(), [2.0, 3.0, 3.0, 3.0, 4.0]);
        assert_eq!(trail.span(), (0, 15_000));
    }

    #[test]
    fn it_keeps_the_last_minutes_and_nothing_older() {
        let mut trail = Trail::default();
        for bucket in 0..1_000 {
            trail.push(bucket * BUCKET_MS, bucket as f64);
        }
        assert_eq!(trail.prices().len(), KEPT);
        assert_eq!(trail.prices()[0], 1_000.0 - KEPT as f64);
        assert_eq!(trail.span().1, 1_000 * BUCKET_MS);
        trail.push(u64::MAX, 5.0);
        assert_eq!(trail.prices().len(), KEPT);
        assert!(
            !trail.push(0, 9.0),
            "a clock that went back changes nothing"
        );
    }

    #[test]
    fn the_path_fills_its_box_and_ends_at_the_right() {
        assert_eq!(Trail::default().draw(79.0, 20.0), "");
        assert_eq!(trail(&[(0, 5.0)]).draw(79.0, 20.0), "M79.0 10.0h.1");
        let path = trail(&[(0, 1.0), (3, 3.0), (6, 2.0)]).draw(79.0, 20.0);
        assert_eq!(path, "M77.0 20.0L78.0 0.0L79.0 10.0");
    }

    #[test]
    fn the_highest_price_is_at_the_top_without_a_sign() {
        for cents in 1..1_000 {
            let (low, high) = (f64::from(cents) / 100.0, f64::from(3 * cents) / 70.0);
            let path = trail(&[(0, low), (3, high)]).draw(79.0, 200.0);
            assert_eq!(path, "M78.0 200.0L79.0 0.0", "{low} {high}");
        }
    }

    #[test]
    fn a_path_is_drawn_anew_after_a_change_and_that_of_a_clone_stays() {
        let mut trail = trail(&[(0, 1.0), (3, 3.0)]);
        let drawn = |trail: &Trail| (trail.path(PlotSize::Row), trail.path(PlotSize::Chart));
        let (before, clone) = (drawn(&trail), trail.clone());
        assert!(trail.push(6_000, 2.0));
        let fresh = (trail.draw(80.0, 20.0), trail.draw(800.0, 200.0));
        assert_eq!(drawn(&trail), fresh);
        assert_ne!(fresh, before);
        assert_eq!(drawn(&clone), before);
        assert!(trail != clone && clone == clone.clone());
    }
}
