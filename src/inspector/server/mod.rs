//! Names every open stream and socket, keeps its handshake, and breaks it when its user requests that.

mod elsewhere;

use std::{fmt::Write, future::ready};

use axum::{
    Form, Json, Router,
    extract::{Request, State, rejection::FormRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Version},
    middleware::Next,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{Allowed, FAULT_ROUTE, Fault, HANDSHAKE_ROUTE, HandshakeView};
use crate::{
    bus::SharedBus,
    routes::{Feature, Routes, Web},
    session::server::token::Session,
    ui::first_state::FirstState,
    web::{error::ApiError, server::answer::Path},
};
use realtime::server::{Connection, Realtime, registry::Handshake};

/// The text in the place of a secret.
const BLANKED: &str = "(blanked)";
/// Query parameters that are credentials.
const SECRET_PARAMETERS: [&str; 1] = ["ticket"];

/// Cancelled to make the server drain and start again.
pub type Restart = CancellationToken;

/// What the routes need.
#[derive(Clone)]
struct Inspected {
    web: Web,
    bus: SharedBus,
    /// `None` where faults are not allowed.
    restart: Option<Restart>,
}

/// What a user asks of a connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Handshake,
    Break(Fault),
}

/// The answer of the node at which the connection is open.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Handshake(HandshakeView),
    Broken,
    /// The connection is another user's.
    NotYours,
    /// The answer to its handshake is not sent yet, or this node allows no faults.
    Unknown,
}

/// The route for handshakes always exists; the route for faults only exists where faults are allowed.
pub fn routes(web: Web, restart: Option<Restart>, bus: SharedBus) -> Routes {
    let router = Router::new().route(HANDSHAKE_ROUTE, get(handshake));
    let router = match &restart {
        Some(_) => router.route(FAULT_ROUTE, post(fault)),
        None => router,
    };
    let allowed = Allowed {
        faults: restart.is_some(),
    };
    let inspected = Inspected {
        web: web.clone(),
        bus,
        restart,
    };
    let answering = inspected.clone();
    Routes::default()
        .plain(router.with_state(web.with(inspected)))
        .first_state(move |_path| ready(move || FirstState::provide(move |()| allowed)))
        .background("connections of other nodes", move || {
            elsewhere::answer_others(answering.clone())
        })
}

impl Inspected {
    /// Answers for a connection of this node. `None` if it is not open here.
    fn here(&self, user_id: Uuid, id: &str, asked: Asked) -> Option<Answer> {
        let connection = self.web.realtime.connections().find(id)?;
        if !connection.is_of(user_id) {
            return Some(Answer::NotYours);
        }
        Some(match asked {
            Asked::Handshake => {
                let handshake = connection.handshake().cloned();
                handshake.map_or(Answer::Unknown, |handshake| {
                    Answer::Handshake(HandshakeView {
                        connection: id.to_owned(),
                        request: handshake.request,
                        response: handshake.response,
                    })
                })
            }
            Asked::Break(fault) => match &self.restart {
                Some(restart) => {
                    self.inject(&connection, fault, restart);
                    Answer::Broken
                }
                None => Answer::Unknown,
            },
        })
    }

    fn inject(&self, connection: &Connection, fault: Fault, restart: &Restart) {
        match fault {
            Fault::Drop => connection.reset(),
            Fault::Stall => connection.stall(),
            Fault::DuplicateId => connection.repeat(),
            Fault::ExpireHistory => {
                if let Some(history) = connection.history() {
                    self.web.realtime.connections().expire(history.clone());
                    elsewhere::announce_expired(&self.bus, history);
                }
            }
            Fault::ServerRestart => restart.cancel(),
        }
        tracing::info!(
            conn.id = connection.id(),
            fault = fault.name(),
            "a fault was requested"
        );
    }

    /// Asks the node at which a connection is open: this one, or another.
    async fn ask(&self, session: &Session, id: &str, asked: Asked) -> Result<Answer, ApiError> {
        let user_id = session.user.id;
        let answer = match self.here(user_id, id, asked) {
            Some(answer) => Some(answer),
            None => elsewhere::ask(&self.bus, user_id, id, asked).await,
        };
        match answer {
            Some(Answer::NotYours) => {
                Err(ApiError::new(403, "This is somebody else's connection."))
            }
            Some(Answer::Unknown) | None => Err(unknown()),
            Some(answer) => Ok(answer),
        }
    }
}

/// Gives every stream and socket a named [`Connection`], and keeps its request.
pub async fn name_connections(
    State(realtime): State<Realtime>,
    mut request: Request,
    next: Next,
) -> Response {
    let connection = realtime.open_connection(&request);
    let pending = PendingHandshake {
        connection: connection.clone(),
        request: request_text(&request),
        version: request.version(),
    };
    request.extensions_mut().insert(connection);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(pending);
    response
}

