//! Limits what one address or one user may do: requests, messages, open streams and sockets.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use clap::Args;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use uuid::Uuid;

use realtime::{
    message::{ErrorCode, SocketError},
    server::permits::{KeyedSemaphore, Permit},
};

use crate::web::{
    error::ApiError,
    server::{
        answer::{back_to_form, wants_page},
        caller::Caller,
    },
};

/// Interval of evicting idle addresses and users: a store that evicts none grows for ever.
const EVICT_EVERY: Duration = Duration::from_secs(60);
/// The longest time in which a request must be complete and answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The rate of binary messages in bytes a second: 1 MiB, and twice the longest message in a burst.
const BYTES_PER_SECOND: NonZeroU32 = NonZeroU32::new(1024 * 1024).unwrap();
const BYTES_BURST: NonZeroU32 = NonZeroU32::new(8 * 1024 * 1024).unwrap();
/// The least that a message counts, in bytes: thousands of empty ones are work, too.
const LEAST_BYTES: u32 = 64;

/// The settings of the limits.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Open streams and sockets of one address; 0 means any number.
    #[arg(
        long,
        env = "WIREWISE_MAX_CONNECTIONS_PER_IP",
        default_value_t = 256,
        value_name = "CONNECTIONS"
    )]
    pub max_connections_per_ip: u32,

    /// Open chat sockets of one user, from all addresses; 0 means any number. Without it, as many as of one address.
    #[arg(
        long,
        env = "WIREWISE_MAX_CONNECTIONS_PER_USER",
        value_name = "CONNECTIONS"
    )]
    pub max_connections_per_user: Option<u32>,

    /// Text messages a second that one user may send; twice as many in a burst.
    #[arg(long, env = "WIREWISE_MESSAGES_PER_SECOND", default_value_t = 20, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub messages_per_second: u32,

    /// Requests a second to `/api/` that are no streams, of one address; twice as many in a burst.
    #[arg(long, env = "WIREWISE_REQUESTS_PER_SECOND", default_value_t = 50, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_per_second: u32,
}

/// All limits. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Limits {
    requests: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    messages: Arc<DefaultKeyedRateLimiter<Uuid>>,
    bytes: Arc<DefaultKeyedRateLimiter<Uuid>>,
    sockets: KeyedSemaphore<Uuid>,
    messages_per_second: u32,
    requests_per_second: u32,
}

impl Limits {
    pub fn new(settings: &LimitSettings) -> Self {
        Self {
            requests: Arc::new(RateLimiter::keyed(twice_in_a_burst(
                settings.requests_per_second,
            ))),
            messages: Arc::new(RateLimiter::keyed(twice_in_a_burst(
                settings.messages_per_second,
            ))),
            bytes: Arc::new(RateLimiter::keyed(
                Quota::per_second(BYTES_PER_SECOND).allow_burst(BYTES_BURST),
            )),
            sockets: KeyedSemaphore::new(
                settings
                    .max_connections_per_user
                    .unwrap_or(settings.max_connections_per_ip) as usize,
            ),
            messages_per_second: settings.messages_per_second,
            requests_per_second: settings.requests_per_second,
        }
    }

    /// Counts one text message of a user over all of the user's sockets.
    pub fn message(&self, user: Uuid) -> Result<(), SocketError> {
        self.messages.check_key(&user).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.messages.clock().now());
            let message = format!(
                "At most {} messages a second. Wait, then send this one again.",
                self.messages_per_second
            );
            let mut error = SocketError::new(ErrorCode::RateLimited, message);
            error.retry_after_ms = Some(wait.as_millis() as u64 + 1);
            error
        })
    }

    /// Counts a binary message of a user over all of the user's sockets, and waits until the rate allows it. It is
    /// never refused: a refused update would be missing from the document.
    pub async fn binary(&self, user: Uuid, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(LEAST_BYTES);
        if let Some(bytes) = NonZeroU32::new(bytes) {
            // More than the burst would never be allowed; no message that long is read.
            let _ = self
                .bytes
                .until_key_n_ready(&user, bytes.min(BYTES_BURST))
                .await;
        }
    }

    /// Takes a permit of a user for an open socket; `None` if all are taken.
    pub fn permit_of_user(&self, user: Uuid) -> Option<Permit<Uuid>> {
        self.sockets.enter(user)
    }

    /// Evicts idle addresses and users, again and again; never returns.
    pub async fn evict_idle(self) {
        let mut every = tokio::time::interval(EVICT_EVERY);
        loop {
            every.tick().await;
            self.requests.retain_recent();
            self.messages.retain_recent();
            self.bytes.retain_recent();
        }
    }
}

/// Ends a request that is not answered in time: most of all one whose body trickles in, byte by byte, and holds its
/// connection. Streams and sockets are answered at once, so their lifetime is not limited by this.
pub async fn end_slow_requests(request: Request, next: Next) -> Response {
    let Ok(response) = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await else {
        let error = format!(
            "The request was not complete after {} s. Send it again.",
            REQUEST_TIMEOUT.as_secs()
        );
        return ([(header::CONNECTION, "close")], ApiError::new(408, error)).into_response();
    };
    response
}

/// Refuses an address's requests beyond its rate.
pub async fn limit_requests(
    State(limits): State<Limits>,
    request: Request,
    next: Next,
) -> Response {
    let address = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.address);
    if let Some(address) = address
        && let Err(not_until) = limits.requests.check_key(&address)
    {
        let wait = not_until.wait_time_from(limits.requests.clock().now());
        let most = limits.requests_per_second;
        let error = format!("At most {most} requests a second from one address.");
        let refused = ApiError::too_many(error, wait.as_secs() + 1);
        let headers = request.headers();
        return match request.method() == Method::POST && wants_page(headers) {
            true => back_to_form(headers, request.uri().path(), Some(refused)),
            false => refused.into_response(),
        };
    }
    next.run(request).await
}

fn twice_in_a_burst(per_second: u32) -> Quota {
    let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(rate)
        .allow_burst(rate.saturating_mul(NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN)))
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::{Body, Bytes},
        middleware::from_fn,
        routing::post,
    };
    use futures::{StreamExt, stream};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_body_trickles_in_is_ended() {
        let router = Router::new()
            .route(
                "/",
                post(|body: Bytes| async move { body.len().to_string() }),
            )
            .layer(from_fn(end_slow_requests));
        let trickle = stream::repeat("x").then(async |byte| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(byte)
        });
        let ask = async |body: Body| {
            let request = Request::post("/").body(body).unwrap();
            router.clone().oneshot(request).await.unwrap().status()
        };
        assert_eq!(ask(Body::from_stream(trickle)).await, 408);
        assert_eq!(ask(Body::from("at once")).await, 200);
    }
}
