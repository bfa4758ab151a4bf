//! The answers to requests that get no stream or socket.

use axum::{
    Json,
    extract::ws::rejection::WebSocketUpgradeRejection,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// `Retry-After` in seconds where an address has all of its permits.
const RETRY_SECONDS: u64 = 10;

/// Why a request gets no stream or socket. As a response it is JSON, `{"error": …}`. An application that answers otherwise
/// extracts `Result<SocketRequest<C>, Refused>`.
#[derive(Debug)]
pub enum Refused {
    /// The client's address holds as many open streams and sockets as it may: 429 with `Retry-After`.
    TooManyConnections,
    /// The request is no WebSocket handshake (RFC 6455, section 4.1).
    NoUpgrade(WebSocketUpgradeRejection),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::TooManyConnections => {
                let error = "Your address holds as many open streams as one may. Close one, or try again later.";
                let mut response = (
                    StatusCode::TOO_MANY_REQUESTS,
                    Json(json!({ "error": error })),
                )
                    .into_response();
                let seconds = HeaderValue::from(RETRY_SECONDS);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
                response
            }
            Self::NoUpgrade(rejection) => {
                let why = rejection.body_text();
                let error = format!("This route speaks WebSocket (RFC 6455): {why}.");
                let mut response =
                    (rejection.status(), Json(json!({ "error": error }))).into_response();
                let headers = response.headers_mut();
                // RFC 6455, section 4.4, and RFC 9110, section 15.5.6.
                headers.insert(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                );
                if matches!(rejection, WebSocketUpgradeRejection::MethodNotGet(_)) {
                    headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
                }
                response
            }
        }
    }
}
