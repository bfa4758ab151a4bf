//! Draws the other clients' carets and selections over the text area.
//!
//! A text area does not report where its characters are on the screen. So a mirror is measured: an invisible element
//! with the same width, font and text. It is filled only when there is something to measure.

use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;
use wasm_bindgen::closure::Closure;
use web_sys::{HtmlDivElement, HtmlTextAreaElement, Node};

use super::{
    browser::{Range, ResizeObserver},
    sync::{
        splice::{byte_at, units},
        typing::TextArea,
    },
    writer::CaretPlace,
};
use crate::ui::numbers::shortest;
use realtime::client::Coalesce;

/// A zero-width character, so that the end of the text has a position even after a line feed.
const END: char = '\u{200b}';
/// A name is drawn above its caret. With less room than this, in pixels, it is drawn below.
const FLAG_HEIGHT: f64 = 18.0;
/// A name is drawn to the right of its caret. With less room than this, in pixels, it is drawn to the left.
const FLAG_WIDTH: f64 = 120.0;
/// The tolerance when two positions are compared, in pixels: edges of glyphs are rounded to fractions of a pixel.
const SAME_PLACE: f64 = 0.5;
/// The width at which a selected line feed is drawn, in pixels.
const LINE_FEED_WIDTH: f64 = 4.0;

/// The carets that are drawn. Cheap to copy; all copies share one state.
#[derive(Clone, Copy)]
pub struct Carets {
    /// Covers exactly the inside of the text area.
    layer: NodeRef<html::Div>,
    mirror: NodeRef<html::Div>,
    drawn: RwSignal<Vec<Drawn>>,
    pending_draw: Coalesce,
}

/// The caret and selection of another client, in pixels of the layer.
#[derive(Clone, Debug, PartialEq)]
struct Drawn {
    name: String,
    color: String,
    caret: Area,
    low: bool,
    left: bool,
    selected: Vec<Area>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// The filled mirror, from which positions are read.
struct Filled {
    text: String,
    node: Node,
    origin: (f64, f64),
    size: (f64, f64),
    range: Range,
}

impl Carets {
    pub fn new() -> Self {
        Self {
            layer: NodeRef::new(),
            mirror: NodeRef::new(),
            drawn: RwSignal::new(vec![]),
            pending_draw: Coalesce::new(),
        }
    }

    /// Schedules a redraw for the next animation frame. `places` is called in that frame.
    pub fn draw_soon(
        self,
        field: NodeRef<html::Textarea>,
        places: impl FnOnce() -> Vec<CaretPlace> + 'static,
    ) {
        if self.pending_draw.schedule() {
            request_animation_frame(move || {
                // The page may have been disposed by then.
                if self.pending_draw.run() {
                    self.draw(field, &places());
                }
            });
        }
    }

    /// The position that stays fixed on the screen when the text changes: the user's caret if it is visible, otherwise
    /// the first visible line. Returns its UTF-16 unit and its height on the screen. `None` at the very top, because no
    /// text above the visible part can change.
    pub fn anchor(self, field: &HtmlTextAreaElement) -> Option<(u32, f64)> {
        if field.scroll_top() == 0 {
            return None;
        }
        let filled = self.fill(field)?;
        let caret = field.has_focus().then(|| field.selection().head());
        let index = caret
            .filter(|index| filled.is_seen(*index))
            .unwrap_or_else(|| filled.first_seen());
        Some((index, filled.area(index)?.y))
    }

    /// Scrolls so that this unit is at this height again.
    pub fn bring_back(self, field: &HtmlTextAreaElement, index: u32, top: f64) {
        let now = self.fill(field).and_then(|filled| filled.area(index));
        if let Some(now) = now {
            field.set_scroll_top(field.scroll_top() + (now.y - top).round() as i32);
        }
    }

    /// Scrolls a unit to the middle if it is not visible.
    pub fn reveal(self, field: &HtmlTextAreaElement, index: u32) {
        let Some(filled) = self.fill(field).filter(|filled| !filled.is_seen(index)) else {
            return;
        };
        if let Some(area) = filled.area(index) {
            let middle = area.y - filled.size.1 / 2.0;
            field.set_scroll_top(field.scroll_top() + middle.round() as i32);
        }
    }

    fn draw(self, field: NodeRef<html::Textarea>, places: &[CaretPlace]) {
        let field = field.get_untracked().filter(|_| !places.is_empty());
        let filled = field.and_then(|field| self.fill(&field));
        let drawn = match filled {
            Some(filled) => places
                .iter()
                .filter_map(|place| filled.drawn(place))
                .collect(),
            None => vec![],
        };
        if self.drawn.with_untracked(|before| *before != drawn) {
            self.drawn.set(drawn);
        }
    }

