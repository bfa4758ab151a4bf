//! Bindings to browser APIs that the page needs beyond the usual ones. They are declared by hand, because enabling
//! features of web-sys would rebuild every crate that depends on it.

use wasm_bindgen::prelude::*;
use web_sys::{DomRect, Element, EventTarget, HtmlTextAreaElement, Node};

use super::sync::{text::Selection, typing::TextArea};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = matchMedia)]
    fn match_media(query: &str) -> MediaQuery;

    type MediaQuery;
    #[wasm_bindgen(method, getter)]
    fn matches(this: &MediaQuery) -> bool;

    /// A range of a text that can be measured.
    pub type Range;
    #[wasm_bindgen(constructor)]
    pub fn new() -> Range;
    #[wasm_bindgen(method, catch, js_name = setStart)]
    fn set_start(this: &Range, node: &Node, offset: u32) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = setEnd)]
    fn set_end(this: &Range, node: &Node, offset: u32) -> Result<(), JsValue>;
    #[wasm_bindgen(method, js_name = getClientRects)]
    fn client_rects(this: &Range) -> JsValue;

    pub type ResizeObserver;
    #[wasm_bindgen(constructor)]
    pub fn new(changed: &Closure<dyn FnMut()>) -> ResizeObserver;
    #[wasm_bindgen(method)]
    pub fn observe(this: &ResizeObserver, element: &Element);
    #[wasm_bindgen(method)]
    pub fn disconnect(this: &ResizeObserver);

    type Clipboard;
    #[wasm_bindgen(method, catch, js_name = writeText)]
    async fn write_text(this: &Clipboard, text: &str) -> Result<JsValue, JsValue>;
}

impl Range {
    /// The rectangles of the UTF-16 units from `start` to `end` of a text, in window coordinates, line by line.
    pub fn rects(&self, text: &Node, start: u32, end: u32) -> Vec<DomRect> {
        // Fails only for offsets beyond the end.
        if self.set_start(text, start).is_err() || self.set_end(text, end).is_err() {
            return vec![];
        }
        let rects = js_sys::Array::from(&self.client_rects()).into_iter();
        rects.map(JsCast::unchecked_into).collect()
    }
}

/// Whether the user asked the system for reduced motion.
pub fn prefers_reduced_motion() -> bool {
    match_media("(prefers-reduced-motion: reduce)").matches()
}

/// Copies a text to the clipboard and returns whether that worked. Insecure contexts have no clipboard, and the user
/// may deny access.
pub async fn copy(text: &str) -> bool {
    let navigator = leptos::prelude::window().navigator();
    let clipboard = js_sys::Reflect::get(&navigator, &"clipboard".into()).unwrap_or_default();
    if clipboard.is_falsy() {
        return false;
    }
    clipboard
        .unchecked_into::<Clipboard>()
        .write_text(text)
        .await
        .is_ok()
}

/// An event listener that is removed when it is dropped.
pub struct Listener {
    target: EventTarget,
    event: &'static str,
    callback: Closure<dyn FnMut()>,
}

impl Listener {
    pub fn new(
        target: &EventTarget,
        event: &'static str,
        callback: impl FnMut() + 'static,
    ) -> Self {
        let callback = Closure::<dyn FnMut()>::new(callback);
        // Fails only if the listener is not a function.
        let _ = target.add_event_listener_with_callback(event, callback.as_ref().unchecked_ref());
        Self {
            target: target.clone(),
            event,
            callback,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self
            .target
            .remove_event_listener_with_callback(self.event, callback);
    }
}

impl TextArea for HtmlTextAreaElement {
    fn value(&self) -> String {
        self.value()
    }

    fn set_value(&self, value: &str) {
        self.set_value(value);
    }

    fn selection(&self) -> Selection {
        let unit = |unit: Result<Option<u32>, _>| unit.ok().flatten().unwrap_or_default();
        Selection {
            start: unit(self.selection_start()),
            end: unit(self.selection_end()),
            backward: self.selection_direction().ok().flatten().as_deref() == Some("backward"),
        }
    }

    fn select(&self, selection: Selection) {
        let Selection {
            start,
            end,
            backward,
        } = selection;
        let direction = if backward { "backward" } else { "forward" };
        let _ = self.set_selection_range_with_direction(start, end, direction);
    }

    /// Also true while another window has the focus.
    fn has_focus(&self) -> bool {
        let field: &Element = self;
        leptos::prelude::document().active_element().as_ref() == Some(field)
    }
}
