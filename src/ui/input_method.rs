//! Input methods: what composes words of several key presses, for Chinese, Japanese, Korean and many other languages. Keys that
//! choose and confirm a word are not the application's, and a text is not settled while a word of it is being composed.

use leptos::{
    ev::{InputEvent, KeyboardEvent},
    prelude::event_target_value,
};
use wasm_bindgen::JsCast;
use web_sys::Event;

/// The key code of a key press that an input method has processed (UI Events, section 7.3.1).
const PROCESSED: u32 = 229;

/// Whether a key press belongs to an input method. Browsers differ in the order of events: Safari ends the composition before
/// it tells of the Enter that confirmed it, and then only the key code says whose that Enter was.
pub fn is_composing(event: &KeyboardEvent) -> bool {
    event.is_composing() || event.key_code() == PROCESSED
}

/// The text of the field that an event of type `input` or `compositionend` is of; `None` while a word is being composed.
pub fn settled_value(event: &Event) -> Option<String> {
    let composing = event
        .dyn_ref::<InputEvent>()
        .is_some_and(InputEvent::is_composing);
    (!composing).then(|| event_target_value(event))
}
