//! Counts the words of a text.

/// A word is a sequence of letters and digits, with apostrophes, hyphens and combining marks inside. A Chinese or
/// Japanese character is a word of its own, because nothing separates words there. Signs and emoji are not words.
pub fn count_words(text: &str) -> usize {
    let mut words = 0;
    let mut within = false;
    for character in text.chars() {
        if stands_alone(character) {
            words += 1;
            within = false;
        } else if character.is_alphanumeric() {
            words += usize::from(!within);
            within = true;
        } else {
            within &= joins(character);
        }
    }
    words
}

/// Han characters and kana.
fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn joins(character: char) -> bool {
    matches!(
        character,
        '\'' | '’' | '-' | '\u{300}'..='\u{36f}' | '\u{200c}' | '\u{200d}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_many_scripts_are_counted() {
        for (text, words) in [
            ("", 0),
            ("  \n\t", 0),
            ("One, two; three.", 3),
            ("don't well-known", 2),
            ("- a list's dash -", 3),
            ("Ζωή жизнь 생명", 3),
            ("cafe\u{301} 3rd", 2),
            ("中文字", 3),
            ("用 Rust 写", 3),
            ("😀 👩\u{200d}👧 !", 0),
        ] {
            assert_eq!(count_words(text), words, "{text:?}");
        }
    }
}
