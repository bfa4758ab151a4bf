//! The server: its life from the first connection to the last.

pub mod assets;
pub mod features;
pub mod health;
pub mod metrics;
pub mod output;
pub mod render;
pub mod router;
pub mod state;
pub mod text_nodes;

use std::time::Duration;

use realtime::server::listen;
use tokio::net::TcpListener;

pub use self::{
    router::router,
    state::{AppState, StartError},
};
use crate::routes::Task;

/// How long the storage may take to write its last, once the connections have ended.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Why a server left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It was told to.
    Shutdown,
    /// It was asked to start again.
    Restart,
    /// It could not go on, for the reason in this sentence.
    Broken(String),
}

/// Serves until `shutdown` resolves, then leaves within the drain time, whatever the clients do.
pub async fn run(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()>,
) -> ShutdownReason {
    let restart = state.restart.clone();
    let drain = state.realtime.drain().clone();
    if let Ok(address) = listener.local_addr() {
        state.address.set(address);
    }
    let mut routes = router::routes(&state);
    for prepare in std::mem::take(&mut routes.before_start) {
        prepare.await;
    }
    // Before the first connection, so that none is missing from the counts.
    let _ = metrics::prometheus();
    run_in_background(&state, std::mem::take(&mut routes.tasks));
    let stored_last = std::mem::take(&mut routes.last_writes);
    let bus = state.bus.clone();
    let background = state.background.clone();
    let deadline = Duration::from_millis(state.settings.drain_ms);
    let max_connections = state.settings.max_connections as usize;
    let serving = listen::serve(
        listener,
        router::assemble(&state, routes),
        max_connections,
        drain.clone(),
    );
    let serving = background.essential("accept loop", serving);
    tokio::pin!(shutdown);
    let why = tokio::select! {
        () = &mut shutdown => ShutdownReason::Shutdown,
        () = restart.cancelled() => ShutdownReason::Restart,
        sentence = background.broken() => ShutdownReason::Broken(sentence),
        sentence = health::storage_broken(&bus) => ShutdownReason::Broken(sentence),
    };
    tracing::info!(
        deadline_ms = deadline.as_millis() as u64,
        "leaving: no new connections, clients are told to come back"
    );
    drain.start();
    let leaving = async {
        let _ = serving.await;
        match drain.finish(deadline).await {
            0 => tracing::info!("left: every connection has ended"),
            left => tracing::warn!(
                connections = left,
                "left: the deadline passed with connections still open"
            ),
        }
        let last_writes = async {
            for write in stored_last {
                write.await;
            }
            bus.close().await;
        };
        if tokio::time::timeout(LAST_WRITES, last_writes)
            .await
            .is_err()
        {
            tracing::warn!("left: the storage did not take the last writes in time");
        }
    };
    tokio::pin!(leaving);
    // Whoever ends a server that is about to start again means to end it.
    if why == ShutdownReason::Restart {
        tokio::select! {
            () = &mut leaving => return ShutdownReason::Restart,
            () = &mut shutdown => {}
        }
    }
    leaving.await;
    match why {
        ShutdownReason::Broken(sentence) => ShutdownReason::Broken(sentence),
        ShutdownReason::Shutdown | ShutdownReason::Restart => ShutdownReason::Shutdown,
    }
}

/// What goes on besides the connections. Each of these starts again when it panics.
fn run_in_background(state: &AppState, tasks: Vec<Task>) {
    let background = &state.background;
    for task in tasks {
        task(background);
    }
    let limits = state.limits.clone();
    background.run("limits", move || limits.clone().evict_idle());
    let bus = state.bus.clone();
    background.run("storage probe", move || health::probe_storage(bus.clone()));
}
