//! Shows the handshake of this page's connection, as the server received and answered it, beside one over the other
//! transport.

use gloo_net::http::Request;
use leptos::{prelude::*, task::spawn_local};

use super::watched::Watched;
use crate::{
    inspector::{
        counterpart::{CompareEvents, CompareSocket},
        message::{HANDSHAKE_ROUTE, HandshakeView},
    },
    ui::erase::Erase,
    web::error::{answer_in, refused},
};
use realtime::{
    client::{text_content, use_event_source, use_socket},
    contract::fill,
    transport::Transport,
};

type Known = RwSignal<Option<Result<HandshakeView, String>>>;

#[component]
pub(super) fn Handshakes(watched: Watched) -> impl IntoView {
    let (own, other) = (Known::new(None), Known::new(None));
    Effect::new(move |_| {
        if let Some(connection) = watched.connection.id.get() {
            load(connection, own);
        }
    });
    let transport = watched.transport;
    for_comparison(transport.other(), other);
    view! {
        <p class="quiet">"As the server received them and answered, secrets blanked. The second connection was opened just now, for comparison, and is closed again."</p>
        <div class="handshakes">
            <Handshake title=format!("{}, this page's", transport.name()) known=own test="handshake-own"/>
            <Handshake title=format!("{}, for comparison", transport.other().name()) known=other test="handshake-other"/>
        </div>
    }
}

#[component]
fn Handshake(title: String, known: Known, test: &'static str) -> impl IntoView {
    view! {
        <section class="handshake" data-test=test>
            <h2>{title}</h2>
            {move || match known.get() {
                None => view! { <p class="empty">"Not there yet."</p> }.erase(),
                Some(Err(why)) => view! { <p {..text_content(why)} class="refusal"></p> }.erase(),
                Some(Ok(handshake)) => view! {
                    <pre translate="no" role="group" tabindex="0" aria-label="Request">{handshake.request}</pre>
                    <pre translate="no" role="group" tabindex="0" aria-label="Answer">{handshake.response}</pre>
                }.erase(),
            }}
        </section>
    }
}

/// Opens a connection over `transport` until its handshake is loaded.
fn for_comparison(transport: Transport, known: Known) {
    let wanted = move || known.read().is_none();
    let connection = match transport {
        Transport::Sse => use_event_source(move || wanted().then_some(CompareEvents), |_| {}),
        Transport::WebSocket => {
            use_socket(move || wanted().then_some(CompareSocket), |_| {}).connection
        }
    };
    Effect::new(move |_| {
        if let Some(connection) = connection.id.get() {
            load(connection, known);
        }
    });
}

fn load(connection: String, known: Known) {
    spawn_local(async move {
        let _ = known.try_set(Some(fetch_handshake(&connection).await));
    });
}

async fn fetch_handshake(connection: &str) -> Result<HandshakeView, String> {
    const UNREACHABLE: &str = "The server cannot be reached.";
    let response = Request::get(&fill(HANDSHAKE_ROUTE, &[connection]))
        .send()
        .await;
    let response = response.map_err(|_| UNREACHABLE.to_owned())?;
    if response.ok() {
        return answer_in(response).await.map_err(|refused| refused.error);
    }
    Err(refused(response).await.error)
}
