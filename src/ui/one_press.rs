//! Treats repeated presses of a button as one: a double click, or an Enter that repeats.

use leptos::ev::MouseEvent;

/// Within this many milliseconds a second Enter counts as part of the first.
const DOUBLE_PRESS_MS: f64 = 600.0;

/// The handler of `click` for the button that submits a form; Enter in a field of the form presses it too. It blocks
/// every press while `busy`, the second click of a double click, and an Enter that follows another at once. It does not
/// disable the button, which would take the focus from it.
pub fn one_press(busy: impl Fn() -> bool + 'static) -> impl FnMut(MouseEvent) {
    let mut last_enter = None::<f64>;
    move |event| {
        // The browser counts clicks that belong together (UI Events, "click"); for a click by a key the count is 0.
        let again = match event.detail() {
            0 => {
                let at = event.time_stamp();
                let last = last_enter.replace(at);
                last.is_some_and(|last| at - last < DOUBLE_PRESS_MS)
            }
            count => count > 1,
        };
        if again || busy() {
            event.prevent_default();
        }
    }
}
