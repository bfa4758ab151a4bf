//! The board and everybody's pointers.

use leptos::{ev::PointerEvent, html, prelude::*};
use leptos_meta::Title;
use leptos_router::{LazyRoute, components::A, hooks::use_params_map, lazy_route};

use super::{
    DOCUMENT_RULE, FIRST_DOCUMENT, is_document_name,
    message::{BoardCommand, BoardEvent, BoardSocket, Move, Peer, PeerId},
};
use crate::{
    app::Visitor,
    chat::page::{Avatar, restart_with_a_new_name},
    first_state::{PageStatus, first_state},
    realtime::client::{Socket, SocketEvent, StatusLine, use_socket},
};

/// The route.
pub struct CollabPage;

#[lazy_route]
impl LazyRoute for CollabPage {
    fn data() -> Self {
        Self
    }

    fn view(_this: Self) -> AnyView {
        view! { <CollabRoute/> }.into_any()
    }
}

#[component]
fn CollabRoute() -> impl IntoView {
    let params = use_params_map();
    let document = Memo::new(move |_| {
        params.with(|params| {
            params
                .get("doc")
                .unwrap_or_else(|| FIRST_DOCUMENT.to_owned())
        })
    });
    view! {
        <Title text="Collab"/>
        // Anew for another document.
        {move || {
            let document = document.get();
            if is_document_name(&document) {
                view! { <Board document/> }.into_any()
            } else {
                PageStatus::set(404);
                view! { <section class="notice"><h1>"No such document"</h1><p>{DOCUMENT_RULE}</p><p><A href="/collab">"To the first document"</A></p></section> }.into_any()
            }
        }}
    }
}

/// Everybody on the board: a signal each, so that a move touches one pointer.
#[derive(Clone, Copy)]
struct Peers(RwSignal<Vec<(PeerId, RwSignal<Peer>)>>);

impl Peers {
    fn new(peers: Vec<Peer>) -> Self {
        Self(RwSignal::new(
            peers
                .into_iter()
                .map(|peer| (peer.id, RwSignal::new(peer)))
                .collect(),
        ))
    }

    /// Whoever is shown already keeps their signal: a keyed row never looks for another one.
    fn replace(self, peers: Vec<Peer>) {
        let signal_of = |peer: Peer| {
            let id = peer.id;
            match self.find(id) {
                Some(known) => {
                    known.set(peer);
                    (id, known)
                }
                None => (id, RwSignal::new(peer)),
            }
        };
        self.0.set(peers.into_iter().map(signal_of).collect());
    }

    fn enter(self, peer: Peer) {
        match self.find(peer.id) {
            Some(known) => known.set(peer),
            None => self
                .0
                .update(|peers| peers.push((peer.id, RwSignal::new(peer)))),
        }
    }

    fn leave(self, gone: PeerId) {
        self.0.update(|peers| peers.retain(|(id, _)| *id != gone));
    }

    fn place(self, moved: PeerId, place: Option<(f32, f32)>) {
        if let Some(peer) = self.find(moved) {
            peer.update(|peer| (peer.x, peer.y) = place.unzip());
        }
    }

    fn find(self, wanted: PeerId) -> Option<RwSignal<Peer>> {
        self.0.with_untracked(|peers| {
            let found = peers.iter().find(|(id, _)| *id == wanted);
            found.map(|(_, peer)| *peer)
        })
    }

    fn take(self, event: BoardEvent) {
        match event {
            BoardEvent::Joined { peer } => self.enter(peer),
            BoardEvent::Moved { moves } => moves
                .into_iter()
                .for_each(|(id, x, y): Move| self.place(id, Some((x, y)))),
            BoardEvent::Hidden { id } => self.place(id, None),
            BoardEvent::Left { id } => self.leave(id),
            BoardEvent::Saved { .. } => {}
        }
    }
}

