//! Computes the delay before a reconnect: exponential backoff with equal jitter.
//!
//! Pure: the attempt number and a random number go in, the delay comes out. Equal jitter (half fixed, half random) spreads a
//! thousand clients that lost the same server. Unlike full jitter it never yields a delay near zero.

use std::time::SystemTime;

/// Delays in milliseconds: `min(cap, base * 2^attempt) * (0.5 + random / 2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay of attempt 0 before jitter, in milliseconds.
    pub base_ms: u64,
    /// The longest delay, in milliseconds.
    pub cap_ms: u64,
    /// The longest delay while the page is visible and the browser reports a network, in milliseconds. It is shorter, because
    /// a person is waiting.
    pub watched_cap_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Backoff {
    /// 1 s, doubled with each attempt up to 30 s, or up to 5 s while the page is visible and the browser reports a
    /// network; each delay before jitter.
    pub const DEFAULT: Self = Self {
        base_ms: 1_000,
        cap_ms: 30_000,
        watched_cap_ms: 5_000,
    };

    /// The delay before attempt number `attempt` (0 is the first retry), in milliseconds. `watched` means that the page is
    /// visible. `random` is in 0.0 to 1.0; other values are clamped, and NaN counts as 0.5.
    pub fn delay_ms(&self, attempt: u32, watched: bool, random: f64) -> u64 {
        let cap = if watched {
            self.watched_cap_ms
        } else {
            self.cap_ms
        };
        // 2^20 seconds is past any cap; the shift cannot overflow.
        let whole = self.base_ms.saturating_mul(1 << attempt.min(20)).min(cap);
        let random = if random.is_nan() {
            0.5
        } else {
            random.clamp(0.0, 1.0)
        };
        (whole as f64 * (0.5 + random / 2.0)).round() as u64
    }
}

/// Converts `Retry-After` (RFC 9110, section 10.2.3), a number of seconds or an HTTP date, into milliseconds from `now`.
///
/// `date` is the response's `Date` header. An HTTP date in `Retry-After` refers to the server's clock, so it is compared with
/// `date`, or with `now` (Unix milliseconds) if the response has none. A date in the past yields 0. A number that overflows
/// yields `u64::MAX`. Anything else (`1e30`, `-5`, `1.5`, words) yields `None`.
pub fn retry_after_ms(value: &str, date: Option<&str>, now: f64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u64 = value.parse().unwrap_or(u64::MAX);
        return Some(seconds.saturating_mul(1_000));
    }
    let until = unix_ms(value)?;
    let from = date.and_then(unix_ms).unwrap_or(now.max(0.0) as u64);
    Some(until.saturating_sub(from))
}

/// An HTTP date in Unix milliseconds.
fn unix_ms(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nothing_else() {
        let now = 784_111_770_000.0;
        let read = |value| retry_after_ms(value, None, now);
        assert_eq!(read("0"), Some(0));
        assert_eq!(read(" 120 "), Some(120_000));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7_000));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        for huge in ["99999999999999999999999", "18446744073709551615"] {
            assert_eq!(read(huge), Some(u64::MAX), "{huge}");
        }
        for garbage in [
            "",
            " ",
            "1e30",
            "-5",
            "+5",
            "1.5",
            "NaN",
            "soon",
            "5 s",
            "٥",
            "Sun, 06 Nov 1994",
        ] {
            assert_eq!(read(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_retry_after_date_refers_to_the_servers_clock() {
        let until = "Sun, 06 Nov 1994 08:49:37 GMT";
        let sent = Some("Sun, 06 Nov 1994 08:49:07 GMT");
        // The browser's clock is years ahead, but the wait is still 30 s.
        assert_eq!(retry_after_ms(until, sent, 1.7e12), Some(30_000));
        assert_eq!(retry_after_ms(until, Some("yesterday"), 1.7e12), Some(0));
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let backoff = Backoff::default();
        let longest: Vec<u64> = (0..8)
            .map(|attempt| backoff.delay_ms(attempt, false, 1.0))
            .collect();
        assert_eq!(
            longest,
            [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
        );
        let shortest: Vec<u64> = (0..8)
            .map(|attempt| backoff.delay_ms(attempt, false, 0.0))
            .collect();
        assert_eq!(
            shortest,
            [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]
        );
    }

    #[test]
    fn a_watched_page_never_waits_longer_than_five_seconds() {
        let backoff = Backoff::default();
        assert!((0..100).all(|attempt| backoff.delay_ms(attempt, true, 1.0) <= 5_000));
    }

    #[test]
    fn jitter_spreads_a_thousand_clients_over_the_upper_half() {
        // xorshift: the same numbers in every run, so that a failure is reproducible.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let delays: Vec<u64> = (0..1_000)
            .map(|_| Backoff::default().delay_ms(3, false, random()))
            .collect();
        assert!(delays.iter().all(|delay| (4_000..=8_000).contains(delay)));
        for tenth in 0..10 {
            let low = 4_000 + tenth * 400;
            let count = delays
                .iter()
                .filter(|delay| (low..low + 400).contains(*delay))
                .count();
            assert!(
                count > 50,
                "{count} of 1,000 delays fall between {low} and {} ms",
                low + 400
            );
        }
    }

    #[test]
    fn extreme_input_stays_within_the_bounds() {
        let backoff = Backoff::default();
        for random in [f64::NAN, f64::INFINITY, -5.0, 7.0] {
            assert!(
                (500..=30_000).contains(&backoff.delay_ms(u32::MAX, false, random)) || random < 0.0
            );
        }
        assert_eq!(backoff.delay_ms(u32::MAX, false, -5.0), 15_000);
    }
}
