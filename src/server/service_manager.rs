//! Reports the state of the server to the service manager, if there is one: systemd names a socket in `NOTIFY_SOCKET`
//! (sd_notify(3)).
//!
//! A restart from inside sends neither `STOPPING=1`, after which systemd would end the unit, nor anything else. The
//! process stays the same, and the server that starts in it says again that it is ready.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

/// Reports that the server serves.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Reports that the server drains and ends afterwards.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Sends signs of life (`WATCHDOG=1`), if the service manager asks for them, until `broken` resolves. Without them the
/// service manager kills the process, and starts it again.
///
/// They come from a task of the runtime, so they end when the runtime runs no tasks any more. They also end when the
/// server cannot go on: it then drains and ends by itself, and a hang meanwhile must end too.
pub async fn watchdog(broken: impl Future) {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        signs_of_life(limit, broken, || notify(NotifyState::Watchdog)).await;
    }
}

async fn signs_of_life(limit: Duration, broken: impl Future, send: impl Fn()) {
    let signs = async {
        loop {
            send();
            // Half of the limit, as sd_watchdog_enabled(3) recommends.
            sleep(limit / 2).await;
        }
    };
    tokio::select! {
        () = signs => {}
        _ = broken => {}
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(&state)) {
        tracing::warn!(%error, "the service manager does not take \"{state}\"");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_twice_in_each_limit_until_the_server_is_broken() {
        let sent = Cell::new(0);
        let broken = sleep(Duration::from_millis(10_100));
        signs_of_life(Duration::from_secs(2), broken, || sent.set(sent.get() + 1)).await;
        assert_eq!(sent.get(), 11);
    }
}