#[component]
fn Board(document: String) -> impl IntoView {
    let peers = Peers::new(first_state::<String, Vec<Peer>>(document.clone()).unwrap_or_default());
    let visitor = expect_context::<Visitor>().0;
    let contract = BoardSocket {
        document: document.clone(),
        readonly: false,
    };
    let socket = use_socket(
        move || Some(contract.clone()),
        move |event| match event {
            SocketEvent::Welcome { welcome, .. } => {
                visitor.update(|user| *user = Some(welcome.user));
                // The server lists the others; one's own moves find no pointer here and are dropped.
                peers.replace(welcome.peers);
            }
            SocketEvent::Event(event) => peers.take(event),
            SocketEvent::Refused(_) | SocketEvent::Binary(_) => {}
        },
    );
    restart_with_a_new_name(visitor, move || socket.connection.restart());
    let here = move || peers.0.get();
    view! {
        <div class="page-head">
            <h1>{format!("Board: {document}")}</h1>
            <StatusLine connection=socket.connection transport="WebSocket">
                {move || { let count = peers.0.with(Vec::len) + 1; view! { <span data-test="here">{format!("{count} here")}</span> } }}
            </StatusLine>
        </div>
        <p class="lead">"Move your pointer over the board, and open this page in a second window. Places are volatile: only the newest is ever sent, at most once in 33 ms."</p>
        <Surface socket peers/>
        <ul class="people" aria-label="On this board">
            <li>{move || visitor.get().map(|user| view! { <Avatar color=user.color/><span>{format!("{} (you)", user.name)}</span> })}</li>
            <For each=here key=|(id, _)| *id let:entry>
                <li data-test="peer">{move || entry.1.with(|peer| view! { <Avatar color=peer.user.color.clone()/><span>{peer.user.name.clone()}</span> })}</li>
            </For>
        </ul>
    }
}

#[component]
fn Surface(socket: Socket<BoardSocket>, peers: Peers) -> impl IntoView {
    let surface = NodeRef::<html::Div>::new();
    // The newest place; at most one is sent in an animation frame.
    let newest = StoredValue::new(None::<(f32, f32)>);
    let frame_asked = StoredValue::new(false);
    let moved = move |event: PointerEvent| {
        let Some(surface) = surface.get_untracked() else {
            return;
        };
        let bounds = surface.get_bounding_client_rect();
        let part = |at: i32, from: f64, length: f64| {
            ((f64::from(at) - from) / length.max(1.0)).clamp(0.0, 1.0) as f32
        };
        newest.set_value(Some((
            part(event.client_x(), bounds.left(), bounds.width()),
            part(event.client_y(), bounds.top(), bounds.height()),
        )));
        if frame_asked.try_update_value(|asked| std::mem::replace(asked, true)) == Some(true) {
            return;
        }
        request_animation_frame(move || {
            let place = newest.try_update_value(Option::take).flatten();
            let _ = frame_asked.try_update_value(|asked| *asked = false);
            if let Some((x, y)) = place {
                socket.send(&BoardCommand::Move { x, y });
            }
        });
    };
    let hide = move || {
        newest.set_value(None);
        socket.send(&BoardCommand::Hide);
    };
    Effect::new(move |_| {
        let hidden = window_event_listener(leptos::ev::visibilitychange, move |_| {
            if document().hidden() {
                hide();
            }
        });
        on_cleanup(move || hidden.remove());
    });
    view! {
        <div class="board" node_ref=surface data-test="board" on:pointermove=moved on:pointerdown=moved on:pointerleave=move |_| hide()>
            // Attributes in percent rather than styles: the server renders them too, under a strict CSP.
            <svg class="pointers" width="100%" height="100%" role="img" aria-label="Everybody's pointers">
                <For each=move || peers.0.get() key=|(id, _)| *id let:entry><Pointer peer=entry.1/></For>
            </svg>
        </div>
    }
}

#[component]
fn Pointer(peer: RwSignal<Peer>) -> impl IntoView {
    let percent = |part: Option<f32>| part.map(|part| format!("{}%", part * 100.0));
    // A memo: a move, which is frequent, does not touch name and colour.
    let user = Memo::new(move |_| peer.with(|peer| peer.user.clone()));
    let name = move || user.with(|user| user.name.clone());
    let color = move || user.with(|user| user.color.clone());
    let hidden = move || {
        if peer.with(|peer| peer.x.is_none()) {
            "none"
        } else {
            "inline"
        }
    };
    view! {
        <svg x=move || percent(peer.with(|peer| peer.x)) y=move || percent(peer.with(|peer| peer.y)) overflow="visible"
            display=hidden data-test="pointer" data-name=name>
            <path d="M0 0v18l5-4 3 7 3-1-3-7h6z" fill=color stroke="white"></path>
            <text x="14" y="30" fill=color>{name}</text>
        </svg>
    }
}
