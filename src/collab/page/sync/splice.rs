//! Finds an edit by comparing the text before and after it, because a text area does not report the edit itself.

/// One edit: removes units at a position and inserts a text there. In UTF-16 units, as browsers and Yjs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice<'a> {
    pub at: u32,
    pub removed: u32,
    pub inserted: &'a str,
}

impl Splice<'_> {
    /// Maps a position in the old text to the new one. A position at the splice stays before the inserted text.
    pub fn carry(&self, index: u32) -> u32 {
        if index <= self.at {
            return index;
        }
        index.saturating_sub(self.removed).max(self.at) + units(self.inserted)
    }
}

/// The smallest splice that turns `old` into `new`; `None` if they are equal.
///
/// If several are equally small (one more `a` among many), it is the one that ends at `caret`, the caret's position in
/// `new`, because it was typed there. A surrogate pair is never split.
pub fn splice_between<'a>(old: &str, new: &'a str, caret: u32) -> Option<Splice<'a>> {
    if old == new {
        return None;
    }
    let behind_caret = new.len() - byte_at(new, caret);
    let suffix = common_suffix(old, new, behind_caret);
    let shorter = old.len().min(new.len());
    let prefix = common_prefix(old, new, shorter - suffix);
    // The change may also lie before the caret. Then a longer suffix is equal.
    let suffix = common_suffix(old, new, shorter - prefix);
    Some(Splice {
        at: units(&old[..prefix]),
        removed: units(&old[prefix..old.len() - suffix]),
        inserted: &new[prefix..new.len() - suffix],
    })
}

/// The length of a text in UTF-16 units.
pub fn units(text: &str) -> u32 {
    text.chars()
        .map(|character| character.len_utf16() as u32)
        .sum()
}

/// The byte at which the character with this UTF-16 unit begins; the end of the text if there is none.
pub fn byte_at(text: &str, unit: u32) -> usize {
    let mut seen = 0;
    for (byte, character) in text.char_indices() {
        seen += character.len_utf16() as u32;
        if seen > unit {
            return byte;
        }
    }
    text.len()
}

/// The end of the user-perceived character that contains this position: between the two surrogates of an emoji, before
/// a combining mark, or inside an emoji joined of several. Otherwise the position itself.
///
/// It uses ranges instead of the Unicode tables, which are larger than this page's other code for texts. The ranges
/// cover what people type with dead keys and pickers.
pub fn character_end(text: &str, unit: u32) -> u32 {
    let mut byte = byte_at(text, unit);
    if units(&text[..byte]) < unit {
        byte += text[byte..].chars().next().map_or(0, char::len_utf8);
    }
    let mut before = text[..byte].chars().next_back();
    for next in text[byte..].chars() {
        let within = before.is_some_and(|before| before == JOINER || continues(next));
        if !within || before == Some('\n') {
            break;
        }
        byte += next.len_utf8();
        before = Some(next);
    }
    units(&text[..byte])
}

const JOINER: char = '\u{200d}';

