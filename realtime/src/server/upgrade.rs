//! Upgrades a request to a WebSocket: subprotocol, limits, and refusals that a browser can see.

use std::future::Future;

use axum::{
    extract::ws::{WebSocket, WebSocketUpgrade},
    http::{HeaderMap, header},
    response::Response,
};

use super::{
    drain::Drain,
    socket::{self, TEXT_READ_BYTES},
};
use crate::{close::CloseCode, contract::SocketContract};

/// tungstenite's read buffer in bytes. Its default of 128 KiB would be most of an idle connection's memory.
const READ_BUFFER: usize = 4 * 1024;

/// The subprotocols that the client offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Our subprotocol, perhaps among others.
    Ours,
    /// None at all.
    Nothing,
    /// Only unknown ones.
    Unknown,
}

/// Answers an upgrade request. `serve` runs the socket; `largest` is the longest message in bytes that is read to its
/// end. If the client offered only unknown subprotocols, the server echoes the first offer and closes with 4010.
/// Without the echo a browser would see only 1006.
pub fn accept<C, F>(
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    largest: usize,
    drain: &Drain,
    serve: impl FnOnce(WebSocket, Offer) -> F + Send + 'static,
) -> Response
where
    C: SocketContract,
    F: Future<Output = ()> + Send,
{
    let (offer, echo) = negotiate(headers, C::SUBPROTOCOL);
    let largest = largest.max(TEXT_READ_BYTES);
    let mut upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(largest)
        .max_frame_size(largest);
    if let Some(echo) = echo {
        upgrade = upgrade.protocols([echo]);
    }
    // Held from here on: axum spawns the upgraded task, and the drain must wait for it.
    let hold = drain.hold();
    upgrade.on_upgrade(async move |socket| {
        let _hold = hold;
        if offer == Offer::Unknown {
            socket::refuse(
                socket,
                CloseCode::UnknownProtocol,
                "this subprotocol is not spoken here",
            )
            .await;
        } else {
            serve(socket, offer).await;
        }
    })
}

fn negotiate(headers: &HeaderMap, ours: &str) -> (Offer, Option<String>) {
    let values = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|offer| !offer.is_empty())
        .collect();
    match offered.first() {
        None => (Offer::Nothing, None),
        Some(_) if offered.contains(&ours) => (Offer::Ours, Some(ours.to_owned())),
        Some(first) => (Offer::Unknown, Some((*first).to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_subprotocol_is_found_among_others_and_an_unknown_one_is_echoed() {
        let negotiated = |offers: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(
                    header::SEC_WEBSOCKET_PROTOCOL,
                    header::HeaderValue::from_static(offer),
                );
            }
            negotiate(&headers, "ours.v1")
        };
        assert_eq!(negotiated(&[]), (Offer::Nothing, None));
        assert_eq!(
            negotiated(&["ours.v1"]),
            (Offer::Ours, Some("ours.v1".into()))
        );
        assert_eq!(
            negotiated(&["ours.v2, ours.v1"]),
            (Offer::Ours, Some("ours.v1".into()))
        );
        assert_eq!(
            negotiated(&["x", "ours.v1"]),
            (Offer::Ours, Some("ours.v1".into()))
        );
        assert_eq!(
            negotiated(&["ours.v2,y"]),
            (Offer::Unknown, Some("ours.v2".into()))
        );
    }
}
