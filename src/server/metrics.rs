//! The process's metrics, as Prometheus reads them.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::output;

/// All metrics, as text.
pub async fn text() -> String {
    metrics::counter!("wirewise_log_lines_dropped").absolute(output::dropped_lines());
    prometheus().render()
}

/// The process's metrics; the recorder of the `metrics` crate is global.
pub fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder takes the metrics");
        }
        handle
    })
}
