//! The others' carets and selections, drawn over the text area.
//!
//! A text area does not say where a character of it is on the screen. A mirror does: an invisible element of the same width and
//! font with the same text, whose characters can be measured. It is filled only while there is something to measure.

use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;
use wasm_bindgen::closure::Closure;
use web_sys::{HtmlDivElement, HtmlTextAreaElement, Node};

use super::sync::{
    splice::{byte_at, units},
    typing::TextArea,
};
use super::{
    browser::{Range, ResizeObserver},
    writer::CaretPlace,
};
use realtime::client::Coalesce;

/// Shows nothing and takes no room: so that the end of the text, which may be a line feed, has a place.
const END: char = '\u{200b}';
/// A name stands above its caret; where there is less room than this, below it, in pixels.
const FLAG_HEIGHT: f64 = 18.0;
/// A name stands to the right of its caret; where there is less room than this, to its left.
const FLAG_WIDTH: f64 = 120.0;
/// Edges of glyphs are rounded to parts of a pixel.
const SAME_PLACE: f64 = 0.5;
/// A selected line feed is as wide as this.
const LINE_FEED_WIDTH: f64 = 4.0;

/// What is drawn. All copies are one.
#[derive(Clone, Copy)]
pub struct Carets {
    /// Lies exactly above the inside of the text area.
    layer: NodeRef<html::Div>,
    mirror: NodeRef<html::Div>,
    drawn: RwSignal<Vec<Drawn>>,
    draw_asked: Coalesce,
}

/// Somebody's caret and selection, in pixels of the layer.
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

/// The mirror, filled: places are read from it.
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
            draw_asked: Coalesce::new(),
        }
    }

    /// Draws with the next animation frame: what the function returns then, in this text area.
    pub fn draw_soon(
        self,
        field: NodeRef<html::Textarea>,
        places: impl FnOnce() -> Vec<CaretPlace> + 'static,
    ) {
        if self.draw_asked.arm() {
            request_animation_frame(move || {
                // The page may be gone by then.
                if self.draw_asked.fired() {
                    self.draw(field, &places());
                }
            });
        }
    }

    /// The place that stays where it is when the text changes: one's caret when it is seen, else the first line that is. Its unit
    /// and its height on the screen; `None` at the very top, where nothing is above what is seen.
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

    /// Scrolls so that the place with this unit is at this height again.
    pub fn bring_back(self, field: &HtmlTextAreaElement, index: u32, top: f64) {
        let now = self.fill(field).and_then(|filled| filled.area(index));
        if let Some(now) = now {
            field.set_scroll_top(field.scroll_top() + (now.y - top).round() as i32);
        }
    }

    /// Scrolls a place into the middle when it is not seen.
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

    /// Makes the mirror as wide as the text area's lines, as far scrolled, and gives it the same text.
    fn fill(self, field: &HtmlTextAreaElement) -> Option<Filled> {
        let (layer, mirror) = (self.layer.get_untracked()?, self.mirror.get_untracked()?);
        // Not `client_width`, which is rounded: half a pixel decides where a line breaks.
        let besides = f64::from(field.offset_width() - field.client_width());
        let width = field.get_bounding_client_rect().width() - besides;
        let scrolled = format!("translateY(-{}px)", field.scroll_top());
        set_style(&mirror, "width", &format!("{width}px"));
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

    /// Where the character that begins at a unit is; the area's left is where a caret stands. At the end of a line that was
    /// broken for room this is the beginning of the next, as text areas have it.
    fn area(&self, index: u32) -> Option<Area> {
        let byte = byte_at(&self.text, index);
        let start = units(&self.text[..byte]);
        let next = self.text[byte..].chars().next().unwrap_or(END);
        let character = self.areas(start, start + next.len_utf16() as u32).next();
        let Some(character) = character else {
            return self.areas(start, start).next();
        };
        // In text that runs from right to left a character begins at its right edge. Between the two directions there are two
        // places for a caret; the one at this character is wanted.
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

    /// Lines lie one below the other: the first character that is not above the edge.
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

/// The layer above the text area.
#[component]
pub fn CaretLayer(
    field: NodeRef<html::Textarea>,
    carets: Carets,
    redraw: impl Fn() + Clone + 'static,
) -> impl IntoView {
    // Another width, another place for everything: a phone is turned, a window is drawn larger.
    Effect::new(move |_| {
        let Some(field) = field.get() else {
            return;
        };
        let called = Closure::<dyn FnMut()>::new(redraw.clone());
        let observer = ResizeObserver::new(&called);
        observer.observe(&field);
        let watch = SendWrapper::new((observer, called));
        on_cleanup(move || watch.0.disconnect());
    });
    let caret = |drawn: Drawn| {
        let pixels = |length: f64| format!("{length}px");
        let at = |area: Area| format!("translate({}px, {}px)", area.x, area.y);
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
        // Who is here is told elsewhere; where they are is only to be seen.
        <div class="carets" node_ref=carets.layer translate="no" aria-hidden="true">
            <div class="mirror" node_ref=carets.mirror></div>
            {move || carets.drawn.get().into_iter().map(caret).collect_view()}
        </div>
    }
}

fn set_style(element: &HtmlDivElement, name: &str, value: &str) {
    let style = web_sys::HtmlElement::style(element);
    // Fails only for a style that is read-only.
    let _ = style.set_property(name, value);
}
