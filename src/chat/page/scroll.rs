//! Measures the reader's position in the log, and keeps it while rows are added and removed above.
//!
//! Done here and not by the browser's scroll anchoring, which Safari lacks; the style sheet turns that off.

use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, closure::Closure, prelude::wasm_bindgen};
use web_sys::{Element, HtmlElement};

/// Within this distance of its end the log follows new messages, in pixels.
const FOLLOW_WITHIN: i32 = 80;

/// The log and the list of rows in it.
#[derive(Clone, Copy)]
pub struct Scroller {
    pub log: NodeRef<html::Div>,
    pub list: NodeRef<html::Div>,
}

/// A row, and where it ends relative to the list. Not relative to the screen: the reader may scroll while the rows
/// change.
pub struct Anchor {
    offset: String,
    end: f64,
}

/// The scroll offset of the log, and the heights of its contents and of itself, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    top: i32,
    contents: i32,
    height: i32,
}

impl Place {
    /// Whether the reader scrolled up between this place and `now`. The log also moves when it or its contents change
    /// their size; that does not count.
    pub fn left_upwards(self, now: Self) -> bool {
        let same_size = (now.contents, now.height) == (self.contents, self.height);
        same_size && now.top < self.top
    }
}

impl Scroller {
    pub fn new() -> Self {
        Self {
            log: NodeRef::new(),
            list: NodeRef::new(),
        }
    }

    // A frame that was requested before may run when the log is gone: the page may show "No such room" by then.

    fn log(self) -> Option<web_sys::HtmlDivElement> {
        self.log.try_get_untracked().flatten()
    }

    fn list(self) -> Option<web_sys::HtmlDivElement> {
        self.list.try_get_untracked().flatten()
    }

    /// The row at the upper edge. Its end is kept in place: its beginning moves when the row ceases to lead a group.
    pub fn anchor(self) -> Option<Anchor> {
        let edge = self.log()?.get_bounding_client_rect().top();
        let list = self.list()?;
        let rows = list.get_elements_by_class_name("message");
        let end_of = |row: &Element| row.get_bounding_client_rect().bottom();
        // Rows lie one below the other: a binary search finds the first that ends below the edge.
        let (mut low, mut high) = (0, rows.length());
        while low < high {
            let middle = (low + high) / 2;
            if rows.item(middle).is_some_and(|row| end_of(&row) <= edge) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let row = rows.item(low)?;
        let end = end_of(&row) - list.get_bounding_client_rect().top();
        Some(Anchor {
            offset: row.get_attribute("data-offset")?,
            end,
        })
    }

    /// Puts the row back where it was before the change.
    pub fn restore(self, anchor: &Anchor) {
        let (Some(log), Some(list)) = (self.log(), self.list()) else {
            return;
        };
        let Some(row) = row(&list, &anchor.offset) else {
            return;
        };
        let end = row.get_bounding_client_rect().bottom() - list.get_bounding_client_rect().top();
        let moved = end - anchor.end;
        if moved != 0.0 {
            log.scroll_by_with_x_and_y(0.0, moved);
        }
    }

    /// Scrolls a row into the middle. Returns whether the row exists.
    pub fn center(self, offset: u64) -> bool {
        let (Some(log), Some(list)) = (self.log(), self.list()) else {
            return false;
        };
        let Some(row) = row(&list, &offset.to_string()) else {
            return false;
        };
        let (view, row) = (
            log.get_bounding_client_rect(),
            row.get_bounding_client_rect(),
        );
        log.scroll_by_with_x_and_y(
            0.0,
            row.top() + row.height() / 2.0 - view.top() - view.height() / 2.0,
        );
        true
    }

    /// Moves the keyboard focus to the log.
    pub fn focus(self) {
        if let Some(log) = self.log() {
            let _ = log.focus();
        }
    }

    pub fn to_end(self) {
        if let Some(log) = self.log() {
            log.set_scroll_top(log.scroll_height());
        }
    }

    /// Whether less than a screen is left above.
    pub fn is_near_start(self) -> bool {
        self.log()
            .is_some_and(|log| log.scroll_top() < log.client_height())
    }

    /// Whether less than a screen is left below.
    pub fn is_near_end(self) -> bool {
        self.log()
            .is_some_and(|log| below(&log) < log.client_height())
    }

    pub fn is_at_end(self) -> bool {
        self.log().is_some_and(|log| below(&log) <= FOLLOW_WITHIN)
    }

    pub fn place(self) -> Place {
        let place = |log: web_sys::HtmlDivElement| Place {
            top: log.scroll_top(),
            contents: log.scroll_height(),
            height: log.client_height(),
        };
        self.log().map(place).unwrap_or_default()
    }

    /// Calls `changed` whenever the size of the log changes, until the owner is gone: the field below it grows, a phone
    /// is turned.
    pub fn watch_size(self, changed: impl Fn() + 'static) {
        let Some(log) = self.log() else {
            return;
        };
        let called = Closure::<dyn FnMut()>::new(changed);
        let observer = ResizeObserver::new(&called);
        observer.observe(&log);
        let watch = SendWrapper::new((observer, called));
        on_cleanup(move || watch.0.disconnect());
    }

    /// Whether the end of the log is on the screen: neither scrolled out of the log nor, with the log, out of the
    /// window.
    pub fn end_is_visible(self) -> bool {
        let Some(log) = self.log() else {
            return false;
        };
        let height = window()
            .inner_height()
            .ok()
            .and_then(|height| height.as_f64());
        let bottom = log.get_bounding_client_rect().bottom();
        self.is_at_end()
            && height
                .is_some_and(|height| bottom > 0.0 && bottom <= height + f64::from(FOLLOW_WITHIN))
    }
}

// Declared here: the feature of web-sys would have every crate that depends on it built anew.
#[wasm_bindgen]
extern "C" {
    type ResizeObserver;
    #[wasm_bindgen(constructor)]
    fn new(changed: &Closure<dyn FnMut()>) -> ResizeObserver;
    #[wasm_bindgen(method)]
    fn observe(this: &ResizeObserver, element: &Element);
    #[wasm_bindgen(method)]
    fn disconnect(this: &ResizeObserver);
}

fn below(log: &HtmlElement) -> i32 {
    log.scroll_height() - log.scroll_top() - log.client_height()
}

fn row(list: &Element, offset: &str) -> Option<HtmlElement> {
    let found = list.query_selector(&format!("[data-offset=\"{offset}\"]"));
    found.ok()??.dyn_into().ok()
}
