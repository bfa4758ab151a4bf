//! Parses sizes and times as settings spell them, and writes sizes for answers.

use std::time::Duration;

/// Units of bytes, the largest first.
const BINARY_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Writes a number of bytes in the largest unit that leaves it whole: `1 GiB`.
pub fn in_binary_units(bytes: u64) -> String {
    let whole = BINARY_UNITS
        .iter()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    let (unit, size) = whole.unwrap_or(&BINARY_UNITS[4]);
    format!("{} {unit}", bytes / size)
}

/// Parses a number of bytes, as in `500MiB`; the error says how one is written.
pub fn binary_units(text: &str) -> Result<u64, String> {
    let words = "a size is a whole number of bytes, or of a unit, as in 500MiB or 1GiB";
    let text = text.trim();
    let unit = BINARY_UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, size) = unit.map_or((text, 1), |(unit, size)| {
        (text.trim_end_matches(unit).trim_end(), *size)
    });
    let number: u64 = number.parse().map_err(|_| words.to_owned())?;
    number.checked_mul(size).ok_or_else(|| words.to_owned())
}

/// Parses an age: a whole number and its unit. At most a thousand years, so that none overflows a clock.
pub fn age(text: &str) -> Result<Duration, String> {
    let wrong =
        || "an age is a whole number above zero and one of s, m, h, d, w, as in 30d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match count.checked_mul(seconds) {
        Some(age @ 1..=31_536_000_000) => Ok(Duration::from_secs(age)),
        _ => Err(wrong()),
    }
}

/// Parses an interval in milliseconds, from `least` to a day, so that none overflows when it is added to a clock.
pub fn milliseconds(least: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("7", 7), ("7B", 7), ("2 KiB", 2_048), ("1GiB", 1 << 30)] {
            assert_eq!(binary_units(text), Ok(bytes));
        }
        for (bytes, text) in [
            (0, "0 B"),
            (1_500, "1500 B"),
            (2_048, "2 KiB"),
            (1 << 30, "1 GiB"),
        ] {
            assert_eq!(in_binary_units(bytes), text);
        }
    }
}
