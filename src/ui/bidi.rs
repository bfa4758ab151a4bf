//! Isolates a text of unknown direction within a sentence of known direction (Unicode Standard Annex 9).
//!
//! If such a text has an element of its own, `<bdi>` or `dir="auto"` does this. In a plain string two characters do it.

use std::borrow::Cow;

/// Begins an isolate, whose direction is that of its first letter.
const FIRST_STRONG_ISOLATE: char = '\u{2068}';
const POP_DIRECTIONAL_ISOLATE: char = '\u{2069}';

/// The text, isolated if it may run from right to left, so that the text around it keeps its place.
pub fn isolated(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_right_to_left) {
        format!("{FIRST_STRONG_ISOLATE}{text}{POP_DIRECTIONAL_ISOLATE}").into()
    } else {
        text.into()
    }
}

/// The blocks of Unicode whose letters run from right to left, by default also those that are not assigned yet.
fn is_right_to_left(character: char) -> bool {
    matches!(character,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_run_from_right_to_left_is_isolated() {
        for text in ["", "Ada", "李雷", "👩\u{200d}👧", "\u{feff}x"] {
            assert_eq!(isolated(text), text);
        }
        for text in ["سارة", "דוד", "Ada سارة"] {
            assert_eq!(isolated(text), format!("\u{2068}{text}\u{2069}"));
        }
    }
}
