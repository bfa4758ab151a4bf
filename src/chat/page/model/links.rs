//! Finds the web addresses in a text, so that a page can make them clickable. Pure; produces text, never HTML.

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    /// An address with `http://` or `https://`, as it was typed: the link leads to the address that is shown.
    Link(&'a str),
}

/// Splits a text into pieces; concatenated, they are the text again.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest_from, mut at) = (vec![], 0, 0);
    while let Some(start) = next_scheme(text, at) {
        let end = start + address_length(&text[start..]);
        if end == start {
            // A scheme with no host after it.
            at = start + 1;
            continue;
        }
        if rest_from < start {
            pieces.push(Piece::Text(&text[rest_from..start]));
        }
        pieces.push(Piece::Link(&text[start..end]));
        (rest_from, at) = (end, end);
    }
    if rest_from < text.len() {
        pieces.push(Piece::Text(&text[rest_from..]));
    }
    pieces
}

/// Where the next `http://` or `https://` begins that is not in the middle of a word.
fn next_scheme(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let begins_word = |start: usize| {
        let before = text[..start].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric())
    };
    // A scheme is ASCII, so it begins at a character boundary.
    (from..bytes.len()).find(|&start| scheme_length(&bytes[start..]) > 0 && begins_word(start))
}

fn scheme_length(bytes: &[u8]) -> usize {
    let is = |scheme: &&str| {
        let head = bytes.get(..scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let scheme = ["https://", "http://"].into_iter().find(is);
    scheme.map_or(0, str::len)
}

/// The length in bytes of the address at the beginning of a text; 0 if there is no host.
fn address_length(text: &str) -> usize {
    let scheme = scheme_length(text.as_bytes());
    let after = &text[scheme..];
    let end = after.find(ends_address).unwrap_or(after.len());
    let address = without_trailing_punctuation(&after[..end]);
    let has_host = address
        .chars()
        .next()
        .is_some_and(|first| first.is_alphanumeric() || first == '[');
    if has_host { scheme + address.len() } else { 0 }
}

/// Whether a character ends an address. Invisible characters could make an address look like another one.
fn ends_address(character: char) -> bool {
    let invisible = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let mark = matches!(
        character,
        '<' | '>' | '"' | '`' | '\\' | '^' | '{' | '|' | '}'
    );
    character.is_whitespace() || character.is_control() || invisible || mark
}

/// Removes the punctuation of the sentence around an address from its end. A closing bracket stays if it was opened
/// inside.
fn without_trailing_punctuation(address: &str) -> &str {
    let count = |which: char| address.matches(which).count();
    // How many more closing brackets than opening ones there are; counted once, since a text may consist of brackets
    // only.
    let mut surplus =
        [('(', ')'), ('[', ']')].map(|(open, close)| count(close).saturating_sub(count(open)));
    address.trim_end_matches(|last| {
        let surplus = match last {
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '~' | '…' | '”' | '’' | '»' =>
            {
                return true;
            }
            ')' => &mut surplus[0],
            ']' => &mut surplus[1],
            _ => return false,
        };
        let stray = *surplus > 0;
        *surplus = surplus.saturating_sub(1);
        stray
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn links(text: &str) -> Vec<&str> {
        let link = |piece| match piece {
            Piece::Link(address) => Some(address),
            Piece::Text(_) => None,
        };
        pieces(text).into_iter().filter_map(link).collect()
    }

    #[test]
    fn only_http_and_https_become_links() {
        assert_eq!(
            links("see https://example.org/a?b=c#d now"),
            ["https://example.org/a?b=c#d"]
        );
        assert_eq!(
            links("HTTP://EXAMPLE.ORG and http://b"),
            ["HTTP://EXAMPLE.ORG", "http://b"]
        );
        for text in [
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://example.org",
            "www.example.org",
            "mailto:a@b",
            "https://",
            "http:// example.org",
            "https:///etc",
            "xhttp://example.org",
            "https:/one.example",
        ] {
            assert!(links(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_marks_of_the_sentence_around_it_are_left_out() {
        for (text, link) in [
            ("(https://example.org/a).", "https://example.org/a"),
            ("https://example.org/a_(b)", "https://example.org/a_(b)"),
            ("<https://example.org>", "https://example.org"),
            ("\"https://example.org/?q=1\",", "https://example.org/?q=1"),
            ("https://example.org/!?…", "https://example.org/"),
            ("https://[::1]:80/x", "https://[::1]:80/x"),
            ("https://münchen.example/ä", "https://münchen.example/ä"),
        ] {
            assert_eq!(links(text), [link], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_ends_the_address() {
        assert_eq!(
            links("https://good.example/\u{202e}evil"),
            ["https://good.example/"]
        );
        assert_eq!(links("https://a.example\u{200b}b"), ["https://a.example"]);
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text(text in "(https?://|[a-z.()<\"ä😀\u{202e} \n]){0,40}") {
            let together: String = pieces(&text).into_iter().map(|piece| match piece {
                Piece::Text(part) | Piece::Link(part) => part,
            }).collect();
            prop_assert_eq!(together, text);
        }

        #[test]
        fn every_link_is_an_address_with_a_host(text in "\\PC{0,20}(https?://)?\\PC{0,40}") {
            for link in links(&text) {
                let host = link.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
                prop_assert!(link.to_lowercase().starts_with("http") && !host.is_empty());
            }
        }
    }
}
