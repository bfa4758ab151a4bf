//! Exports the metrics of the process in the format of Prometheus.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::output;

/// All metrics, as text.
pub async fn text() -> String {
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
