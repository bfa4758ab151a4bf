//! Links from a statement to the line of the source that shows it. The server serves its own source
//! (`server/sources.rs`).

use leptos::prelude::*;

use realtime::contract::fill;

pub const SOURCE_ROUTE: &str = "/source/{*path}";

/// A place in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// From the root of the repository.
    pub path: &'static str,
    /// A text in the file, to which the browser scrolls. Empty: the file as a whole.
    pub text: &'static str,
}

/// The place in the source that contains `text`.
pub const fn source(path: &'static str, text: &'static str) -> Source {
    Source { path, text }
}

impl Source {
    fn url(self) -> String {
        let url = fill(SOURCE_ROUTE, &[self.path]);
        match self.text {
            "" => url,
            text => format!("{url}#:~:text={}", percent_encoded(text)),
        }
    }

    /// Folder and file, because every folder has a `mod.rs`.
    fn label(self) -> &'static str {
        match self.path.rmatch_indices('/').nth(1) {
            Some((slash, _)) => &self.path[slash + 1..],
            None => self.path,
        }
    }
}

/// A link for each place.
#[component]
pub fn Sources(places: &'static [Source]) -> impl IntoView {
    let link = |place: &'static Source| {
        // External, because the targets are no pages of the app.
        view! {
            <a class="source" href=place.url() rel="external" title=place.path data-test="source">
                <code>{place.label()}</code>
            </a>
        }
    };
    places.iter().map(link).collect_view()
}

/// Encodes a text for a text fragment, in which commas, ampersands and dashes have a meaning.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_file_and_to_the_text_in_it() {
        let place = source("realtime/src/server/sse.rs", "x-accel-buffering");
        let url = "/source/realtime/src/server/sse.rs#:~:text=x%2Daccel%2Dbuffering";
        assert_eq!(place.url(), url);
        assert_eq!(place.label(), "server/sse.rs");
        assert_eq!(source("src/lib.rs", "").label(), "src/lib.rs");
        assert_eq!(source("README.md", "").url(), "/source/README.md");
        assert_eq!(source("README.md", "").label(), "README.md");
    }
}
