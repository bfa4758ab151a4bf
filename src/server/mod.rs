//! Runs the server from its first connection until every connection has ended.

pub mod assets;
pub mod features;
pub mod health;
pub mod health_check;
pub mod metrics;
pub mod output;
pub mod render;
pub mod router;
pub mod security_headers;
pub mod service_manager;
pub mod shared_parts;
pub mod state;
pub mod text_nodes;
mod trace;

use std::time::Duration;

use realtime::server::listen;
use tokio::net::TcpListener;

pub use self::{
    router::router,
    state::{AppState, StartError},
};
use crate::{
    background::Supervisor,
    bus::SharedBus,
    routes::{OwnServer, Task},
};

/// How long the storage may take for its last writes, after the connections have ended.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Why a server shut down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The caller of [`run`] asked for it.
    Shutdown,
    /// The server was asked to start again, or its bus has another history.
    Restart,
    /// The server could not go on, for the reason in this sentence.
    Broken(String),
}

/// Serves until `shutdown` resolves, then shuts down within the drain time, whatever the clients do. Metrics are answered
/// on a listener of their own, if there is one.
pub async fn run(
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    state: AppState,
    shutdown: impl Future<Output = ()>,
) -> ShutdownReason {
    let restart = state.restart.clone();
    let drain = state.realtime.drain().clone();
    let tls = state.tls.clone();
    if let Ok(address) = listener.local_addr() {
        let tls = tls.clone();
        state.address.set(OwnServer { address, tls });
    }
    let mut routes = router::routes(&state);
    for prepare in std::mem::take(&mut routes.before_start) {
        prepare.await;
    }
    run_in_background(&state, std::mem::take(&mut routes.tasks));
    if let Some(listener) = metrics_listener {
        // Not started again: it only accepts, and each connection is a task of its own.
        let serving = metrics::serve(listener, state.realtime.clone());
        state.background.once("metrics listener", serving);
    }
    let last_writes = std::mem::take(&mut routes.last_writes);
    let (bus, renewable) = (state.bus.clone(), state.bus.clone());
    let background = state.background.clone();
    let deadline = Duration::from_millis(state.settings.drain_ms);
    let max_connections = state.settings.max_connections as usize;
    let app = router::assemble(&state, routes);
    let realtime = state.realtime.clone();
    let serving = async move {
        match tls {
            None => listen::serve(listener, app, max_connections, &realtime).await,
            Some(tls) => {
                listen::serve_tls(listener, tls, app, max_connections, &realtime).await;
            }
        }
    };
    let serving = background.essential("accept loop", serving);
    service_manager::ready();
    let broken = {
        let (background, bus) = (background.clone(), bus.clone());
        move || broken(background.clone(), bus.clone())
    };
    let until_broken = broken.clone();
    background.run(
        "watchdog",
        move || service_manager::watchdog(until_broken()),
    );
    tokio::pin!(shutdown);
    let reason = tokio::select! {
        () = &mut shutdown => ShutdownReason::Shutdown,
        () = restart.cancelled() => ShutdownReason::Restart,
        () = health::storage_renewed(&renewable) => ShutdownReason::Restart,
        sentence = broken() => ShutdownReason::Broken(sentence),
    };
    if reason != ShutdownReason::Restart {
        service_manager::stopping();
    }
    tracing::info!(
        deadline_ms = deadline.as_millis() as u64,
        "draining: no new connections, clients are asked to reconnect later"
    );
    drain.start();
    let draining = async {
        let _ = serving.await;
        match drain.finish(deadline).await {
            0 => tracing::info!("drained: every connection has ended"),
            open => tracing::warn!(
                connections = open,
                "drained: the deadline passed with connections still open"
            ),
        }
        let store = async {
            for write in last_writes {
                write.await;
            }
            bus.close().await;
        };
        if tokio::time::timeout(LAST_WRITES, store).await.is_err() {
            tracing::warn!("drained: the storage did not finish the last writes in time");
        }
    };
    tokio::pin!(draining);
    // A shutdown signal that arrives during a restart ends the server instead of restarting it.
    if reason == ShutdownReason::Restart {
        tokio::select! {
            () = &mut draining => return ShutdownReason::Restart,
            () = &mut shutdown => service_manager::stopping(),
        }
    }
    draining.await;
    match reason {
        ShutdownReason::Broken(sentence) => ShutdownReason::Broken(sentence),
        ShutdownReason::Shutdown | ShutdownReason::Restart => ShutdownReason::Shutdown,
    }
}

/// Resolves with a sentence when the server cannot go on.
async fn broken(background: Supervisor, bus: SharedBus) -> String {
    tokio::select! {
        sentence = background.broken() => sentence,
        sentence = health::storage_broken(&bus) => sentence,
    }
}

/// Starts the tasks that run beside the connections. Each of them starts again when it panics.
fn run_in_background(state: &AppState, tasks: Vec<Task>) {
    let background = &state.background;
    for task in tasks {
        task(background);
    }
    background.run("metrics", metrics::tidy);
    let limits = state.limits.clone();
    background.run("limits", move || limits.clone().evict_idle());
    let sessions = state.sessions.clone();
    background.run("sessions at other nodes", move || {
        sessions.clone().follow_others()
    });
    let bus = state.bus.clone();
    background.run("storage probe", move || health::probe_storage(bus.clone()));
}
