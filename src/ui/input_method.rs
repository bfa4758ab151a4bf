//! Detects whether an input method is composing a word of several key presses, as for Chinese, Japanese and Korean.
//!
//! Many other languages use input methods too. Keys that choose and confirm a word are not the application's, and a
//! text is not settled while a word of it is being composed.

use leptos::{
    ev::{InputEvent, KeyboardEvent},
    prelude::event_target_value,
};
use wasm_bindgen::JsCast;
use web_sys::Event;

/// The key code of a key press that an input method has processed (UI Events, section 7.3.1).
const PROCESSED: u32 = 229;

/// Whether a key press belongs to an input method. Browsers differ in the order of events: Safari ends the composition
/// before it reports the Enter that confirmed it, and then only the key code shows that the Enter belongs to it.
pub fn is_composing(event: &KeyboardEvent) -> bool {
    event.is_composing() || event.key_code() == PROCESSED
}

/// The text of the field in an event of type `input` or `compositionend`; `None` while a word is being composed.
pub fn settled_value(event: &Event) -> Option<String> {
    let composing = event
        .dyn_ref::<InputEvent>()
        .is_some_and(InputEvent::is_composing);
    (!composing).then(|| event_target_value(event))
}
