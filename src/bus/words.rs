//! Converts a text into tokens for the search index, and a search text into a query of that index.
//!
//! Both use the same two functions, `fold` and `tokens`. A text that the two sides treated differently would never be
//! found.
//!
//! - **Folding**: compatibility forms are replaced (`Ａ`, `ﬁ`, `ｶﾞ`), and full case folding is applied (`ß` becomes
//!   `ss`, `ς` becomes `σ`). Accents (U+0300 to U+036F) and invisible characters (soft hyphen, zero-width space) are
//!   dropped.
//! - **Tokens**: in scripts with spaces, a token is a word. In scripts without spaces, it is a character together with
//!   the next one; the last character is a token alone. A run of characters within a sentence is then a phrase of such
//!   pairs, and a single character is the beginning of a pair. No dictionary is needed, so none can be wrong.
//!
//! Hangul is treated as a script without spaces although it has some. Particles are attached to their noun, and
//! compounds are written with and without spaces, so a search for word beginnings would miss much of what a user means
//! by a word.

use std::collections::BTreeSet;

use caseless::Caseless;
use icu_properties::{
    CodePointSetData,
    props::{DefaultIgnorableCodePoint, Script},
    script::ScriptWithExtensions,
};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Scripts whose words are not separated by spaces, and Hangul.
const UNSPACED: [Script; 18] = [
    Script::Han,
    Script::Hiragana,
    Script::Katakana,
    Script::Bopomofo,
    Script::Hangul,
    Script::Yi,
    Script::Tangut,
    Script::Nushu,
    Script::Thai,
    Script::Lao,
    Script::Khmer,
    Script::Myanmar,
    Script::Tibetan,
    Script::TaiLe,
    Script::NewTaiLue,
    Script::TaiTham,
    Script::TaiViet,
    Script::Javanese,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A character of a word between separators.
    Spaced,
    /// A character of a script without spaces.
    Unspaced,
    Separator,
}

/// The tokens of a text for the index, separated by single spaces.
pub fn index_text(text: &str) -> String {
    tokens(&pieces(&fold(text))).join(" ")
}

/// The number of words in a search text. A word without letters and digits is counted too, although it finds nothing.
pub fn count(text: &str) -> usize {
    words(&fold(text)).count()
}

/// Converts a search text into an FTS5 query: all words must occur, each as the beginning of a word or as a run of
/// characters. `None` if the text contains nothing to search for.
///
/// Each word is a quoted phrase, so that no word is an operator (<https://sqlite.org/fts5.html#fts5_strings>). Tokens
/// consist of letters, digits and marks only, so they cannot end the quotes.
pub fn query(text: &str) -> Option<String> {
    // Without duplicates: FTS5 would repeat the prefix search for each occurrence of a word.
    let phrases: BTreeSet<String> = words(&fold(text)).filter_map(phrase).collect();
    (!phrases.is_empty()).then(|| Vec::from_iter(phrases).join(" "))
}

fn phrase(word: &str) -> Option<String> {
    let pieces = pieces(word);
    let mut tokens = tokens(&pieces);
    // In an indexed text the run may continue: the last character may be followed by another one, and then forms a
    // pair.
    if let Some((Kind::Unspaced, run)) = pieces.last()
        && run.chars().nth(1).is_some()
    {
        tokens.pop();
    }
    (!tokens.is_empty()).then(|| format!("\"{}\"*", tokens.join(" ")))
}

/// The parts of a text between white space and control characters.
fn words(folded: &str) -> impl Iterator<Item = &str> {
    let between = |character: char| character.is_whitespace() || character.is_control();
    folded.split(between).filter(|word| !word.is_empty())
}

fn fold(text: &str) -> String {
    let invisible = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let dropped = |character: &char| {
        matches!(character, '\u{300}'..='\u{36f}') || invisible.contains(*character)
    };
    text.nfkd()
        .filter(|character| !dropped(character))
        .default_case_fold()
        .nfc()
        .collect()
}

/// The longest runs of characters of one kind, without the separators.
fn pieces(folded: &str) -> Vec<(Kind, &str)> {
    let mut pieces: Vec<(Kind, &str)> = vec![];
    let mut before = Kind::Separator;
    let mut from = 0;
    let ends = folded
        .char_indices()
        .map(|(at, character)| (at, kind(character)));
    for (at, kind) in ends.chain([(folded.len(), Kind::Separator)]) {
        if kind != before {
            if before != Kind::Separator {
                pieces.push((before, &folded[from..at]));
            }
            (before, from) = (kind, at);
        }
    }
    pieces
}

fn tokens<'a>(pieces: &[(Kind, &'a str)]) -> Vec<&'a str> {
    let mut tokens = vec![];
    for (kind, piece) in pieces {
        match kind {
            Kind::Spaced => tokens.push(*piece),
            Kind::Unspaced => tokens.extend(overlapping(piece)),
            Kind::Separator => {}
        }
    }
    tokens
}

/// Each character together with the next one; the last character alone.
fn overlapping(run: &str) -> impl Iterator<Item = &str> {
    run.char_indices().map(|(at, _)| {
        let rest = &run[at..];
        let end = rest
            .char_indices()
            .nth(2)
            .map_or(rest.len(), |(end, _)| end);
        &rest[..end]
    })
}

