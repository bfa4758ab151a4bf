//! Compares names of query parameters, as people and libraries write them, with the known ones.
//!
//! `symbols[]` and `Symbols` mean `symbols`, and `symbol` is a mistake. Pure; server and browser both read addresses.

/// How a name compares with a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// The same, apart from case, hyphens, underscores and brackets at its end.
    Same,
    /// Two neighbouring letters swapped, or one letter too many, too few, or wrong.
    Mistyped,
    Other,
}

/// Shorter known names differ in one letter from too many other words to detect a mistake.
const SHORTEST_MISTYPED: usize = 5;

/// Compares `name` with a `known` name.
pub fn spelling(name: &str, known: &str) -> Spelling {
    let (name, known) = (letters(name), letters(known));
    if name == known {
        Spelling::Same
    } else if known.len() >= SHORTEST_MISTYPED && is_one_step_from(&name, &known) {
        Spelling::Mistyped
    } else {
        Spelling::Other
    }
}

/// The letters to compare: without brackets at the end (as PHP, Rails and axios write lists), hyphens, underscores and
/// case.
fn letters(name: &str) -> Vec<char> {
    let name = match name.split_once('[') {
        Some((name, rest)) if rest.ends_with(']') => name,
        _ => name,
    };
    let letters = name.chars().filter(|letter| !matches!(letter, '-' | '_'));
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

fn is_one_step_from(one: &[char], other: &[char]) -> bool {
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    let Some(at) = std::iter::zip(short, long).position(|(one, other)| one != other) else {
        return long.len() == short.len() + 1;
    };
    match long.len() - short.len() {
        0 => {
            let swapped = short.len() > at + 1
                && (short[at], short[at + 1]) == (long[at + 1], long[at])
                && short[at + 2..] == long[at + 2..];
            swapped || short[at + 1..] == long[at + 1..]
        }
        1 => short[at..] == long[at + 1..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_any_case_and_with_the_marks_of_a_list() {
        for name in [
            "symbols",
            "Symbols",
            "SYMBOLS",
            "symbols[]",
            "symbols[0]",
            "symbols_",
        ] {
            assert_eq!(spelling(name, "symbols"), Spelling::Same, "{name}");
        }
        for name in ["lastEventId", "last-event-id", "Last-Event-ID"] {
            assert_eq!(spelling(name, "last_event_id"), Spelling::Same, "{name}");
        }
        assert_eq!(spelling("Q", "q"), Spelling::Same);
    }

    #[test]
    fn one_letter_off_is_a_mistake_and_two_are_another_name() {
        for name in [
            "symbol", "symbol[]", "simbols", "symbolss", "ysmbols", "ymbols", "symblos",
        ] {
            assert_eq!(spelling(name, "symbols"), Spelling::Mistyped, "{name}");
        }
        for name in [
            "",
            "_",
            "_t",
            "utm_source",
            "fbclid",
            "cb",
            "v",
            "sym",
            "smybosl",
            "symbolize",
        ] {
            assert_eq!(spelling(name, "symbols"), Spelling::Other, "{name}");
        }
        for (name, known) in [("p", "q"), ("ip", "id"), ("site", "size"), ("nite", "note")] {
            assert_eq!(spelling(name, known), Spelling::Other, "{name}");
        }
    }
}
