//! Finds the sequence number and the time in what a server delivers, and checks that every number comes once and in order.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use memchr::memmem::Finder;

/// What a message carries from its sender to each receiver.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Mark {
    pub sender: usize,
    pub sequence: u64,
    /// When it was due, in microseconds of the benchmark's clock.
    pub due: u64,
}

/// Where a message carries its mark.
pub enum Marks {
    /// In the numbers of a price: `volume` is the sequence number, and `price` the time.
    Price(Box<[Finder<'static>; 3]>),
    /// In the first three words of a text: the sender, the sequence number and the time.
    Chat(Box<Finder<'static>>),
}

impl Marks {
    pub fn price() -> Self {
        let finders = ["\"type\":\"price\"", "\"price\":", "\"volume\":"].map(Finder::new);
        Self::Price(Box::new(finders))
    }

    pub fn chat() -> Self {
        Self::Chat(Box::new(Finder::new("\"text\":\"")))
    }

    /// The mark of a message; `None` for a message without one.
    pub fn find(&self, text: &[u8]) -> Option<Mark> {
        match self {
            Self::Price(finders) => {
                let [kind, price, volume] = finders.as_ref();
                let text = &text[kind.find(text)? + kind.needle().len()..];
                let value = |finder: &Finder| {
                    let (value, _) = number(&text[finder.find(text)? + finder.needle().len()..])?;
                    Some(value)
                };
                Some(Mark {
                    sender: 0,
                    sequence: value(volume)?,
                    due: value(price)?,
                })
            }
            Self::Chat(finder) => {
                let text = &text[finder.find(text)? + finder.needle().len()..];
                let (sender, text) = number(text)?;
                let (sequence, text) = number(text)?;
                let (due, _) = number(text)?;
                let sender = usize::try_from(sender).ok()?;
                Some(Mark {
                    sender,
                    sequence,
                    due,
                })
            }
        }
    }
}

/// The number at the start of a text, and what follows the character after it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, text.get(digits + 1..).unwrap_or_default()))
}

/// A delivery is missing, or came twice: the figures of this run are worth nothing.
#[derive(Debug)]
pub struct Violation(pub String);

impl Display for Violation {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// The sequence numbers that one receiver waits for, of each sender.
#[derive(Debug, Clone, Default)]
pub struct Sequences {
    next: Vec<u64>,
    /// Whether missing numbers are counted instead of refused: where a peer cannot resume.
    pub tolerant: bool,
    pub missing: u64,
}

impl Sequences {
    pub fn check(&mut self, mark: Mark) -> Result<()> {
        if self.next.len() <= mark.sender {
            self.next.resize(mark.sender + 1, 0);
        }
        let next = &mut self.next[mark.sender];
        if mark.sequence < *next {
            return Err(Violation(format!(
                "the message {} of the sender {} came twice or out of order: {next} was due",
                mark.sequence, mark.sender
            ))
            .into());
        }
        if mark.sequence > *next {
            if !self.tolerant {
                return Err(Violation(format!(
                    "{} messages of the sender {} are missing: {next} was due, and {} came",
                    mark.sequence - *next,
                    mark.sender,
                    mark.sequence
                ))
                .into());
            }
            self.missing += mark.sequence - *next;
        }
        *next = mark.sequence + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sender: usize, sequence: u64) -> Mark {
        Mark {
            sender,
            sequence,
            due: 0,
        }
    }

    #[test]
    fn a_price_and_a_text_carry_a_mark() {
        let price = br#"event: price
data: {"type":"price","symbol":"BTC-USD","price":1000123.0,"change":0.0,"volume":17.0,"at":5}"#;
        let expected = Mark {
            sender: 0,
            sequence: 17,
            due: 1_000_123,
        };
        assert_eq!(Marks::price().find(price), Some(expected));
        let snapshot = br#"data: {"type":"snapshot","quotes":[{"price":1,"volume":2}]}"#;
        assert_eq!(Marks::price().find(snapshot), None);
        let chat = br#"42["message",{"type":"message","text":"3 17 1000123 Hello","at":5}]"#;
        let expected = Mark {
            sender: 3,
            ..expected
        };
        assert_eq!(Marks::chat().find(chat), Some(expected));
        assert_eq!(Marks::chat().find(b"ready"), None);
    }

    #[test]
    fn a_missing_and_a_doubled_number_are_refused() {
        let mut sequences = Sequences::default();
        for (sender, sequence) in [(0, 0), (1, 0), (0, 1)] {
            sequences.check(mark(sender, sequence)).unwrap();
        }
        let lost = sequences.check(mark(0, 3)).unwrap_err().to_string();
        assert!(lost.contains("1 messages"), "{lost}");
        let doubled = sequences.check(mark(1, 0)).unwrap_err().to_string();
        assert!(doubled.contains("twice"), "{doubled}");
    }

    #[test]
    fn a_tolerant_check_counts_what_is_missing() {
        let mut sequences = Sequences {
            tolerant: true,
            ..Sequences::default()
        };
        sequences.check(mark(0, 4)).unwrap();
        assert_eq!(sequences.missing, 4);
        assert!(sequences.check(mark(0, 4)).is_err());
    }
}
