//! Starts nodes that share a NATS server.

use std::time::Duration;

use serde_json::Value;
use wirewise::settings::BusKind;

use crate::{
    nats_server::NatsServer,
    support::{PATIENCE, Server, Socket},
};

/// The secret that all nodes share.
pub const SECRET: &str = "a secret that both nodes of these tests share";

/// A NATS server, whose store is in a folder of its own.
pub struct Nats {
    pub server: NatsServer,
    _folder: tempfile::TempDir,
}

impl Nats {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let server = tokio::task::spawn_blocking(move || NatsServer::start(&path));
        Self {
            server: server.await.unwrap(),
            _folder: folder,
        }
    }

    pub async fn node(&self) -> Server {
        Server::with(|settings| {
            settings.bus.bus = BusKind::Nats(self.server.url());
            settings.bus.synced = true;
            settings.secret = Some(SECRET.into());
        })
        .await
    }
}

/// The next event of a kind that a predicate accepts.
pub async fn next_where(socket: &mut Socket, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let event = socket.next_of(kind).await;
        if wanted(&event) {
            return event;
        }
    }
}

/// Asks again and again until the answer is the wanted one.
pub async fn until<T>(ask: impl AsyncFn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.expect("the wanted answer")
}
