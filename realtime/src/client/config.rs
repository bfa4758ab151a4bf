//! What the browser half needs from its application.

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc};

use leptos::prelude::provide_context;

use crate::status::Renewal;

pub(super) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The settings of all connections of an application. An application provides them as a context above its connections, with
/// [`ClientConfig::provide`]. Without one the defaults hold: nothing is renewed and nothing is flushed.
#[derive(Clone)]
pub struct ClientConfig {
    pub(super) renew_session: Option<Arc<dyn Fn() -> LocalFuture<Renewal> + Send + Sync>>,
    pub(super) alive_url: Option<Cow<'static, str>>,
    pub(super) storage_prefix: Cow<'static, str>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            renew_session: None,
            alive_url: None,
            storage_prefix: "realtime".into(),
        }
    }
}

impl ClientConfig {
    /// Renews the session with `renew` when a server refuses a connection whose session has expired (401, or a close with
    /// 4001 `expired`). After [`Renewal::Renewed`] the connection is attempted again.
    ///
    /// `renew` has 10 s; then the renewal has failed. Its future is dropped when the result is no longer wanted: a request in
    /// it must be aborted then, for instance with [`AbortOnDrop`](super::AbortOnDrop). `renew` is called outside of any
    /// reactive owner.
    ///
    /// Without this function every renewal fails, and the connection backs off. A connection that has credentials of its own
    /// (`credentials` in its options) does not use it.
    pub fn renew_session_with<F>(mut self, renew: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Renewal> + 'static,
    {
        self.renew_session = Some(Arc::new(move || Box::pin(renew())));
        self
    }

    /// The address of a small resource of the same host that the server answers immediately (GET). After an event stream has
    /// gone silent, six requests to it flush the dead connections from the browser's HTTP/1.1 keep-alive pool. Without it
    /// nothing is flushed, and each dead connection may cost one more attempt that times out after 10 s.
    pub fn alive_url(mut self, url: impl Into<Cow<'static, str>>) -> Self {
        self.alive_url = Some(url.into());
        self
    }

    /// The first part of the keys that the kit itself uses in the tab's session storage; `realtime` by default. The time of
    /// the last automatic reload is stored under `{prefix}-reloaded`.
    pub fn storage_prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.storage_prefix = prefix.into();
        self
    }

    /// Provides these settings as a context to the connections of the current component and its children.
    pub fn provide(self) {
        provide_context(self);
    }

    /// Renews the session, if the application has said how.
    pub(super) async fn renew(&self) -> Renewal {
        match &self.renew_session {
            Some(renew) => renew().await,
            None => Renewal::Failed {
                retry_after_ms: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn without_a_function_every_renewal_fails() {
        let failed = Renewal::Failed {
            retry_after_ms: None,
        };
        let config = ClientConfig::default();
        assert_eq!(config.renew().now_or_never(), Some(failed));
        let config = config.renew_session_with(async || Renewal::Renewed);
        assert_eq!(config.renew().now_or_never(), Some(Renewal::Renewed));
    }
}
