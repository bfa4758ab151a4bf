//! The shared text as a text area displays it, with the mapping of positions between the two.
//!
//! A text area knows only one line ending, `\n`, and nothing but characters. Other clients may put more into the
//! document. That content is kept, and displayed as follows: `\r\n` as one line feed, which is deleted as a whole; a
//! lone `\r` as a line feed; anything that is not text (an image, a nested type) as one U+FFFC. Formats have no length
//! and are not displayed.

use yrs::{Any, GetString, Out, ReadTxn, Text, TextRef, types::text::YChange};

use super::splice::{byte_at, units};

/// Stands for an object that is not text.
const OBJECT: char = '\u{fffc}';

/// The displayed text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// The positions of line feeds that stand for two units of the document, in units of the displayed text, ascending.
    /// Mostly empty.
    pairs: Vec<u32>,
}

impl Rendered {
    pub fn of(text: &TextRef, transaction: &impl ReadTxn) -> Self {
        let length = text.len(transaction);
        let plain = text.get_string(transaction);
        if units(&plain) == length {
            return Self::of_units(plain);
        }
        let mut all = String::with_capacity(plain.len());
        for chunk in text.diff(transaction, YChange::identity) {
            match chunk.insert {
                Out::Any(Any::String(string)) => all.push_str(&string),
                _ => all.push(OBJECT),
            }
        }
        // An object that is itself a string looks like text, and content that does not belong into a text is skipped.
        // Their positions are unknown: positions behind them are wrong, but none is outside the document.
        all.truncate(byte_at(&all, length));
        let missing = length.saturating_sub(units(&all));
        all.extend(std::iter::repeat_n(OBJECT, missing as usize));
        Self::of_units(all)
    }

    /// `units` has one character for every unit of the document.
    fn of_units(units: String) -> Self {
        if !units.contains('\r') {
            return Self {
                text: units,
                pairs: vec![],
            };
        }
        let (mut text, mut pairs, mut length) = (String::with_capacity(units.len()), vec![], 0);
        let mut characters = units.chars().peekable();
        while let Some(character) = characters.next() {
            let shown = if character == '\r' { '\n' } else { character };
            if character == '\r' && characters.next_if_eq(&'\n').is_some() {
                pairs.push(length);
            }
            text.push(shown);
            length += shown.len_utf16() as u32;
        }
        Self { text, pairs }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The document's position for a displayed one.
    pub fn to_document(&self, index: u32) -> u32 {
        index + self.pairs.partition_point(|pair| *pair < index) as u32
    }

    /// The displayed position for one of the document. A position between `\r` and `\n` is before the line feed.
    pub fn to_rendered(&self, index: u32) -> u32 {
        let before = std::iter::zip(0.., &self.pairs)
            .take_while(|(earlier, pair)| *pair + earlier < index)
            .count();
        index - before as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::text_rules::with_line_feeds;

    #[test]
    fn two_units_of_a_line_ending_are_one_that_is_shown() {
        let shown = Rendered::of_units("a\r\nb\n\r\n\r😀\r\n".into());
        assert_eq!(shown.text(), "a\nb\n\n\n😀\n");
        let places = (0..=9).map(|index| shown.to_document(index));
        assert_eq!(places.collect::<Vec<_>>(), [0, 1, 3, 4, 5, 7, 8, 9, 10, 12]);
        for index in 0..=9 {
            assert_eq!(shown.to_rendered(shown.to_document(index)), index);
        }
        assert_eq!(shown.to_rendered(2), 1, "between the two");
        assert_eq!(shown.text(), with_line_feeds("a\r\nb\n\r\n\r😀\r\n"));
    }
}
