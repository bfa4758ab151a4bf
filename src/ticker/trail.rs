//! The last minutes of a price, one value for every few seconds, from which the charts are drawn. Pure.

use serde::{Deserialize, Serialize};

use crate::ui::numbers::push_fixed;

/// The length of a bucket in milliseconds; each bucket has one value.
pub const BUCKET_MS: u64 = 3_000;
/// The number of values that are kept: four minutes.
pub const KEPT: usize = 80;

/// Prices of consecutive buckets, oldest first. A bucket without a price repeats the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trail {
    /// The number of the first bucket, counted from 1970.
    first: u64,
    prices: Vec<f64>,
}

impl Trail {
    /// Adds the price at the time `at` (Unix milliseconds). Returns whether the trail changed.
    pub fn push(&mut self, at: u64, price: f64) -> bool {
        let bucket = at / BUCKET_MS;
        let last = self.first + (self.prices.len() as u64).saturating_sub(1);
        let Some(newest) = self.prices.last_mut() else {
            (self.first, self.prices) = (bucket, vec![price]);
            return true;
        };
        match bucket.checked_sub(last) {
            // Older than the newest bucket, because a clock went back: ignored.
            None => return false,
            Some(0) if *newest == price => return false,
            Some(0) => *newest = price,
            Some(ahead) => {
                let newest = *newest;
                let empty_buckets = (ahead - 1).min(KEPT as u64) as usize;
                self.prices
                    .extend(std::iter::repeat_n(newest, empty_buckets));
                self.prices.push(price);
                self.prices.drain(..self.prices.len().saturating_sub(KEPT));
                self.first = bucket + 1 - self.prices.len() as u64;
            }
        }
        true
    }

    pub fn prices(&self) -> &[f64] {
        &self.prices
    }

    /// The start of the first bucket and the end of the last one (Unix milliseconds).
    pub fn span(&self) -> (u64, u64) {
        let first = self.first * BUCKET_MS;
        (first, first + self.prices.len() as u64 * BUCKET_MS)
    }

    /// The lowest and the highest value.
    pub fn range(&self) -> Option<(f64, f64)> {
        let prices = self.prices.iter().copied();
        prices.fold(None, |range, price| {
            let (low, high) = range.unwrap_or((price, price));
            Some((f64::min(low, price), f64::max(high, price)))
        })
    }

    /// The line as the `d` attribute of an SVG path in a box of this size. The newest value is at the right edge.
    pub fn path(&self, width: f64, height: f64) -> String {
        let Some((low, high)) = self.range() else {
            return String::new();
        };
        let step = width / (KEPT - 1) as f64;
        let left = width - step * (self.prices.len() - 1) as f64;
        // A price that did not change is a line in the middle.
        let scale = if high > low {
            height / (high - low)
        } else {
            0.0
        };
        let bottom = if high > low { height } else { height / 2.0 };
        let mut path = String::with_capacity(self.prices.len() * 12);
        for (index, price) in self.prices.iter().enumerate() {
            let (x, y) = (left + step * index as f64, bottom - (price - low) * scale);
            path.push(if index == 0 { 'M' } else { 'L' });
            push_fixed(&mut path, x, 1);
            path.push(' ');
            push_fixed(&mut path, y, 1);
        }
        // A single value is a point, which is invisible without a length.
        if self.prices.len() == 1 {
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
        assert_eq!(Trail::default().path(79.0, 20.0), "");
        assert_eq!(trail(&[(0, 5.0)]).path(79.0, 20.0), "M79.0 10.0h.1");
        let path = trail(&[(0, 1.0), (3, 3.0), (6, 2.0)]).path(79.0, 20.0);
        assert_eq!(path, "M77.0 20.0L78.0 0.0L79.0 10.0");
    }
}
