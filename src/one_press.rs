//! Presses of a button that are one: a double click, or an Enter that repeats.

use leptos::ev::MouseEvent;

/// Within this many milliseconds a second press is part of the first. Systems take two clicks within half a second for a
/// double click.
const DOUBLE_PRESS_MS: f64 = 600.0;

/// For the button that submits a form, as its handler of `click`: Enter in a field of the form presses it too. Lets nothing
/// through while `busy`, and nothing that follows the last press at once. It does not disable the button, which would take
/// the focus from it.
pub fn one_press(busy: impl Fn() -> bool + 'static) -> impl FnMut(MouseEvent) {
    let mut last = None::<f64>;
    move |event| {
        let at = event.time_stamp();
        let again = last
            .replace(at)
            .is_some_and(|last| at - last < DOUBLE_PRESS_MS);
        if again || busy() {
            event.prevent_default();
        }
    }
}
