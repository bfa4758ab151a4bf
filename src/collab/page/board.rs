//! The board: one's own pointer is sent from here, the others' are drawn above everything.

use leptos::{ev::PointerEvent, html, prelude::*};

use super::{
    interpolate::Place,
    peers::{PeerRow, Peers},
};
use crate::collab::message::{BoardCommand, BoardSocket};
use realtime::{
    client::{Coalesce, Socket, live_text},
    status::ConnectionStatus,
};

/// One's own pointer: at most one place is sent in an animation frame, and none when it did not move.
#[derive(Clone, Copy)]
struct OwnPointer {
    socket: Socket<BoardSocket>,
    /// Where it is; `None` when it is not on the board.
    place: StoredValue<Option<Place>>,
    /// Where the others think it is.
    told: StoredValue<Option<Place>>,
    frame_asked: Coalesce,
}

impl OwnPointer {
    fn new(socket: Socket<BoardSocket>) -> Self {
        let this = Self {
            socket,
            place: StoredValue::new(None),
            told: StoredValue::new(None),
            frame_asked: Coalesce::new(),
        };
        Effect::new(move |_| {
            let hidden = window_event_listener(leptos::ev::visibilitychange, move |_| {
                if document().hidden() {
                    this.hide();
                }
            });
            on_cleanup(move || hidden.remove());
        });
        // A new connection knows nothing of the pointer that rests here.
        Effect::new(move |_| {
            if matches!(socket.connection.status.get(), ConnectionStatus::Open) {
                this.told.set_value(None);
                this.tell_soon();
            }
        });
        this
    }

    fn move_to(self, place: Place) {
        self.place.set_value(Some(place));
        self.tell_soon();
    }

    fn hide(self) {
        self.place.set_value(None);
        let told = self.told.try_update_value(Option::take).flatten();
        if told.is_some() {
            self.socket.send(&BoardCommand::Hide);
        }
    }

    fn tell_soon(self) {
        if self.frame_asked.arm() {
            request_animation_frame(move || self.tell());
        }
    }

    fn tell(self) {
        // The page may be gone by then.
        if !self.frame_asked.fired() {
            return;
        }
        let place = self.place.get_value();
        if place == self.told.get_value() {
            return;
        }
        if let Some((x, y)) = place
            && self.socket.send(&BoardCommand::Move { x, y })
        {
            self.told.set_value(place);
        }
    }
}

/// The board with the document in its middle.
#[component]
pub fn Board(socket: Socket<BoardSocket>, peers: Peers, children: Children) -> impl IntoView {
    let surface = NodeRef::<html::Div>::new();
    let own = OwnPointer::new(socket);
    let moved = move |event: PointerEvent| {
        let Some(surface) = surface.get_untracked() else {
            return;
        };
        let bounds = surface.get_bounding_client_rect();
        let part = |at: i32, from: f64, length: f64| {
            let part = ((f64::from(at) - from) / length.max(1.0)).clamp(0.0, 1.0);
            // As fine as the server keeps it.
            ((part * 10_000.0).round() / 10_000.0) as f32
        };
        own.move_to((
            part(event.client_x(), bounds.left(), bounds.width()),
            part(event.client_y(), bounds.top(), bounds.height()),
        ));
    };
    view! {
        <div class="board" node_ref=surface data-test="board" on:pointermove=moved on:pointerdown=moved on:pointerleave=move |_| own.hide()>
            // What a finger moves a pointer on; on the text it scrolls.
            <div class="board-ground" data-test="ground"></div>
            {children()}
            // Attributes in percent rather than styles: the server renders them too, under a strict CSP.
            <svg class="pointers" width="100%" height="100%" role="img" aria-label="Everybody's pointers">
                <For each=move || peers.rows() key=|row| row.id let:row><Pointer row/></For>
            </svg>
        </div>
    }
}

/// The outer element is where the pointer was seen; the inner one, how far behind that it is shown while it glides.
#[component]
fn Pointer(row: PeerRow) -> impl IntoView {
    let PeerRow {
        peer,
        behind,
        stale,
        ..
    } = row;
    let percent = |part: f32| format!("{}%", part * 100.0);
    // A memo: a move, which is frequent, does not touch name and colour.
    let user = Memo::new(move |_| peer.with(|peer| peer.user.clone()));
    let name = move || user.with(|user| user.name.clone());
    let color = move || user.with(|user| user.color.clone());
    let display = move || {
        if peer.with(|peer| peer.x.is_none()) {
            "none"
        } else {
            "inline"
        }
    };
    view! {
        <svg x=move || peer.with(|peer| peer.x.map(percent)) y=move || peer.with(|peer| peer.y.map(percent)) overflow="visible"
            display=display class:stale=move || stale.get() data-test="pointer" data-name=name>
            <svg x=move || percent(behind.get().0) y=move || percent(behind.get().1) overflow="visible">
                <path d="M0 0v18l5-4 3 7 3-1-3-7h6z" fill=color stroke="white"></path>
                // `color` is an attribute here; a style would need the CSP's leave.
                <foreignObject x="13" y="17" width="160" height="24" color=color>
                    <div class="pointer-name"><bdi {..live_text(name)} translate="no"></bdi></div>
                </foreignObject>
            </svg>
        </svg>
    }
}
