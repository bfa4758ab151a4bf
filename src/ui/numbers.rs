//! Writes numbers for people.
//!
//! Floating-point numbers are written by [`fixed`] alone. What `{}` and `{:.2}` make of them takes a general algorithm with
//! its tables, 20 KB that every page would download.

/// Most digits after the point.
pub const MOST_DECIMALS: usize = 8;

/// A number with this many digits after the point, at most [`MOST_DECIMALS`]. A half is rounded to the even digit, as the
/// standard library does. A number with more than nineteen digits before the point is written as `∞`.
pub fn fixed(value: f64, decimals: usize) -> String {
    let mut text = String::new();
    push_fixed(&mut text, value, decimals);
    text
}

/// Appends what [`fixed`] returns. A page contains hundreds of numbers, and a string for each of them, made by `format!`, was
/// a fifth of the time that the server took for it.
pub fn push_fixed(text: &mut String, value: f64, decimals: usize) {
    if value.is_nan() {
        return text.push_str("NaN");
    }
    if value < 0.0 {
        text.push('-');
    }
    let size = value.abs();
    if size >= u64::MAX as f64 {
        return text.push('∞');
    }
    let mut digits = itoa::Buffer::new();
    let decimals = decimals.min(MOST_DECIMALS);
    if decimals == 0 {
        return text.push_str(digits.format(size.round_ties_even() as u64));
    }
    let scale = 10_u64.pow(decimals as u32);
    // Apart, so that the whole part takes no digits from the fraction.
    let fraction = (size.fract() * scale as f64).round_ties_even() as u64;
    let (whole, fraction) = (size.trunc() as u64 + fraction / scale, fraction % scale);
    text.push_str(digits.format(whole));
    text.push('.');
    // The digit in front of the fraction keeps its zeros.
    text.push_str(&digits.format(scale + fraction)[1..]);
}

/// A number with the digits after the point that it has, as in `12.5` and `0`.
pub fn shortest(value: f64) -> String {
    fixed(value, decimals_of(value))
}

/// How many digits after the point a number has, at most [`MOST_DECIMALS`].
pub fn decimals_of(value: f64) -> usize {
    let is_exact = |decimals: &usize| {
        let scale = 10_f64.powi(*decimals as i32);
        // The quotient is the number that is written with these digits.
        (value * scale).round() / scale == value
    };
    (0..MOST_DECIMALS).find(is_exact).unwrap_or(MOST_DECIMALS)
}

/// Digits in groups of three, as in `1,234,567`.
pub fn grouped(digits: impl ToString) -> String {
    let digits = digits.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_as_many_digits_after_the_point_as_are_asked_for() {
        for (value, decimals, text) in [
            (0.0, 0, "0"),
            (0.0, 2, "0.00"),
            (1.5, 0, "2"),
            (2.5, 0, "2"),
            (-1.25, 1, "-1.2"),
            (0.995, 1, "1.0"),
            (999.999, 2, "1000.00"),
            (12.007, 3, "12.007"),
            (0.000_012_34, 8, "0.00001234"),
            (0.1, 99, "0.10000000"),
            (1e18, 1, "1000000000000000000.0"),
            (1e20, 1, "∞"),
            (f64::NEG_INFINITY, 1, "-∞"),
            (f64::NAN, 1, "NaN"),
        ] {
            assert_eq!(fixed(value, decimals), text, "{value} {decimals}");
        }
    }

    #[test]
    fn a_number_is_written_as_the_standard_library_writes_it() {
        for number in 0..200_000_u32 {
            let value = f64::from(number) / 1_000.0;
            assert_eq!(fixed(value, 3), format!("{value:.3}"));
            assert_eq!(shortest(value), value.to_string());
        }
        // Every second of these lies between two numbers of fewer digits.
        for eighths in 0..8_000_u32 {
            let value = f64::from(eighths) / 8.0;
            for decimals in 0..4 {
                assert_eq!(fixed(value, decimals), format!("{value:.decimals$}"));
            }
        }
    }

    #[test]
    fn digits_after_the_point_are_counted_as_they_are_written() {
        for (value, count) in [
            (182.4, 1),
            (0.000_012_34, 8),
            (3.0, 0),
            (-0.25, 2),
            (1e300, 0),
            (1.0 / 3.0, 8),
        ] {
            assert_eq!(decimals_of(value), count, "{value}");
        }
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