    /// Gives the mirror the width of the text area's lines, its scroll offset and its text.
    fn fill(self, field: &HtmlTextAreaElement) -> Option<Filled> {
        let (layer, mirror) = (self.layer.get_untracked()?, self.mirror.get_untracked()?);
        // Not `client_width`, which is rounded: half a pixel decides where a line breaks.
        let besides = f64::from(field.offset_width() - field.client_width());
        let width = field.get_bounding_client_rect().width() - besides;
        let scrolled = format!("translateY(-{}px)", field.scroll_top());
        set_style(&mirror, "width", &pixels(width));
        set_style(&mirror, "transform", &scrolled);
        let text = field.value();
        let wanted = format!("{text}{END}");
        if mirror.text_content().as_deref() != Some(&wanted) {
            mirror.set_text_content(Some(&wanted));
        }
        let (from, size) = (
            layer.get_bounding_client_rect(),
            (layer.client_width(), layer.client_height()),
        );
        Some(Filled {
            text,
            node: mirror.first_child()?,
            origin: (from.left(), from.top()),
            size: (size.0.into(), size.1.into()),
            range: Range::new(),
        })
    }
}

impl Filled {
    fn drawn(&self, place: &CaretPlace) -> Option<Drawn> {
        let caret = self.area(place.head)?;
        let (start, end) = (
            place.anchor.min(place.head),
            place.anchor.max(place.head).min(units(&self.text)),
        );
        let seen = |area: &Area| area.y + area.height > 0.0 && area.y < self.size.1;
        let selected = if start < end {
            self.areas(start, end).filter(seen).collect()
        } else {
            vec![]
        };
        Some(Drawn {
            name: place.name.clone(),
            color: place.color.clone(),
            caret,
            low: caret.y < FLAG_HEIGHT,
            left: caret.x > self.size.0 - FLAG_WIDTH,
            selected,
        })
    }

    /// The area of the character that begins at a unit; a caret stands at its left edge. At a soft line break this is
    /// the beginning of the next line, as in text areas.
    fn area(&self, index: u32) -> Option<Area> {
        let byte = byte_at(&self.text, index);
        let start = units(&self.text[..byte]);
        let next = self.text[byte..].chars().next().unwrap_or(END);
        let character = self.areas(start, start + next.len_utf16() as u32).next();
        let Some(character) = character else {
            return self.areas(start, start).next();
        };
        // A character of right-to-left text begins at its right edge. Where the direction changes, a caret has two
        // possible positions; this uses the one at this character.
        let right = character.x + character.width;
        let is_at = |x: f64| {
            self.areas(start, start)
                .any(|place| place.y == character.y && (place.x - x).abs() < SAME_PLACE)
        };
        let x = match is_at(character.x) {
            false if is_at(right) => right,
            _ => character.x,
        };
        Some(Area { x, ..character })
    }

    fn areas(&self, start: u32, end: u32) -> impl Iterator<Item = Area> {
        let (x, y) = self.origin;
        let rects = self.range.rects(&self.node, start, end).into_iter();
        rects.map(move |rect| Area {
            x: rect.left() - x,
            y: rect.top() - y,
            width: rect.width(),
            height: rect.height(),
        })
    }

    fn is_seen(&self, index: u32) -> bool {
        self.area(index)
            .is_some_and(|area| area.y >= 0.0 && area.y + area.height <= self.size.1)
    }

    /// The first character that is not above the upper edge. Lines are ordered by height, so a binary search finds it.
    fn first_seen(&self) -> u32 {
        let (mut low, mut high) = (0, units(&self.text));
        while low < high {
            let middle = (low + high) / 2;
            if self.area(middle).is_some_and(|area| area.y < 0.0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The layer over the text area.
#[component]
pub fn CaretLayer(
    field: NodeRef<html::Textarea>,
    carets: Carets,
    redraw: impl Fn() + Clone + 'static,
) -> impl IntoView {
    // A change of width moves everything, for example when a phone is rotated or a window resized.
    Effect::new(move |_| {
        let Some(field) = field.get() else {
            return;
        };
        let callback = Closure::<dyn FnMut()>::new(redraw.clone());
        let observer = ResizeObserver::new(&callback);
        observer.observe(&field);
        let watch = SendWrapper::new((observer, callback));
        on_cleanup(move || watch.0.disconnect());
    });
    let caret = |drawn: Drawn| {
        let at = |area: Area| format!("translate({}, {})", pixels(area.x), pixels(area.y));
        let wash = |area: Area| {
            let width = pixels(area.width.max(LINE_FEED_WIDTH));
            view! { <div class="wash" data-test="selection" style:transform=at(area) style:width=width style:height=pixels(area.height) style=("--person", drawn.color.clone())></div> }
        };
        let selected = drawn.selected.iter().copied().map(wash).collect_view();
        let (color, name) = (drawn.color, drawn.name.clone());
        view! {
            {selected}
            <div class="caret" class:low=drawn.low class:left=drawn.left style:transform=at(drawn.caret) style:height=pixels(drawn.caret.height)
                style=("--person", color) data-test="caret" data-name=name>
                <bdi class="flag">{drawn.name}</bdi>
            </div>
        }
    };
    view! {
        // The list of people is announced elsewhere; the caret positions are visual only.
        <div class="carets" node_ref=carets.layer translate="no" aria-hidden="true">
            <div class="mirror" node_ref=carets.mirror></div>
            {move || carets.drawn.get().into_iter().map(caret).collect_view()}
        </div>
    }
}

fn pixels(length: f64) -> String {
    format!("{}px", shortest(length))
}

fn set_style(element: &HtmlDivElement, name: &str, value: &str) {
    let style = web_sys::HtmlElement::style(element);
    // Fails only for a read-only style.
    let _ = style.set_property(name, value);
}
