//! Where the reader stands in the log, and keeping it so while messages come and go above.
//!
//! By hand and not by the browser's scroll anchoring, which Safari lacks; the style sheet turns that one off.

use leptos::{html, prelude::*};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

/// Closer than this to its end, the log follows new messages, in pixels.
const FOLLOW_WITHIN: i32 = 80;

/// The log and the list of rows in it.
#[derive(Clone, Copy)]
pub struct Scroller {
    pub log: NodeRef<html::Div>,
    pub list: NodeRef<html::Div>,
}

/// A row, and where it ends in the list. Not on the screen: the reader may scroll while the rows change.
pub struct Anchor {
    offset: String,
    end: f64,
}

impl Scroller {
    pub fn new() -> Self {
        Self {
            log: NodeRef::new(),
            list: NodeRef::new(),
        }
    }

    /// The row at the upper edge. Its end is what is held: its beginning changes when it ceases to lead a group.
    pub fn anchor(self) -> Option<Anchor> {
        let edge = self.log.get_untracked()?.get_bounding_client_rect().top();
        let list = self.list.get_untracked()?;
        let rows = list.children();
        let end_of = |row: &Element| row.get_bounding_client_rect().bottom();
        // Rows lie one below the other: the first that ends below the edge.
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
        let (Some(log), Some(list)) = (self.log.get_untracked(), self.list.get_untracked()) else {
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

    /// Brings a row into the middle. Says whether it is there.
    pub fn center(self, offset: u64) -> bool {
        let (Some(log), Some(list)) = (self.log.get_untracked(), self.list.get_untracked()) else {
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

    pub fn to_end(self) {
        if let Some(log) = self.log.get_untracked() {
            log.set_scroll_top(log.scroll_height());
        }
    }

    /// Less than a screen is left above.
    pub fn is_near_start(self) -> bool {
        self.log
            .get_untracked()
            .is_some_and(|log| log.scroll_top() < log.client_height())
    }

    /// Less than a screen is left below.
    pub fn is_near_end(self) -> bool {
        self.log
            .get_untracked()
            .is_some_and(|log| below(&log) < log.client_height())
    }

    pub fn is_at_end(self) -> bool {
        self.log
            .get_untracked()
            .is_some_and(|log| below(&log) <= FOLLOW_WITHIN)
    }

    pub fn top(self) -> i32 {
        self.log.get_untracked().map_or(0, |log| log.scroll_top())
    }

    /// The end of the log is on the screen: neither scrolled out of the log nor, with the log, out of the window.
    pub fn end_is_visible(self) -> bool {
        let Some(log) = self.log.get_untracked() else {
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

fn below(log: &HtmlElement) -> i32 {
    log.scroll_height() - log.scroll_top() - log.client_height()
}

fn row(list: &Element, offset: &str) -> Option<HtmlElement> {
    let found = list.query_selector(&format!("[data-offset=\"{offset}\"]"));
    found.ok()??.dyn_into().ok()
}
