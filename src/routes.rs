//! Defines what a feature gets from the server, and what it hands over.
//!
//! A feature knows neither another feature nor the server. Its handlers take their state as [`Feature`]: the server's
//! part ([`Web`]) and the feature's own. In its [`Routes`] it lists what the server has to do for it.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use axum::{Router, extract::FromRef};
use futures::{FutureExt, future::BoxFuture};
use realtime::server::{Realtime, listen::Tls};

use crate::{
    background::Supervisor, guard::limits::Limits, session::server::token::Sessions,
    web::error::ApiError,
};

/// What the server gives to every feature. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    pub realtime: Realtime,
    pub limits: Limits,
    pub sessions: Sessions,
}

/// The state of a feature's handlers.
#[derive(Clone)]
pub struct Feature<F> {
    pub web: Web,
    pub own: F,
}

/// Where this server listens, once it does.
#[derive(Clone, Debug, Default)]
pub struct OwnAddress(Arc<OnceLock<OwnServer>>);

/// How a client in this process connects to this server.
#[derive(Clone, Debug)]
pub struct OwnServer {
    pub address: SocketAddr,
    /// The server speaks TLS, with this certificate.
    pub tls: Option<Tls>,
}

/// Runs within the reactive owner of a page render, or of a server function call, and provides contexts.
pub type Provide = Arc<dyn Fn() + Send + Sync>;
/// Reads the first state of the page under a path. It runs before the render, which cannot wait.
pub type FirstState = Arc<dyn Fn(&str) -> BoxFuture<'static, Provide> + Send + Sync>;
/// Starts a task under the supervisor.
pub type Task = Box<dyn FnOnce(&Supervisor) + Send>;
/// A sentence for `/readyz`, where there is one.
pub type Remark = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What a feature hands over: its routes, by how the server treats them, and the work beside them.
#[derive(Default)]
pub struct Routes {
    /// Routes that answer soon. They are limited in rate, and a request that takes too long is ended.
    pub plain: Router,
    /// Event streams and sockets. They hold permits instead of being limited in rate, and each is a named connection.
    pub live: Router,
    /// Routes that are limited in rate and enforce their own deadlines.
    pub slow: Router,
    /// Paths whose responses any origin may read, without credentials.
    pub public: Vec<&'static str>,
    pub contexts: Vec<Provide>,
    pub first_states: Vec<FirstState>,
    pub before_start: Vec<BoxFuture<'static, ()>>,
    pub tasks: Vec<Task>,
    pub remarks: Vec<Remark>,
    pub last_writes: Vec<BoxFuture<'static, ()>>,
}

impl Web {
    /// The state of a feature's handlers.
    pub fn with<F>(self, own: F) -> Feature<F> {
        Feature { web: self, own }
    }
}

impl<F> FromRef<Feature<F>> for Sessions {
    fn from_ref(state: &Feature<F>) -> Self {
        state.web.sessions.clone()
    }
}

impl<F> FromRef<Feature<F>> for Realtime {
    fn from_ref(state: &Feature<F>) -> Self {
        state.web.realtime.clone()
    }
}

impl OwnAddress {
    /// Sets where the server listens. Only the first call counts.
    pub fn set(&self, server: OwnServer) {
        let _ = self.0.set(server);
    }

    /// How this server can reach itself. An error if it does not listen yet.
    pub fn reachable(&self) -> Result<OwnServer, ApiError> {
        let unknown = || ApiError::new(503, "The server does not listen yet. Try again.");
        let OwnServer { address, tls } = self.0.get().ok_or_else(unknown)?.clone();
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, address.port());
        Ok(OwnServer { address, tls })
    }
}

impl Routes {
    pub fn plain(mut self, router: Router) -> Self {
        self.plain = self.plain.merge(router);
        self
    }

    pub fn live(mut self, router: Router) -> Self {
        self.live = self.live.merge(router);
        self
    }

    pub fn slow(mut self, router: Router) -> Self {
        self.slow = self.slow.merge(router);
        self
    }

    /// Lists paths whose responses any origin may read, without credentials.
    pub fn public(mut self, paths: &[&'static str]) -> Self {
        self.public.extend(paths);
        self
    }

    /// Provides contexts for page renders and server functions.
    pub fn context(mut self, provide: impl Fn() + Send + Sync + 'static) -> Self {
        self.contexts.push(Arc::new(provide));
        self
    }

    /// Provides the first state of the page under a path. `read` is awaited before the render; the function that it
    /// resolves to runs within the render.
    pub fn first_state<R, P>(mut self, read: impl Fn(&str) -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = P> + Send + 'static,
        P: Fn() + Send + Sync + 'static,
    {
        self.first_states.push(Arc::new(move |path| {
            read(path)
                .map(|provide| Arc::new(provide) as Provide)
                .boxed()
        }));
        self
    }

    /// Adds work that is completed before the first connection.
    pub fn before_start(mut self, prepare: impl Future<Output = ()> + Send + 'static) -> Self {
        self.before_start.push(prepare.boxed());
        self
    }

    /// Adds a background task that runs for as long as the server does. It starts again when it panics.
    pub fn background<R>(
        mut self,
        name: &'static str,
        begin: impl FnMut() -> R + Send + 'static,
    ) -> Self
    where
        R: Future<Output = ()> + Send + 'static,
    {
        self.tasks.push(Box::new(move |background| {
            background.run(name, begin);
        }));
        self
    }

    /// Adds a sentence for `/readyz`, if there is one. It does not make the server unready.
    pub fn remark(mut self, remark: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.remarks.push(Arc::new(remark));
        self
    }

    /// Adds a write that is made after the connections have ended and before the storage closes.
    pub fn last_write(mut self, write: impl Future<Output = ()> + Send + 'static) -> Self {
        self.last_writes.push(write.boxed());
        self
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.plain = self.plain.merge(other.plain);
        self.live = self.live.merge(other.live);
        self.slow = self.slow.merge(other.slow);
        self.public.extend(other.public);
        self.contexts.extend(other.contexts);
        self.first_states.extend(other.first_states);
        self.before_start.extend(other.before_start);
        self.tasks.extend(other.tasks);
        self.remarks.extend(other.remarks);
        self.last_writes.extend(other.last_writes);
        self
    }
}
