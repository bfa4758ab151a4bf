//! Who is here: everybody once, however many windows they have, whatever client they use.

use std::collections::HashSet;

use leptos::prelude::*;

use super::{editor::Editor, peers::Peers};
use crate::{
    realtime::client::text_content,
    session::{User, valid_name, view::Avatar},
};

/// Somebody, as the page shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's id, or for a client that has none its own.
    key: String,
    name: String,
    color: String,
}

/// Everybody else, in the order of coming: whoever has a window of ours, then clients that only edit the text.
pub fn others(peers: Peers, editor: Editor, visitor: RwSignal<Option<User>>) -> Memo<Vec<Person>> {
    Memo::new(move |_| {
        let me = visitor.with(|user| user.as_ref().map(|user| user.id.to_string()));
        let mut known = me.into_iter().collect::<HashSet<_>>();
        let mut people = vec![];
        for row in peers.rows() {
            let user = row.peer.with(|peer| peer.user.clone());
            let key = user.id.to_string();
            if known.insert(key.clone()) {
                people.push(Person {
                    key,
                    name: user.name,
                    color: user.color,
                });
            }
        }
        editor.writers.with(|writers| {
            for writer in writers {
                if known.insert(writer.key.clone()) {
                    people.push(Person {
                        key: writer.key.clone(),
                        name: writer.name.clone(),
                        color: writer.color.clone(),
                    });
                }
            }
        });
        people
    })
}

/// A name that came in an awareness state, and may be anything.
pub fn shown_name(name: Option<&str>) -> String {
    let name = name.map(|name| {
        name.chars()
            .take(crate::session::NAME_LENGTH)
            .collect::<String>()
    });
    let name = name.as_deref().and_then(valid_name);
    name.unwrap_or("Somebody").to_owned()
}

/// A colour that came in an awareness state: what is not plainly one is replaced by one of ours.
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

#[component]
pub fn People(others: Memo<Vec<Person>>, visitor: RwSignal<Option<User>>) -> impl IntoView {
    view! {
        <ul class="people" aria-label="On this board">
            <li>{move || visitor.get().map(|user| view! { <Face name=user.name.clone() color=user.color/><span class="face-name"><bdi {..text_content(user.name)} translate="no"></bdi>" (you)"</span> })}</li>
            <For each=move || others.get() key=|person| (person.key.clone(), person.name.clone(), person.color.clone()) let:person>
                <li data-test="peer"><Face name=person.name.clone() color=person.color/><bdi class="face-name" translate="no">{person.name}</bdi></li>
            </For>
        </ul>
    }
}

/// A colour with an initial. The initial is drawn by the style sheet: it is no part of the name that is read out.
#[component]
fn Face(name: String, color: String) -> impl IntoView {
    let initial = name
        .chars()
        .next()
        .map(|first| first.to_uppercase().to_string());
    view! { <span class="face" data-initial=initial aria-hidden="true"><Avatar color/></span> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_colours_of_foreign_clients_are_looked_at_first() {
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
