//! The payload of a race's message: its number, its time of sending, and padding.

use std::time::Instant;

/// Digits of the number in base 36: enough for 60 million messages.
const SEQUENCE: usize = 5;
/// Digits of the time in base 36: enough for the microseconds of a hundred years.
const TIME: usize = 11;

/// The one clock of a heat: both ends are in this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now_us(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    /// A payload of `size` bytes, at least 16, with the present time as its time of sending.
    pub fn payload(self, sequence: u64, size: usize) -> String {
        let mut payload = String::with_capacity(size);
        base36(&mut payload, sequence, SEQUENCE);
        base36(&mut payload, self.now_us(), TIME);
        payload.extend(std::iter::repeat_n('x', size.saturating_sub(payload.len())));
        payload
    }
}

/// Reads the number and the time of sending; `None` if this is no payload.
pub fn read(payload: &str) -> Option<(u64, u64)> {
    let number = |range| u64::from_str_radix(payload.get(range)?, 36).ok();
    Some((number(0..SEQUENCE)?, number(SEQUENCE..SEQUENCE + TIME)?))
}

fn base36(text: &mut String, number: u64, digits: usize) {
    for place in (0..digits as u32).rev() {
        let digit = number / 36_u64.pow(place) % 36;
        text.extend(char::from_digit(digit as u32, 36));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_of_its_size_and_is_read_back() {
        let clock = Clock::start();
        for (sequence, size) in [(0, 16), (35, 17), (99_999, 65_536)] {
            let payload = clock.payload(sequence, size);
            assert_eq!(payload.len(), size);
            let (read_sequence, sent) = read(&payload).unwrap();
            assert_eq!(read_sequence, sequence);
            assert!(sent <= clock.now_us());
        }
        assert_eq!(read("short"), None);
        assert_eq!(read("0000!00000000000"), None);
    }
}