fn kind(character: char) -> Kind {
    if !character.is_alphanumeric() && !is_combining_mark(character) {
        return Kind::Separator;
    }
    if character.is_ascii() {
        return Kind::Spaced;
    }
    // Uses the script extensions, because the mark that lengthens a vowel belongs to two scripts.
    let mut scripts = ScriptWithExtensions::new()
        .get_script_extensions_val(character)
        .iter();
    if scripts.any(|script| UNSPACED.contains(&script)) {
        Kind::Unspaced
    } else {
        Kind::Spaced
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    fn index(texts: &[&str]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, tokenize='ascii')";
        connection.execute_batch(table).unwrap();
        for text in texts {
            let insert = "INSERT INTO words (text) VALUES (?1)";
            connection.execute(insert, [index_text(text)]).unwrap();
        }
        connection
    }

    fn found(connection: &Connection, text: &str) -> Vec<i64> {
        let Some(query) = query(text) else {
            return vec![];
        };
        let mut select = connection
            .prepare("SELECT rowid FROM words WHERE words MATCH ?1")
            .unwrap();
        let rows = select.query_map([query], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    const NONE: [i64; 0] = [];

    #[test]
    fn all_words_must_match_a_word_beginning_regardless_of_case_and_accents() {
        let index = index(&["Hello World", "hello there", "WORLD peace", "Café au lait"]);
        assert_eq!(found(&index, "world"), [1, 3]);
        assert_eq!(found(&index, "HELLO wor"), [1]);
        assert_eq!(found(&index, "cafe"), [4]);
        assert_eq!(found(&index, "orld"), NONE);
    }

    #[test]
    fn a_run_of_characters_is_found_within_a_sentence_without_spaces() {
        let index = index(&[
            "今天玩成语接龙游戏",
            "今日は成語しりとりをした",
            "สวัสดีครับผมชื่อสมชาย",
            "ສະບາຍດີຕອນເຊົ້າ",
            "ខ្ញុំស្រឡាញ់ភាសាខ្មែរ",
            "မြန်မာဘာသာစကား",
            "온라인게임을 좋아해요",
            "第3回のＷｅｂ会議、ﾃﾞｰﾀを見る",
        ]);
        for (text, place) in [
            ("成语接龙", 1),
            ("游戏", 1),
            ("戏", 1),
            ("今天玩成语接龙游戏", 1),
            ("しりとり", 2),
            ("成語 した", 2),
            ("ครับ", 3),
            ("ชื่อ", 3),
            ("ຕອນ", 4),
            ("ភាសា", 5),
            ("စကား", 6),
            ("온라인", 7),
            ("게임", 7),
            ("좋아", 7),
            ("第3回", 8),
            ("3回", 8),
            ("web会", 8),
            ("会議 データ", 8),
        ] {
            assert_eq!(found(&index, text), [place], "{text}");
        }
        assert_eq!(found(&index, "今"), [1, 2]);
        for absent in ["语成", "玩游戏", "りした", "天语", "ด้วย", "议"] {
            assert_eq!(found(&index, absent), NONE, "{absent}");
        }
    }

    #[test]
    fn equivalent_letters_match() {
        let index = index(&[
            "Straße",
            "ΟΔΥΣΣΕΥΣ und Ὀδυσσεύς",
            "ﬁnally, of\u{ad}fice",
            "İstanbul",
            "Ｆｕｌｌｗｉｄｔｈ",
            "Ёлка",
            "हिन्दी में",
            "می\u{200c}خواهم",
            "re\u{301}sume\u{301}",
        ]);
        for (text, place) in [
            ("strasse", 1),
            ("STRASSE", 1),
            ("STRAẞE", 1),
            ("οδυσσευς", 2),
            ("ΟΔΥΣΣΕΎΣ", 2),
            ("finally", 3),
            ("office", 3),
            ("istanbul", 4),
            ("ISTANBUL", 4),
            ("fullwidth", 5),
            ("елка", 6),
            ("हिन्दी", 7),
            ("میخواهم", 8),
            ("résumé", 9),
            ("resume", 9),
        ] {
            assert_eq!(found(&index, text), [place], "{text}");
        }
    }

    #[test]
    fn operators_are_treated_as_words() {
        let index = index(&[
            "this OR that",
            "only this",
            "a NOT b",
            "say \"it\" (loud): text:x",
        ]);
        assert_eq!(found(&index, "this OR that"), [1]);
        assert_eq!(found(&index, "a NOT b"), [3]);
        assert_eq!(found(&index, "\"it\" (loud)"), [4]);
        assert_eq!(found(&index, "text:x"), [4]);
        assert_eq!(found(&index, "NEAR("), NONE);
        for nothing in [
            "", "  ", "***", "\"", "\"\"", "-", "🦀", "\0", "。、", "\u{200b}",
        ] {
            assert_eq!(query(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn words_are_counted_as_they_are_searched_for() {
        assert_eq!(count("one two\u{1}three\u{a0}four\u{3000}five"), 5);
        assert_eq!(count("in\u{ad}vi\u{200b}sible"), 1);
        assert_eq!(count("今天玩成语接龙游戏"), 1);
        // One character that is folded into four words.
        assert_eq!(count("\u{fdfa}"), 4);
        assert_eq!(count(" \u{1} "), 0);
    }

    proptest! {
        #[test]
        fn no_text_is_a_syntax_error(text in "\\PC*|[\"*():^+\\-{} a-cNEARORT\0]*") {
            found(&index(&["a b c"]), &text);
        }

        #[test]
        fn a_text_is_found_by_itself_and_by_the_end_of_each_run(text in "[a-zß今日はしりกา 3-]{1,12}", cut in 0_usize..12) {
            let index = index(&[&text]);
            prop_assume!(query(&text).is_some());
            prop_assert_eq!(found(&index, &text), [1]);
            let run = text.rsplit([' ', '-']).next().unwrap_or_default();
            let starts: Vec<_> = run.char_indices().map(|(at, _)| at).collect();
            if let Some(at) = starts.get(cut).copied() && run.chars().all(|one| kind(one) == Kind::Unspaced) {
                prop_assert_eq!(found(&index, &run[at..]), [1]);
            }
        }

        #[test]
        fn folding_is_idempotent(text in "\\PC*") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
