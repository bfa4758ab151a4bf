//! Rules for texts: whether a text shows anything, and what the HTML parser would change in it.
//!
//! There is one rule for names, messages and everything else that must not be blank; the browser checks it, and the
//! server checks it again.

use std::borrow::Cow;

/// Whether a text shows anything at all. A text that consists of spaces, control characters and invisible characters
/// only is blank, however long it is. Within a text such characters have their uses: joiners make one emoji of several.
pub fn has_visible_character(text: &str) -> bool {
    text.chars().any(is_visible)
}

fn is_visible(character: char) -> bool {
    !character.is_whitespace()
        && !character.is_control()
        && !is_default_ignorable(character)
        && !is_drawn_blank(character)
}

/// The property Default_Ignorable_Code_Point of Unicode 17.0 (DerivedCoreProperties.txt): soft hyphens, joiners,
/// fillers, direction marks, variation selectors, tags. It is a table of 17 ranges, because the crate with this
/// property would add its data for all of Unicode to what the browser downloads. A test compares the two.
fn is_default_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Characters outside that property whose glyph is empty by definition (Unicode's NamesList.txt): the braille pattern
/// without dots, interlinear annotation marks, the null notehead, the Khitan filler, Egyptian joiners.
fn is_drawn_blank(character: char) -> bool {
    matches!(
        character,
        '\u{2800}' | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}' | '\u{16fe4}' | '\u{1d159}'
    )
}

/// Whether a text contains a NUL. It means nothing to a reader, and HTML cannot carry it: the parser drops it from
/// text, so that a node that hydration expects may be missing (WHATWG HTML, section 13.2.6.4.7).
pub fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

/// A text with `\n` as its only line end, as a text area returns it and as the HTML parser reads it.
pub fn with_line_feeds(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};

    use super::*;

    #[test]
    fn the_table_is_unicodes_property() {
        let property = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        for character in '\0'..=char::MAX {
            assert_eq!(
                is_default_ignorable(character),
                property.contains(character),
                "U+{:04X}",
                u32::from(character)
            );
        }
    }

    #[test]
    fn text_of_nothing_but_what_is_not_drawn_is_blank() {
        for text in [
            "",
            " \t\r\n",
            "\0",
            "\u{a0}\u{3000}\u{2003}",
            "\u{200b}",
            "\u{ad}",
            "\u{2800}",
            "\u{3164}",
            "\u{115f}\u{1160}\u{ffa0}",
            "\u{180e}",
            "\u{feff}\u{fe0f}\u{e0100}",
            // Tags without the flag that they belong to.
            "\u{e0001}\u{e0067}\u{e0062}\u{e007f}",
            "\u{202e}\u{2066}\u{2069}",
        ] {
            assert!(!has_visible_character(text), "{text:?}");
        }
    }

    #[test]
    fn one_visible_character_is_enough_whatever_stands_around_it() {
        for text in [
            "a",
            "\u{200b}.\u{200b}",
            "👩\u{200d}👧",
            "❤\u{fe0f}",
            // England's flag: a black flag and tags.
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "ا\u{200f}",
            "中",
            "\u{301}",
        ] {
            assert!(has_visible_character(text), "{text:?}");
        }
    }

    #[test]
    fn every_line_end_becomes_a_line_feed() {
        assert_eq!(with_line_feeds("a\r\nb\rc\n\r\r\nd"), "a\nb\nc\n\n\nd");
        assert!(matches!(with_line_feeds("a\nb"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_nul_is_found_wherever_it_stands_and_nothing_else_is_one() {
        assert!(has_nul("\0") && has_nul("a\0"));
        assert!(!has_nul("a\u{1}\u{fffe}\u{2400}"));
    }
}
