//! Light, dark, or as the system has it. The choice is a cookie, so that the server renders the right one: nothing flashes,
//! and it needs no script.

#[cfg(feature = "ssr")]
pub mod server;

use leptos::{ev::MouseEvent, prelude::*};
use leptos_meta::{Html, Meta};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsCast;

use crate::{
    first_state::first_state,
    icons::{Glyph, Icon},
};

pub const THEME_ROUTE: &str = "/api/theme";
pub const COOKIE: &str = "wirewise_theme";
/// The sentence for a theme that there is not.
pub const THEME_RULE: &str = "A theme is \"system\", \"light\" or \"dark\".";

const A_YEAR_IN_SECONDS: u32 = 365 * 24 * 60 * 60;
/// Of the browser's own bars: the header's, `--raised` in tokens.css.
const LIGHT_BAR: &str = "#ffffff";
const DARK_BAR: &str = "#181c21";

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

    /// What `Set-Cookie` says, and a script that writes a cookie: which is why it is not `HttpOnly`.
    pub fn cookie(self, secure: bool) -> String {
        let secure = if secure { "; Secure" } else { "" };
        let word = self.word();
        format!("{COOKIE}={word}; Path=/; Max-Age={A_YEAR_IN_SECONDS}; SameSite=Lax{secure}")
    }

    /// The attribute of `<html>`; without it the style sheet asks the system.
    fn attribute(self) -> Option<&'static str> {
        (self != Self::System).then(|| self.word())
    }

    /// The colour of the browser's bars, where the system has `system`.
    fn bar(self, system: &'static str) -> &'static str {
        match self {
            Self::System => system,
            Self::Light => LIGHT_BAR,
            Self::Dark => DARK_BAR,
        }
    }
}

/// Chooses the theme, and applies it. Without JavaScript its buttons post the form.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let theme = RwSignal::new(first_state::<(), Theme>(()).unwrap_or_default());
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
        <Meta name="theme-color" attr:media="(prefers-color-scheme: light)" content=move || theme.get().bar(LIGHT_BAR)/>
        <Meta name="theme-color" attr:media="(prefers-color-scheme: dark)" content=move || theme.get().bar(DARK_BAR)/>
        <form class="themes" method="post" action=THEME_ROUTE aria-label="Theme">
            {buttons.map(button).into_iter().collect_view()}
        </form>
    }
    .into_any()
}

/// Writes the cookie. Where that is not possible the choice lasts as long as the page.
fn keep(theme: Theme) {
    let secure = window().location().protocol().as_deref() == Ok("https:");
    if let Some(document) = document().dyn_ref::<web_sys::HtmlDocument>() {
        let _ = document.set_cookie(&theme.cookie(secure));
    }
}
