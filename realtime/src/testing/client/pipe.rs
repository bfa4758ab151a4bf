//! Connections in memory to a router, and the time that each wait has.

use std::{future::Future, time::Duration};

use axum::{Router, http::HeaderMap};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
    time::timeout,
};

use crate::server::{Drain, listen::pipe};

/// The time of one wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a pipe holds in each direction, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// A router that is served over pipes, and the headers of all requests.
pub struct Pipes {
    app: Router,
    drain: Drain,
    pub headers: HeaderMap,
}

/// A task that ends when this is dropped.
pub struct Running(JoinHandle<()>);

impl Pipes {
    pub fn new(app: Router) -> Self {
        Self {
            // Once, here: a router without its state would build its route table anew for every connection.
            app: app.with_state(()),
            drain: Drain::default(),
            headers: HeaderMap::new(),
        }
    }

    /// The client's end of a new connection.
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = duplex(PIPE_BYTES);
        // It ends with the client's end of the pipe.
        tokio::spawn(pipe::serve(server, self.app.clone(), self.drain.clone()));
        client
    }
}

impl Running {
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The result of a wait.
pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, wait).await {
        Ok(result) => result,
        Err(_) => panic!("within 10 s there was no {what}"),
    }
}
