//! The toolbar above the document: undo, redo, the saving state, the length, and the link to share.

use std::time::Duration;

use leptos::{html, prelude::*, task::spawn_local};

use super::{browser::copy, editor::Editor, sync::Mark};
use realtime::client::live_text;

/// How long the button confirms that the link was copied.
const CONFIRM_FOR: Duration = Duration::from_secs(2);
/// The states that are announced. Saving and saved are not, because they change with every key.
const OFFLINE: &str = "Offline. What you write is kept in this tab.";
const READ_ONLY: &str = "This document is read-only here.";
const UNSAVED: &str =
    "Not saved yet. The server cannot store anything now. What you write is kept in this tab.";
const SAVED_AGAIN: &str = "All is saved.";
const ALL_SAVED: &str = "Back online. All is saved.";

#[component]
pub fn Toolbar(editor: Editor, document: String, readonly: bool) -> impl IntoView {
    let mark = editor.mark;
    let state = move || match mark.get() {
        Mark::Loading => "loading",
        Mark::ReadOnly => "read-only",
        Mark::Saving => "saving",
        Mark::Unsaved => "unsaved",
        Mark::Saved => "saved",
        Mark::Offline { .. } => "offline",
    };
    let words = move || match mark.get() {
        Mark::Loading => "Loading…".to_owned(),
        Mark::ReadOnly => "Read-only".to_owned(),
        Mark::Saving => "Saving…".to_owned(),
        Mark::Unsaved => "Not saved yet".to_owned(),
        Mark::Saved => "Saved".to_owned(),
        Mark::Offline { unsent: 0 } => "Offline: nothing unsent".to_owned(),
        Mark::Offline { unsent } => format!("Offline: kept here, {unsent} unsent"),
    };
    let announced = Memo::new(move |before: Option<&&str>| match mark.get() {
        Mark::Offline { .. } => OFFLINE,
        Mark::ReadOnly => READ_ONLY,
        Mark::Unsaved => UNSAVED,
        Mark::Saved if before == Some(&OFFLINE) => ALL_SAVED,
        Mark::Saved if before == Some(&UNSAVED) => SAVED_AGAIN,
        _ => before.copied().unwrap_or_default(),
    });
    let length = move || match editor.words.get() {
        1 => "1 word".to_owned(),
        words => format!("{words} words"),
    };
    let disabled_unless = |can: RwSignal<bool>| move || !can.get();
    view! {
        <div class="toolbar" role="group" aria-label="Document">
            {(!readonly).then(|| view! {
                <button type="button" class="small" disabled=disabled_unless(editor.can_undo) on:click=move |_| editor.undo() aria-keyshortcuts="Control+Z Meta+Z" data-test="undo">"Undo"</button>
                <button type="button" class="small" disabled=disabled_unless(editor.can_redo) on:click=move |_| editor.redo() aria-keyshortcuts="Control+Shift+Z Meta+Shift+Z Control+Y" data-test="redo">"Redo"</button>
            })}
            <span {..live_text(words)} class="saved" data-test="saved" data-state=state></span>
            <span {..live_text(move || announced.get())} class="visually-hidden" role="status" data-test="saved-announced"></span>
            <span {..live_text(length)} class="length" title="Letters and digits in a row, or one Chinese or Japanese character" data-test="words"></span>
            <Share document readonly/>
        </div>
        <output {..live_text(move || editor.refusal.get())} id="text-refusal" class="refusal" data-test="text-refusal"></output>
    }
}

/// Copies the address of the document, or displays it if the browser does not allow that.
#[component]
fn Share(document: String, readonly: bool) -> impl IntoView {
    let copied = RwSignal::new(false);
    let shown = RwSignal::new(None::<String>);
    let field = NodeRef::<html::Input>::new();
    let share = move |_| {
        let address = link(&document, readonly);
        spawn_local(async move {
            if !copy(&address).await {
                let _ = shown.try_set(Some(address));
            } else if copied.try_set(true).is_none() {
                set_timeout(
                    move || {
                        let _ = copied.try_set(false);
                    },
                    CONFIRM_FOR,
                );
            }
        });
    };
    // Selects the address, so that it can be copied by hand.
    Effect::new(move |_| {
        if let Some(field) = field.get() {
            field.select();
        }
    });
    view! {
        <span class="share">
            <button type="button" class="small" on:click=share data-test="share">
                <span {..live_text(move || if copied.get() { "Link copied" } else { "Copy link" })} aria-live="polite"></span>
            </button>
            {move || shown.get().map(|address| view! { <input node_ref=field readonly aria-label="The link to this document" value=address data-test="link"/> })}
        </span>
    }
}

fn link(document: &str, readonly: bool) -> String {
    let origin = window().location().origin().unwrap_or_default();
    let query = if readonly { "?readonly=1" } else { "" };
    format!("{origin}/collab/{document}{query}")
}
