//! Traces requests.

use axum::{extract::Request, middleware::Next, response::Response};
use tokio::time::Instant;
use tower_http::{
    classify::{ClassifiedResponse, ClassifyResponse, ServerErrorsAsFailures},
    trace::{
        DefaultMakeSpan, DefaultOnFailure, DefaultOnRequest, DefaultOnResponse, MakeSpan,
        OnFailure, OnRequest, OnResponse,
    },
};
use tracing::{Instrument, Level};

/// How answers are reported.
pub fn of_answers() -> DefaultOnResponse {
    DefaultOnResponse::new().level(Level::DEBUG)
}

/// Reports what [`tower_http::trace::TraceLayer`] does, except for the body of the answer.
pub async fn up_to_the_answer(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let span = DefaultMakeSpan::new().make_span(&request);
    span.in_scope(|| DefaultOnRequest::new().on_request(&request, &span));
    let response = next.run(request).instrument(span.clone()).await;
    let latency = began.elapsed();
    span.in_scope(|| {
        of_answers().on_response(&response, latency, &span);
        let classified = ServerErrorsAsFailures::new().classify_response(&response);
        if let ClassifiedResponse::Ready(Err(failure)) = classified {
            DefaultOnFailure::new().on_failure(failure, latency, &span);
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use axum::{Router, body::Body, http::StatusCode, middleware::from_fn, routing::get};
    use tower::ServiceExt;
    use tracing_subscriber::{filter::LevelFilter, fmt};

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_request_its_answer_and_a_failure_are_logged_with_the_path() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = fmt()
            .with_max_level(LevelFilter::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _subscribed = tracing::subscriber::set_default(subscriber);
        let app = Router::new()
            .route("/live", get(async || "ok"))
            .route("/broken", get(async || StatusCode::SERVICE_UNAVAILABLE))
            .layer(from_fn(up_to_the_answer));
        for path in ["/live", "/broken"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let _ = app.clone().oneshot(request).await.unwrap();
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let of = |path: &str| -> Vec<String> {
            let uri = format!("uri={path} ");
            let lines = log.lines().filter(|line| line.contains(&uri));
            lines.map(str::to_owned).collect()
        };
        let (live, broken) = (of("/live"), of("/broken"));
        assert_eq!((live.len(), broken.len()), (2, 3), "{log}");
        assert!(live[0].contains("started processing request"), "{log}");
        assert!(live[1].contains("status=200"), "{log}");
        assert!(broken[1].contains("status=503"), "{log}");
        assert!(
            broken[2].contains("ERROR") && broken[2].contains("response failed"),
            "{log}"
        );
    }
}
