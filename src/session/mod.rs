//! Sessions: every visitor gets a signed session as a guest; signing in renames it, signing out ends it.
//!
//! The server keeps no list of sessions: the token carries the user and is signed. For a while after its expiry it can
//! be renewed, so that a person stays the same user. The server records, on the bus, which sessions signed out and
//! which names were chosen, until none of their tokens can be renewed. So a restart restores neither a signed-out
//! session nor an old name.

pub mod current_user;
pub mod page;
#[cfg(feature = "ssr")]
pub mod server;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::web::text_rules::has_visible_character;

/// The browser renews an expired session here (POST): same user, new expiry; the response sets the cookie.
pub const RENEW_ROUTE: &str = "/api/session/renew";
/// The browser requests a new guest session here when a renewal is refused (POST; the response sets the cookie).
pub const GUEST_ROUTE: &str = "/api/session/guest";
pub const SIGN_IN_ROUTE: &str = "/api/session/sign_in";
pub const SIGN_OUT_ROUTE: &str = "/api/session/sign_out";
pub const TICKET_ROUTE: &str = "/api/session/ticket";

/// Longest name in characters.
pub const NAME_LENGTH: usize = 32;
/// The sentence for a name out of bounds.
pub const NAME_RULE: &str =
    "A name has 1 to 32 characters, one of them visible, and no control characters.";

/// Colours of pointers and avatars: dark enough for white text on them (WCAG 2.2 AA).
const COLORS: [&str; 10] = [
    "#b3261e", "#9a4a00", "#6b5d00", "#2e6b1f", "#00695c", "#00629e", "#3949ab", "#6a3ab2",
    "#9c2780", "#5d4037",
];

/// A user, as shown to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: Uuid,
    pub name: String,
    /// `#rrggbb`; derived from the id, so that it does not change with the name.
    pub color: String,
}

/// The answer to `guest`, `renew` and `sign_in`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    pub user: User,
    /// For `Authorization: Bearer`.
    pub token: String,
}

impl User {
    pub fn new(id: Uuid, name: String) -> Self {
        let color = COLORS[id.as_bytes()[15] as usize % COLORS.len()].to_owned();
        Self { id, name, color }
    }
}

/// Trims a name and checks it; the error is [`NAME_RULE`].
pub fn valid_name(name: &str) -> Option<&str> {
    let name = name.trim();
    let fits = (1..=NAME_LENGTH).contains(&name.chars().count());
    (fits && has_visible_character(name) && !name.chars().any(is_control)).then_some(name)
}

/// Whether this is one of Unicode's control characters, or one that changes the direction of the text around the name.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_to_thirty_two_characters_without_control_characters() {
        assert_eq!(valid_name("  Ada "), Some("Ada"));
        assert_eq!(
            valid_name(&"ü".repeat(32)).map(|name| name.chars().count()),
            Some(32)
        );
        // A family is one emoji made of several, joined by an invisible character.
        assert!(valid_name("👩\u{200d}👧").is_some());
        for name in [
            "",
            "   ",
            "a\u{7}b",
            "line\nbreak",
            &"x".repeat(33),
            "\u{200b}",
            "\u{3164}\u{feff}",
            "\u{2800}",
            "\u{a0}\u{e0067}\u{fe0f}",
            "\u{202e}nimda",
        ] {
            assert_eq!(valid_name(name), None, "{name:?}");
        }
    }
}
