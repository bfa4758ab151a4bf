//! The list of people on the board: each user once, no matter how many windows they have open or which client they use.

use std::collections::HashSet;

use leptos::prelude::*;

use super::{editor::Editor, peers::Peers};
use crate::session::{User, page::view::Avatar};
use realtime::client::text_content;

/// A user or client, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's id; for a client without one, a key made of its client id.
    key: String,
    name: String,
    color: String,
}

/// All others in the order in which they joined: first those with a page of ours, then clients that only edit the text.
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

/// A colour with an initial. The style sheet draws the initial, in upper case, so that screen readers do not read it as part of the
/// name.
#[component]
fn Face(name: String, color: String) -> impl IntoView {
    let initial = name.chars().next().map(String::from);
    view! { <span class="face" data-initial=initial aria-hidden="true"><Avatar color/></span> }
}
