//! What somebody typed into a search field, as a query that FTS5 always understands.

use std::collections::BTreeSet;

/// Each word of the text as a quoted prefix; all must occur. `None` when nothing in it can be searched for.
///
/// Quoted, so that no word is an operator (`OR`, `NEAR`, `*`, `-`, a colon): inside quotes only the quote itself has a
/// meaning, and doubling it takes that away (<https://sqlite.org/fts5.html#fts5_strings>).
pub fn query(text: &str) -> Option<String> {
    // The index knows letters and digits only; a NUL would end the query.
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    // Each once: the index looks for all that begins with a word anew for every time that it is named.
    let quoted: BTreeSet<String> = words
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| format!("\"{}\"*", word.replace('"', "\"\"")))
        .collect();
    (!quoted.is_empty()).then(|| Vec::from_iter(quoted).join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    fn index(texts: &[&str]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2')").unwrap();
        for text in texts {
            connection
                .execute("INSERT INTO words (text) VALUES (?1)", [text])
                .unwrap();
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

    #[test]
    fn all_words_must_begin_a_word_whatever_the_case_and_the_accents() {
        let index = index(&["Hello World", "hello there", "WORLD peace", "Café au lait"]);
        assert_eq!(found(&index, "world"), [1, 3]);
        assert_eq!(found(&index, "HELLO wor"), [1]);
        assert_eq!(found(&index, "cafe"), [4]);
        assert_eq!(found(&index, "orld"), [] as [i64; 0]);
    }

    #[test]
    fn operators_are_words() {
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
        assert_eq!(found(&index, "NEAR("), [] as [i64; 0]);
        for nothing in ["", "  ", "***", "\"", "\"\"", "-", "🦀", "\0"] {
            assert_eq!(query(nothing), None, "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_syntax_error(text in "\\PC*|[\"*():^+\\-{} a-cNEARORT\0]*") {
            found(&index(&["a b c"]), &text);
        }
    }
}
