//! How a connection learns that its session has ended, or is called something else now.

use std::time::Duration;

use tokio::sync::watch;

use realtime::{close::reason, server::now_ms};

/// What all open connections of a session share.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    pub name: String,
    pub signed_out: bool,
}

/// What one connection watches.
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
    pub async fn ended(self) -> &'static str {
        self.over(false).await
    }

    /// As [`SessionWatch::ended`], and with [`reason::EXPIRED`] when the person chose another name: the client renews its
    /// session and comes back under that name.
    pub async fn ended_or_renamed(self) -> &'static str {
        self.over(true).await
    }

    async fn over(mut self, by_renaming: bool) -> &'static str {
        let left = Duration::from_millis(self.expires.saturating_sub(now_ms()));
        let over =
            |status: &SessionStatus| status.signed_out || by_renaming && status.name != self.name;
        let changed = async {
            let status = self.status.wait_for(over).await;
            status.map(|status| status.signed_out)
        };
        tokio::select! {
            // Fails only where the server is gone, and the connection with it.
            Ok(signed_out) = changed => if signed_out { reason::SIGNED_OUT } else { reason::EXPIRED },
            () = tokio::time::sleep(left) => reason::EXPIRED,
        }
    }
}