/// The request that a response answers. It is an extension of the response on its way through the layers.
#[derive(Clone)]
struct PendingHandshake {
    connection: Connection,
    request: String,
    version: Version,
}

/// Records the response of a handshake. This is the outermost layer, so that the response includes what other layers
/// add.
pub async fn remember_answers(mut response: Response) -> Response {
    if let Some(pending) = response.extensions_mut().remove::<PendingHandshake>() {
        let mut text = format!("{:?} {}\n", pending.version, response.status());
        write_headers(&mut text, response.headers());
        pending.connection.remember(Handshake {
            request: pending.request,
            response: text,
        });
    }
    response
}

async fn handshake(
    State(Feature { own: inspected, .. }): State<Feature<Inspected>>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Json<HandshakeView>, ApiError> {
    match inspected.ask(&session, &id, Asked::Handshake).await? {
        Answer::Handshake(handshake) => Ok(Json(handshake)),
        _ => Err(unknown()),
    }
}

#[derive(Deserialize)]
struct FaultForm {
    connection: Option<String>,
}

async fn fault(
    State(Feature { own: inspected, .. }): State<Feature<Inspected>>,
    session: Session,
    Path(kind): Path<String>,
    form: Result<Form<FaultForm>, FormRejection>,
) -> Result<Json<Value>, ApiError> {
    let fault = Fault::named(&kind).ok_or_else(|| {
        let known = Fault::ALL.map(Fault::name).join(", ");
        ApiError::new(404, format!("There is no such fault. There are: {known}."))
    })?;
    let id = form.ok().and_then(|form| form.0.connection);
    let id = match (id, fault) {
        (Some(id), _) => id,
        // Any server.
        (None, Fault::ServerRestart) => String::new(),
        (None, _) => {
            let rule = "connection names the connection, as its hello or welcome did.";
            return Err(ApiError::field("connection", rule));
        }
    };
    let answer = inspected.ask(&session, &id, Asked::Break(fault)).await;
    match (answer, fault, &inspected.restart) {
        // The server of the connection, or this one where it has ended.
        (Err(_), Fault::ServerRestart, Some(restart)) => restart.cancel(),
        (answer, ..) => drop(answer?),
    }
    Ok(Json(json!({})))
}

fn unknown() -> ApiError {
    let error = "No open connection has this name. hello and welcome say the name of each.";
    ApiError::new(404, error)
}

fn request_text(request: &Request) -> String {
    let uri = request.uri();
    let query = uri
        .query()
        .map(|query| format!("?{}", without_secrets(query)));
    let mut text = format!(
        "{} {}{} {:?}\n",
        request.method(),
        uri.path(),
        query.unwrap_or_default(),
        request.version()
    );
    write_headers(&mut text, request.headers());
    text
}

fn without_secrets(query: &str) -> String {
    let parameters = query.split('&').map(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        match SECRET_PARAMETERS.contains(&name) {
            true => format!("{name}={BLANKED}"),
            false => parameter.to_owned(),
        }
    });
    parameters.collect::<Vec<_>>().join("&")
}

fn write_headers(text: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {}", shown(name, value));
    }
    // It is kept for as long as its connection is open.
    text.shrink_to_fit();
}

/// Shows only headers that are known to be harmless: what a proxy adds for the server may be a credential too.
fn shown(name: &HeaderName, value: &HeaderValue) -> String {
    const HARMLESS: [&str; 27] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-max-age",
        "cache-control",
        "connection",
        "content-type",
        "cross-origin-opener-policy",
        "dnt",
        "host",
        "last-event-id",
        "origin",
        "pragma",
        "priority",
        "referrer-policy",
        "strict-transport-security",
        "upgrade",
        "user-agent",
        "vary",
        "x-accel-buffering",
        "x-content-type-options",
        "x-frame-options",
        "referer",
    ];
    // `sec-`: the handshake of a socket, and what a browser adds about the request itself.
    let harmless = HARMLESS.contains(&name.as_str()) || name.as_str().starts_with("sec-");
    match harmless {
        true => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        false => BLANKED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn secrets_are_blanked_and_the_rest_is_shown() {
        let request = Request::get("/api/ticker/events?symbols=ACME&ticket=abc&x")
            .header("cookie", "wirewise_session=secret")
            .header("authorization", "Bearer secret")
            .header("x-amzn-oidc-data", "secret")
            .header("last-event-id", "k3j-7")
            .body(Body::empty())
            .unwrap();
        assert_eq!(
            request_text(&request),
            "GET /api/ticker/events?symbols=ACME&ticket=(blanked)&x HTTP/1.1\n\
             cookie: (blanked)\nauthorization: (blanked)\nx-amzn-oidc-data: (blanked)\nlast-event-id: k3j-7\n"
        );
    }

    #[test]
    fn every_fault_is_found_by_its_name_which_is_its_tag() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(fault));
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        }
        assert_eq!(Fault::named("explode"), None);
    }
}
