//! Formats prices and changes for the page.

use std::cmp::Ordering;

use crate::ui::numbers::{fixed, grouped};

/// The CSS class for the sign of a change.
pub fn direction(change: f64) -> &'static str {
    match change.total_cmp(&0.0) {
        Ordering::Greater => "up",
        Ordering::Less => "down",
        Ordering::Equal => "",
    }
}

/// Formats a number with separated thousands, as in `+1,234.50`. The minus is a true minus, which is as wide as the
/// plus.
pub fn print(value: f64, decimals: usize, signed: bool) -> String {
    let digits = fixed(value.abs(), decimals);
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let whole = grouped(whole);
    let sign = match (value < 0.0, signed && value > 0.0) {
        (true, _) => "−",
        (_, true) => "+",
        _ => "",
    };
    format!("{sign}{whole}{fraction}")
}
