//! The theme: light, dark, or the system's.
//!
//! The choice is a cookie, so that the server renders the right theme: nothing flashes, and no script is needed.

#[cfg(feature = "ssr")]
pub mod server;

use leptos::{ev::MouseEvent, prelude::*};
use leptos_meta::Html;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsCast;

use super::{
    first_state::{FirstState, first_state},
    icons::{Glyph, Icon},
};
use crate::ui::erase::Erase;

pub const THEME_ROUTE: &str = "/api/theme";
pub const COOKIE: &str = "wirewise_theme";
/// The sentence for an unknown theme.
pub const THEME_RULE: &str = "A theme is \"system\", \"light\" or \"dark\".";

const A_YEAR_IN_SECONDS: u32 = 365 * 24 * 60 * 60;
/// The themes that a system may prefer.
const PREFERENCES: [Theme; 2] = [Theme::Light, Theme::Dark];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The cookie, for `Set-Cookie` and for a script that writes it; because of the script it is not `HttpOnly`.
    pub fn cookie(self, secure: bool) -> String {
        let secure = if secure { "; Secure" } else { "" };
        let word = self.word();
        format!("{COOKIE}={word}; Path=/; Max-Age={A_YEAR_IN_SECONDS}; SameSite=Lax{secure}")
    }

    /// The attribute of `<html>`; without it the style sheet follows the system.
    fn attribute(self) -> Option<&'static str> {
        (self != Self::System).then(|| self.word())
    }

    /// The colour of the browser's own bars where the system prefers `preferred`: the header's, `--raised` in tokens.css.
    fn bar(self, preferred: Self) -> &'static str {
        match (self, preferred) {
            (Self::Dark, _) | (Self::System, Self::Dark) => "#181c21",
            _ => "#ffffff",
        }
    }

    /// The media query of a system that prefers this theme.
    fn preferred(self) -> String {
        format!("(prefers-color-scheme: {})", self.word())
    }
}

/// The elements of the document's head that colour the browser's own bars. Plain elements: [`leptos_meta::Meta`] has no
/// `media`, and attributes spread onto it are lost in builds that erase the types of components, as `cargo leptos
/// watch` makes them.
pub fn bars() -> impl IntoView {
    let theme = FirstState::<(), Theme>::find(()).unwrap_or_default();
    PREFERENCES.map(|preferred| {
        leptos::html::meta()
            .name("theme-color")
            .attr("media", preferred.preferred())
            .content(theme.bar(preferred))
    })
}

/// Colours the bars after the current theme.
fn colour_bars(theme: Theme) {
    for preferred in PREFERENCES {
        let bar = format!(
            "meta[name=theme-color][media=\"{}\"]",
            preferred.preferred()
        );
        if let Ok(Some(bar)) = document().query_selector(&bar) {
            let _ = bar.set_attribute("content", theme.bar(preferred));
        }
    }
}

/// The buttons that choose and apply the theme. Without JavaScript they post the form.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let theme = RwSignal::new(first_state::<(), Theme>(()).unwrap_or_default());
    Effect::new(move |_| colour_bars(theme.get()));
    let button = move |(wanted, glyph, label): (Theme, Glyph, &'static str)| {
        let choose = move |event: MouseEvent| {
            event.prevent_default();
            theme.set(wanted);
            keep(wanted);
        };
        let pressed = move || (theme.get() == wanted).to_string();
        view! {
            <button type="submit" class="bare" name="theme" value=wanted.word() title=label aria-pressed=pressed on:click=choose data-test="theme">
                <Icon glyph/><span class="visually-hidden">{label}</span>
            </button>
        }
    };
    let buttons = [
        (Theme::System, Glyph::System, "As the system"),
        (Theme::Light, Glyph::Light, "Light"),
        (Theme::Dark, Glyph::Dark, "Dark"),
    ];
    view! {
        <Html attr:data-theme=move || theme.get().attribute()/>
        <form class="themes" method="post" action=THEME_ROUTE aria-label="Theme">
            {buttons.map(button).into_iter().collect_view()}
        </form>
    }
    .erase()
}

/// Writes the cookie. If that is not possible, the choice lasts as long as the page.
fn keep(theme: Theme) {
    let secure = window().location().protocol().as_deref() == Ok("https:");
    if let Some(document) = document().dyn_ref::<web_sys::HtmlDocument>() {
        let _ = document.set_cookie(&theme.cookie(secure));
    }
}
