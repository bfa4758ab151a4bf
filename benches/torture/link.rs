//! The network between a node and NATS: it can be cut, so that both ends see it, or freeze, so that neither does.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What a link does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// Connections are closed, and new ones end at once.
    Cut,
    /// Nothing is passed on, and nothing is closed.
    Frozen,
}

/// A link to a server of NATS.
pub struct Link {
    pub address: SocketAddr,
    passage: watch::Sender<Passage>,
}

impl Link {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passage = watch::Sender::new(Passage::Open);
        let state = passage.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, state.subscribe()));
            }
        });
        Self { address, passage }
    }

    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

async fn pass(mut client: TcpStream, port: u16, mut passage: watch::Receiver<Passage>) {
    let is_open = |passage: &Passage| *passage == Passage::Open;
    let is_cut = |passage: &Passage| *passage == Passage::Cut;
    if is_cut(&passage.borrow()) {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let mut interrupted = passage.clone();
    tokio::select! {
        biased;
        _ = interrupted.wait_for(|passage| !is_open(passage)) => {}
        _ = copy_bidirectional(&mut client, &mut server) => return,
    }
    // While the link is frozen neither end is read. What was read and not passed on would be lost if the connection went
    // on, so it is closed when the link opens again.
    let _ = passage
        .wait_for(|passage| *passage != Passage::Frozen)
        .await;
}
