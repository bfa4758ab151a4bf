//! Exports the metrics of the process in the format of Prometheus, on a listener of their own.
//!
//! The public port does not answer them: they tell strangers how busy the server is, and how to make it busier.

use std::sync::OnceLock;

use axum::{Router, middleware::from_fn_with_state, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use realtime::server::{Realtime, listen};
use tokio::net::TcpListener;

use super::{
    output,
    security_headers::{self, HeaderPolicy},
};
use crate::settings::{MetricsAddress, Settings};

pub const METRICS_ROUTE: &str = "/metrics";

/// Connections that may be open to the metrics. Few, because each costs a file descriptor that a client could have.
const MAX_CONNECTIONS: usize = 16;

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

/// All metrics, as text.
async fn text() -> String {
    metrics::counter!("wirewise_log_lines_dropped").absolute(output::dropped_lines());
    prometheus().render()
}

/// The handle that renders the metrics. The recorder of the `metrics` crate is global to the process.
pub fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed already");
        }
        handle
    })
}
