//! Renders the parts that many pages have in common once, and compresses them once.
//!
//! A page that has such a part is compressed in three pieces: what is before the part, the part, and what is after it. They
//! are pieces of one brotli stream (RFC 7932): each ends at a whole byte, and no piece refers to an earlier one. So a visitor
//! costs the compression of some 12 kilobytes instead of 70.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use brotli::enc::BrotliEncoderParams;
use leptos::{
    prelude::*,
    tachys::{
        html::attribute::{Attribute, any_attribute::AnyAttribute},
        hydration::Cursor,
        view::{Position, PositionState},
    },
};

use crate::{
    ui::{
        markup::{Markup, MarkupSlot},
        shared_part::RenderShared,
    },
    web::error::ApiError,
};

/// The quality for what is compressed for one answer. With quality 4 brotli takes half as much time again, and saves 8 % of a page,
/// some 7 ms of a slow phone's link.
pub const QUALITY: i32 = 2;
/// The quality for what is compressed once for many pages.
const SHARED_QUALITY: i32 = 4;
/// Pieces refer back by at most this many bytes, as a power of two. Most pages are shorter.
const WINDOW_BITS: i32 = 18;
/// So many characters of a part are searched for in a page.
const BEGINNING: usize = 64;
/// An empty last block (RFC 7932, section 9.2: ISLAST and ISLASTEMPTY), which ends a stream.
const END: u8 = 0b11;

/// The shared parts of one page, in their order. Cheap to clone; all clones are one list.
#[derive(Clone, Default)]
pub struct SharedParts(Arc<Mutex<Vec<Arc<Markup>>>>);

impl SharedParts {
    /// Puts the renderer of shared parts into the context of a render.
    pub fn provide(&self) {
        let parts = self.clone();
        RenderShared::provide(move |slot, part| {
            let owner = Owner::current();
            let render = move || match owner {
                Some(owner) => owner.with(part),
                None => part(),
            };
            SharedPart {
                render: Box::new(render),
                slot,
                parts: parts.clone(),
            }
            .into_any()
        });
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Markup>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compresses the page, if it has shared parts and the client takes brotli before everything else. Other pages are left
    /// to the layer that compresses all answers.
    pub async fn compress(self, page: Response, accepts_brotli: bool) -> Response {
        let parts = std::mem::take(&mut *self.list());
        if parts.is_empty() || !accepts_brotli {
            return page;
        }
        let (mut head, body) = page.into_parts();
        let html = to_bytes(body, usize::MAX).await;
        // The renderer writes strings, and a body of them does not fail.
        let html = html
            .ok()
            .and_then(|html| String::from_utf8(html.into()).ok());
        let Some(html) = html else {
            return ApiError::new(500, "The page could not be rendered.").into_response();
        };
        let headers = &mut head.headers;
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, Body::from(joined(&html, &parts)))
    }
}

/// Whether a client prefers brotli to every other encoding that answers have (RFC 9110, section 12.5.3).
pub fn prefers_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let (mut brotli, mut others) = (0.0, 0.0);
    for coding in codings {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().strip_prefix("q=").map(str::parse::<f32>);
        let Some(Ok(quality)) = quality else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("br") {
            brotli = quality;
        } else {
            others = quality.max(others);
        }
    }
    brotli > 0.0 && brotli >= others
}

/// A page as a brotli stream.
fn joined(html: &str, parts: &[Arc<Markup>]) -> Vec<u8> {
    let mut stream = Vec::with_capacity(html.len() / 3);
    let mut rest = html;
    for part in parts {
        // Nothing is lost where a part is not found: it is compressed with the rest.
        let Some((before, after)) = split(rest, &part.html) else {
            continue;
        };
        let is_first = stream.is_empty();
        stream.extend(piece(before, QUALITY, is_first));
        stream.extend(part.compressed(|html| piece(html, SHARED_QUALITY, false)));
        rest = after;
    }
    let is_first = stream.is_empty();
    stream.extend(piece(rest, QUALITY, is_first));
    stream.push(END);
    stream
}

