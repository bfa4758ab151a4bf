//! A page leaves the server so that the browser finds every node in it that hydration expects.
//!
//! Hydration walks over the DOM and expects a text node for each text that was rendered. The HTML parser drops U+0000 from
//! text (WHATWG HTML, section 13.2.6.4.7): a text of nothing else has no node then, hydration panics, and the page is dead.
//! New texts with a NUL are refused; what was stored before, or came over a path that cannot refuse (a document of foreign
//! Yjs clients, an address), is made safe here, once, for every page and every text in it. Whatever else the parser changes
//! leaves a node: it makes line feeds of carriage returns, and leptos renders an empty text as a space.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body_util::BodyExt;

/// Takes the place of a NUL, as the HTML parser has it where it does not drop one (U+FFFD in UTF-8).
const REPLACEMENT: &str = "\u{fffd}";

/// A rendered page in which every text that is not empty has a node.
pub fn keep_text_nodes(page: Response) -> Response {
    page.map(|body| Body::new(body.map_frame(|frame| frame.map_data(replace_nul))))
}

/// In UTF-8 a zero byte is a NUL and nothing else, however the page is cut into pieces.
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
