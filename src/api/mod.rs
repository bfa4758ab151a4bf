//! What a plain request gets back when it is refused: `{"error": "a sentence", "field"?: "name"}` and a status.
//!
//! Server functions and axum handlers return the same [`ApiError`]; none sets a status by itself. `answer.rs` turns it
//! into the status it names, or, for a form that a browser posted without JavaScript, into a redirect back to the form.

#[cfg(feature = "ssr")]
pub mod answer;
#[cfg(feature = "ssr")]
pub mod limits;
#[cfg(feature = "ssr")]
pub mod origin;
#[cfg(feature = "ssr")]
pub mod panicked;
pub mod parameters;
#[cfg(feature = "ssr")]
pub mod query;

use leptos::{
    prelude::{FromServerFnError, ServerFnErrorErr},
    server_fn::codec::JsonEncoding,
};
use serde::{Deserialize, Serialize};

/// A refusal: a sentence that says what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct ApiError {
    pub error: String,
    /// The form field it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The HTTP status; inside the server only, the answer's own status says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Seconds after which the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            field: None,
            status: Some(status),
            retry_after: None,
        }
    }

    /// 422: a field is out of its bounds; the sentence names them.
    pub fn field(field: &str, error: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(422, error)
        }
    }

    /// 429: later.
    pub fn too_many(error: impl Into<String>, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(429, error)
        }
    }

    /// 401: no session, or none that is valid.
    pub fn unauthorized() -> Self {
        Self::new(
            401,
            "This needs a session: POST /api/session/guest gives one.",
        )
    }
}

/// What a refused request says, for the person: the sentence of an [`ApiError`], or at least the status.
pub async fn refusal(response: gloo_net::http::Response) -> String {
    let refused = response.json::<ApiError>().await;
    refused.map_or_else(
        |_| format!("The server answers {}.", response.status()),
        |refused| refused.error,
    )
}

impl FromServerFnError for ApiError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            ServerFnErrorErr::Args(message) | ServerFnErrorErr::MissingArg(message) => {
                Self::new(422, format!("The form is incomplete: {message}."))
            }
            ServerFnErrorErr::Deserialization(message) => {
                Self::new(400, format!("What came cannot be read: {message}."))
            }
            ServerFnErrorErr::Request(_) => Self::new(
                503,
                "The server cannot be reached. Nothing was changed; try again.",
            ),
            other => Self::new(500, format!("Something went wrong on the server: {other}.")),
        }
    }
}