/// What is before a part and after it. A search for the whole of a long part would cost more than it does to compare it.
fn split<'a>(html: &'a str, part: &str) -> Option<(&'a str, &'a str)> {
    let beginning = part.char_indices().nth(BEGINNING);
    let beginning = &part[..beginning.map_or(part.len(), |(end, _)| end)];
    html.match_indices(beginning).find_map(|(place, _)| {
        let (before, rest) = html.split_at(place);
        rest.strip_prefix(part).map(|after| (before, after))
    })
}

/// A piece of a stream, without its end. The first one has the header.
fn piece(html: &str, quality: i32, is_first: bool) -> Vec<u8> {
    let parameters = BrotliEncoderParams {
        quality,
        lgwin: WINDOW_BITS,
        size_hint: html.len(),
        bare_stream: true,
        appendable: true,
        catable: !is_first,
        use_dictionary: is_first,
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::with_capacity(html.len() / 3);
    // Neither reading from a slice nor writing to a vector can fail.
    let _ = brotli::BrotliCompress(&mut html.as_bytes(), &mut compressed, &parameters);
    compressed
}

/// A part that takes its markup from the slot, and is rendered where the slot is empty or where it has attributes of this page
/// alone.
struct SharedPart {
    render: Box<dyn FnOnce() -> AnyView + Send>,
    slot: MarkupSlot,
    parts: SharedParts,
}

impl Render for SharedPart {
    type State = <AnyView as Render>::State;

    fn build(self) -> Self::State {
        (self.render)().build()
    }

    fn rebuild(self, state: &mut Self::State) {
        (self.render)().rebuild(state);
    }
}

impl AddAnyAttr for SharedPart {
    type Output<A: Attribute> = <AnyView as AddAnyAttr>::Output<A>;

    fn add_any_attr<A: Attribute>(self, attribute: A) -> Self::Output<A> {
        (self.render)().add_any_attr(attribute)
    }
}

impl RenderHtml for SharedPart {
    type AsyncOutput = Self;
    type Owned = Self;

    const MIN_LENGTH: usize = 0;

    fn dry_resolve(&mut self) {}

    async fn resolve(self) -> Self {
        self
    }

    fn to_html_with_buf(
        self,
        html: &mut String,
        position: &mut Position,
        escape: bool,
        mark_branches: bool,
        extra_attrs: Vec<AnyAttribute>,
    ) {
        let before = *position;
        let shared = self.slot.get();
        let shared = shared.filter(|markup| markup.before == before && extra_attrs.is_empty());
        if let Some(markup) = shared {
            html.push_str(&markup.html);
            *position = markup.after;
            self.parts.list().push(markup.clone());
            return;
        }
        let from = html.len();
        let is_alike = extra_attrs.is_empty();
        let view = (self.render)();
        view.to_html_with_buf(html, position, escape, mark_branches, extra_attrs);
        let own = &html[from..];
        // A page's NULs are replaced later, so that such a part would not be found in it (`text_nodes.rs`).
        if is_alike && !own.contains('\0') {
            let markup = Arc::new(Markup::new(own.to_owned(), before, *position));
            // Pages may be rendered at once. All that stand here have the same part, so any of them may fill the slot.
            let markup = self.slot.get_or_init(|| markup);
            if markup.before == before {
                self.parts.list().push(markup.clone());
            }
        }
    }

    fn hydrate<const FROM_SERVER: bool>(
        self,
        cursor: &Cursor,
        position: &PositionState,
    ) -> Self::State {
        (self.render)().hydrate::<FROM_SERVER>(cursor, position)
    }

    fn into_owned(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const HEAD: &str = "<html><head><title>Ticker</title></head><body><p>Ada</p><main>";
    const TAIL: &str = "</main></body></html>";

    fn markup(html: String) -> Arc<Markup> {
        Arc::new(Markup::new(html, Position::FirstChild, Position::NextChild))
    }

    /// Renders a part in which `text` stands, where the renderer stands at `position`, with the markup of the slot if it has some.
    fn rendered(slot: &MarkupSlot, text: &'static str, mut position: Position) -> String {
        let part = SharedPart {
            render: Box::new(move || leptos::html::p().child(text).into_any()),
            slot: slot.clone(),
            parts: SharedParts::default(),
        };
        let (parts, mut html) = (part.parts.clone(), String::new());
        part.to_html_with_buf(&mut html, &mut position, true, false, vec![]);
        assert_eq!(position, Position::NextChild);
        for noted in parts.list().iter() {
            assert_eq!(noted.html, html);
        }
        html
    }

    #[test]
    fn a_part_is_rendered_once_for_each_slot() {
        let slot = MarkupSlot::default();
        let first = rendered(&slot, "first", Position::FirstChild);
        assert!(first.contains("first"));
        assert_eq!(rendered(&slot, "second", Position::FirstChild), first);
        // Elsewhere the marks between nodes may be others.
        let elsewhere = rendered(&slot, "third", Position::NextChildAfterText);
        assert!(elsewhere.contains("third"));
        let next = rendered(&MarkupSlot::default(), "fourth", Position::FirstChild);
        assert!(next.contains("fourth"));
    }

    #[test]
    fn a_part_with_a_nul_is_not_shared() {
        let slot = MarkupSlot::default();
        rendered(&slot, "\0", Position::FirstChild);
        assert!(slot.get().is_none());
    }

    fn decompressed(stream: &[u8]) -> String {
        let mut html = vec![];
        brotli::BrotliDecompress(&mut &*stream, &mut html).unwrap();
        String::from_utf8(html).unwrap()
    }

    /// Rows of a table that are as alike as those of a page.
    fn rows(count: usize) -> String {
        let row = |number| format!("<tr><th>Row {number}</th><td>{}</td></tr>", number * 7_919);
        (0..count).map(row).collect()
    }

    #[test]
    fn pieces_are_one_stream() {
        for count in [0, 1, 2_000, 20_000] {
            let part = rows(count);
            let page = format!("{HEAD}{part}{TAIL}");
            assert_eq!(decompressed(&joined(&page, &[markup(part)])), page);
        }
    }

    #[test]
    fn pages_may_have_several_shared_parts_or_none() {
        let (one, two) = (rows(50), "<p>ü is two bytes, and so is é</p>".repeat(9));
        let page = format!("{HEAD}{one}<hr>{two}{TAIL}");
        let parts = [markup(one.clone()), markup(two)];
        assert_eq!(decompressed(&joined(&page, &parts)), page);
        assert_eq!(decompressed(&joined(&page, &[])), page);
        // This one is not in the page.
        let parts = [markup(format!("{one}?"))];
        assert_eq!(decompressed(&joined(&page, &parts)), page);
    }

    #[test]
    fn a_part_is_compressed_once() {
        let part = markup(rows(50));
        let page = |name: &str| format!("<p>{name}</p>{}{TAIL}", part.html);
        joined(&page("Ada"), std::slice::from_ref(&part));
        let compressed = part.compressed(|_| unreachable!("it is compressed already"));
        let other = joined(&page("Grace"), std::slice::from_ref(&part));
        let place = other.windows(compressed.len());
        assert_eq!(place.filter(|piece| *piece == compressed).count(), 1);
    }

    #[test]
    fn brotli_is_used_where_the_client_prefers_nothing_else() {
        let prefers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            prefers_brotli(&headers)
        };
        assert!(
            prefers("br") && prefers("gzip, deflate, br, zstd") && prefers("gzip;q=0.5,br;q=0.5")
        );
        assert!(prefers(" gzip;q=0.1 , BR"));
        assert!(!prefers("gzip") && !prefers("*") && !prefers("br;q=0") && !prefers("br;q=x"));
        assert!(!prefers("gzip, br;q=0.9") && !prefers(""));
        assert!(!prefers_brotli(&HeaderMap::new()));
    }
}
