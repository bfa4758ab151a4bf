//! Prepares a rendered page so that its text nodes survive the HTML parser, as hydration expects.
//!
//! Hydration walks over the DOM and expects a text node for each text that was rendered. The HTML parser drops U+0000
//! from text (WHATWG HTML, section 13.2.6.4.7). A text of NULs alone then has no node, hydration panics, and the page
//! is dead. New texts with a NUL are refused. Texts that were stored before, or that arrived over a path that cannot
//! refuse them (a document of foreign Yjs clients, an address), are made safe here, once, for every page and every text
//! in it. All other changes of the parser leave a node: it turns carriage returns into line feeds, and leptos renders
//! an empty text as a space.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body_util::BodyExt;

/// Replaces a NUL, as the HTML parser does where it does not drop one (U+FFFD in UTF-8).
const REPLACEMENT: &str = "\u{fffd}";

/// Returns the page with a node for every text that is not empty.
pub fn keep_text_nodes(page: Response) -> Response {
    page.map(|body| Body::new(body.map_frame(|frame| frame.map_data(replace_nul))))
}

/// In UTF-8 a zero byte is always a NUL, however the page is cut into pieces.
fn replace_nul(piece: Bytes) -> Bytes {
    if !piece.contains(&0) {
        return piece;
    }
    let between: Vec<_> = piece.split(|byte| *byte == 0).collect();
    between.join(REPLACEMENT.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_becomes_a_character_that_the_parser_keeps() {
        let replaced = |text: &'static str| replace_nul(Bytes::from(text));
        assert_eq!(replaced("<p>ü\u{ffff}</p>"), "<p>ü\u{ffff}</p>");
        assert_eq!(
            replaced("\0<p>\0\0é\0</p>"),
            "\u{fffd}<p>\u{fffd}\u{fffd}é\u{fffd}</p>"
        );
    }
}
