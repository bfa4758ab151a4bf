//! The text area of the shared text, with its keyboard shortcuts.

use leptos::{
    ev::{InputEvent, KeyboardEvent},
    prelude::*,
};

use super::{carets::CaretLayer, editor::Editor};
use crate::ui::input_method::is_composing;

/// The text area. `text` is the text that the server rendered. It is read-only until the page has the document, too.
#[component]
pub fn Field(editor: Editor, text: String, readonly: bool) -> impl IntoView {
    let before = move |event: InputEvent| match event.input_type().as_str() {
        // From a menu. The browser's own undo history does not know the edits of other clients.
        "historyUndo" => {
            event.prevent_default();
            editor.undo();
        }
        "historyRedo" => {
            event.prevent_default();
            editor.redo();
        }
        _ => {}
    };
    let key = move |event: KeyboardEvent| {
        let wanted = match shortcut(&event) {
            Some(wanted) if !is_composing(&event) => wanted,
            _ => return,
        };
        event.prevent_default();
        match wanted {
            Shortcut::Undo => editor.undo(),
            Shortcut::Redo => editor.redo(),
        }
    };
    let label = if readonly {
        "Shared text, read-only"
    } else {
        "Shared text"
    };
    view! {
        <div class="paper">
            <textarea node_ref=editor.field class="shared-text" aria-label=label aria-describedby="text-refusal" autocomplete="off" spellcheck="true"
                placeholder=if readonly { "Nothing is written here yet." } else { "Write here. Everybody on this board sees it at once." }
                readonly=move || !editor.editable.get() inner_html=escape(&text) data-test="text"
                on:beforeinput=before on:input=move |_| editor.edited() on:keydown=key
                on:compositionstart=move |_| editor.composition_began() on:compositionend=move |_| editor.composition_ended()
                on:mousedown=move |_| editor.pointed() on:drop=move |_| editor.pointed()
                on:focus=move |_| editor.focused() on:blur=move |_| editor.blurred() on:scroll=move |_| editor.draw_carets_soon()></textarea>
            <CaretLayer field=editor.field carets=editor.carets redraw=move || editor.draw_carets_soon()/>
        </div>
    }
}

enum Shortcut {
    Undo,
    Redo,
}

/// Control on most systems, Command on a Mac.
fn shortcut(event: &KeyboardEvent) -> Option<Shortcut> {
    let held = event.ctrl_key() || event.meta_key();
    if !held || event.alt_key() {
        return None;
    }
    match (event.key().to_ascii_lowercase().as_str(), event.shift_key()) {
        ("z", false) => Some(Shortcut::Undo),
        ("z", true) | ("y", false) => Some(Shortcut::Redo),
        _ => None,
    }
}

/// Escapes the text for the content of a `textarea`, which takes no child elements: as a child, leptos would put its
/// markers among the letters. A line feed is prepended, because the parser drops one.
fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("\n{}", escaped.replace('>', "&gt;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_text_whatever_is_in_it() {
        assert_eq!(
            escape("</textarea><script>a && b</script>&lt;"),
            "\n&lt;/textarea&gt;&lt;script&gt;a &amp;&amp; b&lt;/script&gt;&amp;lt;"
        );
        assert_eq!(escape("\nsecond line"), "\n\nsecond line");
    }
}
