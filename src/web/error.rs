//! The error of a plain request: `{"error": "a sentence", "field"?: "name"}` and a status.
//!
//! Server functions and axum handlers return the same [`ApiError`]; none sets a status by itself. `server/answer.rs`
//! turns it into an answer with its status, or, for a form that a browser posted without JavaScript, into a redirect
//! back to the form.

use gloo_net::http::Response;
use leptos::{
    prelude::{FromServerFnError, ServerFnErrorErr},
    server_fn::codec::JsonEncoding,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use realtime::{close::reason, json::decode};

/// A refusal: a sentence that says what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct ApiError {
    pub error: String,
    /// The form field or parameter that the error is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The HTTP status. Inside the server only: an answer has it as its own status and not in its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Seconds after which the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Why there is no session, in a 401: `none`, `expired` or `signed_out`, as in close code 4001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ApiError {
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            field: None,
            status: Some(status),
            retry_after: None,
            reason: None,
        }
    }

    /// 422: a field is out of its bounds; the sentence names them.
    pub fn field(field: &str, error: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(422, error)
        }
    }

    /// 429: too many. `retry_after` is in seconds.
    pub fn too_many(error: impl Into<String>, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(429, error)
        }
    }

    /// 503: the request did not reach the server.
    pub fn unreachable() -> Self {
        let error = "The server cannot be reached. Nothing was changed; try again.";
        Self::new(503, error)
    }

    /// An answer of which nothing but its status can be read.
    pub fn unreadable(status: u16) -> Self {
        Self::new(status, format!("The server answers {status}."))
    }

    /// 401: no session, or none that is valid; `why` is one of [`reason`].
    pub fn unauthorized(why: &str) -> Self {
        // A page shows the sentence to a visitor; a program's log shows it to the author.
        let error = match why {
            reason::EXPIRED => {
                "The session has expired. Reload the page to go on. A program renews it with POST /api/session/renew, or gets a new one with POST /api/session/guest."
            }
            reason::SIGNED_OUT => {
                "You signed out. Reload the page to go on as a guest. A program gets a new session with POST /api/session/guest."
            }
            _ => {
                "This needs a session. Reload the page to get one. A program gets one with POST /api/session/guest."
            }
        };
        Self {
            reason: Some(why.to_owned()),
            ..Self::new(401, error)
        }
    }
}

/// The error of a refused request, or at least its status.
pub async fn refused(response: Response) -> ApiError {
    answer_in(response).await.unwrap_or_else(|error| error)
}

/// What an answer holds, decoded from JSON.
pub async fn answer_in<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let text = response.text().await.unwrap_or_default();
    decode(&text).map_err(|_| ApiError::unreadable(response.status()))
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
            ServerFnErrorErr::Request(_) => Self::unreachable(),
            other => Self::new(500, format!("Something went wrong on the server: {other}.")),
        }
    }
}
