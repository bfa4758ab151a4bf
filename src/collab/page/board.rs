//! The board: sends the user's own pointer and draws the pointers of the other peers above everything else.

use std::time::Duration;

use leptos::{ev::PointerEvent, html, prelude::*};

use super::{
    interpolate::Position,
    peers::{PeerRow, Peers},
};
use crate::{
    collab::message::{BoardCommand, BoardSocket},
    ui::numbers::shortest,
};
use realtime::{
    client::{Coalesce, Socket, live_text},
    status::ConnectionStatus,
};

/// A position that was not sent, because the uplink is full, is sent again after this time.
const SEND_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The user's own pointer. At most one position is sent per animation frame, and none if it did not change.
#[derive(Clone, Copy)]
struct OwnPointer {
    socket: Socket<BoardSocket>,
    /// The current position; `None` if the pointer is not on the board.
    position: StoredValue<Option<Position>>,
    /// The position that was sent last.
    sent: StoredValue<Option<Position>>,
    pending_frame: Coalesce,
}

impl OwnPointer {
    fn new(socket: Socket<BoardSocket>) -> Self {
        let this = Self {
            socket,
            position: StoredValue::new(None),
            sent: StoredValue::new(None),
            pending_frame: Coalesce::new(),
        };
        Effect::new(move |_| {
            let hidden = window_event_listener(leptos::ev::visibilitychange, move |_| {
                if document().hidden() {
                    this.hide();
                }
            });
            on_cleanup(move || hidden.remove());
        });
        // A new connection does not know this pointer's position, even if the pointer does not move.
        Effect::new(move |_| {
            if matches!(socket.connection.status.get(), ConnectionStatus::Open) {
                this.sent.set_value(None);
                this.send_soon();
            }
        });
        this
    }

    fn move_to(self, position: Position) {
        self.position.set_value(Some(position));
        self.send_soon();
    }

    fn hide(self) {
        self.position.set_value(None);
        // At once: a hidden tab gets no animation frames.
        self.send_change();
    }

    fn send_soon(self) {
        if self.pending_frame.schedule() {
            request_animation_frame(move || self.send_position());
        }
    }

    fn send_position(self) {
        // The page may have been disposed by then.
        if self.pending_frame.run() {
            self.send_change();
        }
    }

    fn send_change(self) {
        // The page may have been disposed by now.
        let known = (self.position.try_get_value(), self.sent.try_get_value());
        let (Some(position), Some(sent)) = known else {
            return;
        };
        if position == sent {
            return;
        }
        let command = match position {
            Some((x, y)) => BoardCommand::Move { x, y },
            None => BoardCommand::Hide,
        };
        if self.socket.send(&command) {
            return self.sent.set_value(position);
        }
        // A new connection sends the position by itself.
        let status = self.socket.connection.status;
        let is_open = status.with_untracked(|status| *status == ConnectionStatus::Open);
        if is_open && self.pending_frame.schedule() {
            set_timeout(move || self.send_position(), SEND_AGAIN_AFTER);
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
            // The precision that the server keeps.
            ((part * 10_000.0).round() / 10_000.0) as f32
        };
        own.move_to((
            part(event.client_x(), bounds.left(), bounds.width()),
            part(event.client_y(), bounds.top(), bounds.height()),
        ));
    };
    view! {
        <div class="board" node_ref=surface data-test="board" on:pointermove=moved on:pointerdown=moved on:pointerleave=move |_| own.hide()>
            // The area in which a finger moves the pointer. On the text, a finger scrolls.
            <div class="board-ground" data-test="ground"></div>
            {children()}
            // Attributes in percent instead of styles, because the server renders them too, under a strict CSP.
            <svg class="pointers" width="100%" height="100%" role="img" aria-label="Everybody's pointers">
                <For each=move || peers.rows() key=|row| row.id let:row><Pointer row/></For>
            </svg>
        </div>
    }
}

/// The outer element is at the pointer's received position. The inner one holds the offset at which the pointer is
/// still drawn while it moves there.
#[component]
fn Pointer(row: PeerRow) -> impl IntoView {
    let PeerRow {
        peer,
        behind,
        stale,
        ..
    } = row;
    let percent = |part: f32| format!("{}%", shortest(f64::from(part) * 100.0));
    // A memo, so that frequent moves do not touch name and colour.
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
                // `color` is an attribute here. The CSP would not allow a style.
                <foreignObject x="13" y="17" width="160" height="24" color=color>
                    <div class="pointer-name"><bdi {..live_text(name)} translate="no"></bdi></div>
                </foreignObject>
            </svg>
        </svg>
    }
}
