//! Exports the metrics of the process in the format of Prometheus, on a listener of their own.
//!
//! The public port does not answer them: they tell strangers how busy the server is, and how to make it busier.

use std::{sync::OnceLock, time::Duration};

use axum::{Router, middleware::from_fn_with_state, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use realtime::server::{Realtime, listen};
use tokio::{net::TcpListener, time::interval};

use super::{
    output,
    security_headers::{self, HeaderPolicy},
};
use crate::settings::{MetricsAddress, Settings};

pub const METRICS_ROUTE: &str = "/metrics";

/// Connections that may be open to the metrics. Few, because each costs a file descriptor that a client could have.
const MAX_CONNECTIONS: usize = 16;

/// The bounds of the buckets of all histograms, in seconds.
const BUCKETS_S: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];
/// How often observations are moved into their buckets. They are kept one by one until then.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// Binds the listener that the settings name; `None` if they name none, or if the default address cannot be had. The
/// error is a sentence.
pub async fn bind(settings: &Settings) -> Result<Option<TcpListener>, String> {
    let MetricsAddress::At(addr) = settings.metrics_addr else {
        return Ok(None);
    };
    match TcpListener::bind(addr).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if settings.metrics_addr_given => Err(format!(
            "Cannot listen on {addr} for metrics: {error}. Name another address with --metrics-addr, or none."
        )),
        Err(error) => {
            tracing::warn!(
                "The server has no metrics, because it cannot listen on {addr}: {error}. Name another address with \
                 --metrics-addr, or none."
            );
            Ok(None)
        }
    }
}

/// Answers the metrics until the server drains. The accept loop is that of the public port, with its time limits.
pub async fn serve(listener: TcpListener, realtime: Realtime) {
    let plain_http = HeaderPolicy::default();
    let app = Router::new()
        .route(METRICS_ROUTE, get(text))
        .layer(from_fn_with_state(plain_http, security_headers::add));
    listen::serve(listener, app, MAX_CONNECTIONS, &realtime).await;
}

/// Keeps histograms small, whether anyone reads the metrics or not.
pub async fn tidy() {
    let mut rounds = interval(TIDY_EVERY);
    loop {
        rounds.tick().await;
        prometheus().run_upkeep();
    }
}

/// All metrics, as text.
async fn text() -> String {
    metrics::counter!("wirewise_log_lines_dropped").absolute(output::dropped_lines());
    prometheus().render()
}

/// The handle that renders the metrics. The recorder of the `metrics` crate is global to the process.
pub fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS_S);
        let recorder = recorder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed already");
        }
        handle
    })
}