/// Whether a character belongs to the one before it.
fn continues(character: char) -> bool {
    matches!(character,
        JOINER
        // Combining marks: Latin, Greek and Cyrillic; Hebrew; Arabic; of symbols, including keycaps.
        | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        // Variation selectors, half marks, skin tones, the letters of regional flags.
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

/// Splits a text into pieces of at most this many bytes, between characters.
pub fn pieces(mut text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut cut = text.len().min(bytes.max(4));
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let (piece, rest) = text.split_at(cut);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The number of equal bytes at the beginning, cut at a character boundary. The first byte of a character says how long
/// it is, so the cut is a boundary in both texts.
fn common_prefix(one: &str, two: &str, most: usize) -> usize {
    let same = std::iter::zip(one.bytes(), two.bytes())
        .take(most)
        .take_while(|(one, two)| one == two)
        .count();
    (0..=same)
        .rev()
        .find(|cut| one.is_char_boundary(*cut) && two.is_char_boundary(*cut))
        .unwrap_or_default()
}

fn common_suffix(one: &str, two: &str, most: usize) -> usize {
    let same = std::iter::zip(one.bytes().rev(), two.bytes().rev())
        .take(most)
        .take_while(|(one, two)| one == two)
        .count();
    (0..=same)
        .rev()
        .find(|cut| one.is_char_boundary(one.len() - cut) && two.is_char_boundary(two.len() - cut))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn splice(at: u32, removed: u32, inserted: &str) -> Option<Splice<'_>> {
        Some(Splice {
            at,
            removed,
            inserted,
        })
    }

    #[test]
    fn one_of_many_equal_letters_is_found_by_the_caret() {
        assert_eq!(splice_between("aaaa", "aaaaa", 2), splice(1, 0, "a"));
        assert_eq!(splice_between("aaaa", "aaaaa", 5), splice(4, 0, "a"));
        assert_eq!(splice_between("aaaa", "aaa", 1), splice(1, 1, ""));
        assert_eq!(splice_between("aaaa", "aaa", 3), splice(3, 1, ""));
    }

    #[test]
    fn a_change_away_from_the_caret_is_as_small() {
        assert_eq!(splice_between("one two", "One two", 7), splice(0, 1, "O"));
        assert_eq!(splice_between("one two", "one tWo", 0), splice(5, 1, "W"));
        assert_eq!(splice_between("abc", "abc", 1), None);
        assert_eq!(splice_between("", "abc", 900), splice(0, 0, "abc"));
        assert_eq!(splice_between("abc", "", 0), splice(0, 3, ""));
    }

    #[test]
    fn surrogates_are_counted_and_never_torn() {
        // Both emoji share their first surrogate and three of their four bytes.
        assert_eq!(splice_between("a😀b", "a😁b", 3), splice(1, 2, "😁"));
        assert_eq!(splice_between("😀", "😀😀", 2), splice(0, 0, "😀"));
        assert_eq!(splice_between("中文", "中午文", 2), splice(1, 0, "午"));
        assert_eq!(
            byte_at("a😀b", 2),
            1,
            "within a pair: where the pair begins"
        );
        assert_eq!(byte_at("a😀b", 3), 5);
    }

    #[test]
    fn a_place_within_a_character_moves_to_its_end() {
        let family = "👨‍👩‍👧";
        let text = format!("a{family}e\u{301}!👍🏽\n\u{301}");
        let length = units(family);
        for unit in 2..=length + 1 {
            assert_eq!(character_end(&text, unit), length + 1, "{unit}");
        }
        for (unit, end) in [
            (0, 0),
            (1, 1),
            (10, 11),
            (11, 11),
            (12, 12),
            (13, 16),
            (14, 16),
            (17, 17),
        ] {
            assert_eq!(character_end(&text, unit), end, "{unit}");
        }
        assert_eq!(character_end("شُكر", 1), 2);
        assert_eq!(character_end("中文", 1), 1);
        assert_eq!(character_end("", 7), 0);
    }

    #[test]
    fn a_splice_within_a_joined_emoji_or_below_a_mark_cuts_between_code_points() {
        let (child, family) = ("👨‍👩‍👧", "👨‍👩‍👦");
        assert_eq!(splice_between(child, family, 8), splice(6, 2, "👦"));
        assert_eq!(
            splice_between("👨", child, 8),
            splice(2, 0, "\u{200d}👩\u{200d}👧")
        );
        assert_eq!(splice_between("e", "e\u{301}", 2), splice(1, 0, "\u{301}"));
        assert_eq!(splice_between("مرحبا", "مرحَبا", 4), splice(3, 0, "\u{64e}"));
        // Flags are pairs of letters, each of which is a pair of surrogates.
        assert_eq!(splice_between("🇩🇪", "🇩🇪🇩🇪", 8), splice(4, 0, "🇩🇪"));
    }

    #[test]
    fn pieces_are_cut_between_characters() {
        assert_eq!(pieces("a中😀b", 4).collect::<Vec<_>>(), ["a中", "😀", "b"]);
        assert_eq!(pieces("", 4).count(), 0);
    }

    proptest! {
        #[test]
        fn a_splice_makes_the_new_text_out_of_the_old(old in "[abع中😀👩🏽\u{200d}\u{301}\n]{0,12}", new in "[abع中😀👩🏽\u{200d}\u{301}\n]{0,12}", caret in 0u32..30) {
            let made = splice_between(&old, &new, caret).map_or(old.clone(), |splice| {
                let (from, to) = (byte_at(&old, splice.at), byte_at(&old, splice.at + splice.removed));
                format!("{}{}{}", &old[..from], splice.inserted, &old[to..])
            });
            prop_assert_eq!(made, new);
        }
    }
}
