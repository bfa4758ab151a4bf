//! Informs a connection that its session has ended or was renamed.

use std::time::Duration;

use tokio::sync::watch;

use realtime::{close::reason, server::now_ms};

/// The state that all open connections of a session share.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    pub name: String,
    pub signed_out: bool,
}

/// The watch of one connection on its session.
pub struct SessionWatch {
    /// Unix milliseconds.
    expires: u64,
    /// The name under which the connection was opened.
    name: String,
    status: watch::Receiver<SessionStatus>,
}

impl SessionWatch {
    /// `expires`: Unix milliseconds. `name`: the one under which the connection was opened.
    pub(super) fn new(expires: u64, name: String, status: watch::Receiver<SessionStatus>) -> Self {
        Self {
            expires,
            name,
            status,
        }
    }

    /// Resolves with the reason when the session signs out or expires.
    pub fn ended(self) -> impl Future<Output = &'static str> {
        self.wait(false)
    }

    /// As [`SessionWatch::ended`], and with [`reason::EXPIRED`] when the user chose another name: the client renews its
    /// session and reconnects under that name.
    pub fn ended_or_renamed(self) -> impl Future<Output = &'static str> {
        self.wait(true)
    }

    /// Each connection waits to its end, so the future is kept small: an `async fn` would have room for `self` twice.
    fn wait(mut self, by_renaming: bool) -> impl Future<Output = &'static str> {
        let remaining = Duration::from_millis(self.expires.saturating_sub(now_ms()));
        async move {
            let is_over = |status: &SessionStatus| {
                status.signed_out || by_renaming && status.name != self.name
            };
            let changed = async {
                let status = self.status.wait_for(is_over).await;
                status.map(|status| status.signed_out)
            };
            tokio::select! {
                // Fails only if the server is gone, and the connection with it.
                Ok(signed_out) = changed => if signed_out { reason::SIGNED_OUT } else { reason::EXPIRED },
                () = tokio::time::sleep(remaining) => reason::EXPIRED,
            }
        }
    }
}
