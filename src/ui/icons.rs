//! Icons: strokes on a grid of 16, in the colour of the text beside them.
//!
//! That text names their meaning, so they are hidden from screen readers.

use leptos::prelude::*;

/// What an icon shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph {
    Ticker,
    Progress,
    Chat,
    Collab,
    System,
    Light,
    Dark,
    Rename,
    SignOut,
    Lost,
}

impl Glyph {
    fn strokes(self) -> &'static str {
        match self {
            Self::Ticker => "M1.5 11.5 5.5 7l3 3 6-6.5M10.5 3.5h4v4",
            Self::Progress => {
                "M3.5 5h9A1.5 1.5 0 0 1 14 6.5v3a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 2 9.5v-3A1.5 1.5 0 0 1 3.5 5zM4.75 8h3.5"
            }
            Self::Chat => "M2.5 3.5h11V11H7l-3 2.5V11H2.5z",
            Self::Collab => "M3 2.5l4 10.5 1.6-4.4L13 7z",
            Self::System => "M2 3h12v8H2zM5.5 13.5h5M8 11v2.5",
            Self::Light => {
                "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6zM8 1.2v1.2M8 13.6v1.2M1.2 8h1.2M13.6 8h1.2M3.2 3.2l.85.85M11.95 11.95l.85.85M12.8 3.2l-.85.85M4.05 11.95l-.85.85"
            }
            Self::Dark => "M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1z",
            Self::Rename => "M2.5 13.5l.6-3L10.7 3 13 5.3l-7.5 7.6z",
            Self::SignOut => "M9.5 2.5h-6v11h6M6.5 8h8M11.5 5l3 3-3 3",
            Self::Lost => "M1.5 8h3M11.5 8h3M6.5 5.5l3 5M9.5 5.5l-3 5",
        }
    }
}

/// One icon.
#[component]
pub fn Icon(glyph: Glyph) -> impl IntoView {
    view! { <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=glyph.strokes()></path></svg> }
}
