//! Another client of the text, as the page displays it.

use super::sync::awareness::Cursor;
use crate::session::{NAME_LENGTH, User, valid_name};

/// Another client of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Writer {
    pub client: u64,
    /// The user's id; for a client without one, a key made of its client id.
    pub key: String,
    pub name: String,
    pub color: String,
    pub cursor: Option<Cursor>,
}

/// The place of another client's selection in the text area.
#[derive(Clone, Debug, PartialEq)]
pub struct CaretPlace {
    pub client: u64,
    pub name: String,
    pub color: String,
    pub anchor: u32,
    pub head: u32,
}

/// Cleans a name from an awareness state, which may hold anything.
pub fn shown_name(name: Option<&str>) -> String {
    let name = name.map(|name| name.chars().take(NAME_LENGTH).collect::<String>());
    let name = name.as_deref().and_then(valid_name);
    name.unwrap_or("Somebody").to_owned()
}

/// Checks a colour from an awareness state. Anything but a plain hex colour is replaced by one of ours.
pub fn shown_color(color: Option<&str>, client: u64) -> String {
    let plain = |color: &&str| {
        let digits = color.strip_prefix('#').unwrap_or_default();
        [3, 6].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match color.filter(plain) {
        Some(color) => color.to_owned(),
        None => User::new(uuid::Uuid::from_u128(client.into()), String::new()).color,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_colours_of_other_clients_are_checked() {
        assert_eq!(shown_name(Some(" Ada ")), "Ada");
        assert_eq!(shown_name(Some(&"x".repeat(900))).len(), 32);
        for name in [None, Some(""), Some("\u{202e}x"), Some("a\nb")] {
            assert_eq!(shown_name(name), "Somebody");
        }
        assert_eq!(shown_color(Some("#aBc"), 1), "#aBc");
        assert_eq!(shown_color(Some("#30bced"), 1), "#30bced");
        for color in [
            None,
            Some("red"),
            Some("#30bced33"),
            Some("url(//x)"),
            Some("#ggg"),
        ] {
            let color = shown_color(color, 7);
            assert!(color.starts_with('#') && color.len() == 7);
        }
    }
}
