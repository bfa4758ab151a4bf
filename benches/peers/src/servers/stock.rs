//! axum as its examples use it: `Sse` and `WebSocketUpgrade`, each with a broadcast channel of tokio.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    response::{IntoResponse, Sse, sse::Event, sse::KeepAlive},
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    sync::broadcast::{Receiver, Sender, channel, error::RecvError},
};

use super::announce;

/// Events that a slow reader may lag behind. None does: the benchmark fails where one loses an event.
const CAPACITY: usize = 8192;

#[derive(Clone)]
struct App {
    /// Prices with their numbers.
    prices: Sender<(u64, Arc<str>)>,
    messages: Sender<Utf8Bytes>,
}

#[tokio::main]
pub async fn serve() -> Result<()> {
    let app = App {
        prices: channel(CAPACITY).0,
        messages: channel(CAPACITY).0,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let feed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?.port(), feed.local_addr()?.port());
    tokio::spawn(read_feed(feed, app.prices.clone()));
    let routes = Router::new()
        .route("/events", get(events))
        .route("/socket", get(socket));
    axum::serve(listener, routes.with_state(app)).await?;
    Ok(())
}

async fn read_feed(feed: TcpListener, prices: Sender<(u64, Arc<str>)>) -> Result<()> {
    let (source, _) = feed.accept().await?;
    let mut lines = BufReader::new(source).lines();
    let mut sequence = 0;
    while let Some(line) = lines.next_line().await? {
        sequence += 1;
        // Without a subscriber nobody misses it.
        prices.send((sequence, line.into())).ok();
    }
    Ok(())
}

async fn events(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let prices = app.prices.subscribe();
    let ready = stream::once(async { Ok(Event::default().comment("ready")) });
    let news = stream::unfold(prices, |mut prices| async move {
        let (sequence, line) = prices.recv().await.ok()?;
        let event = Event::default()
            .id(sequence.to_string())
            .event("price")
            .data(line);
        Some((Ok(event), prices))
    });
    Sse::new(ready.chain(news)).keep_alive(KeepAlive::default())
}

async fn socket(State(app): State<App>, upgrade: WebSocketUpgrade) -> impl IntoResponse {
    upgrade.on_upgrade(|socket| async move {
        let messages = app.messages.subscribe();
        serve_member(socket, messages, app.messages).await.ok();
    })
}

async fn serve_member(
    mut socket: WebSocket,
    mut messages: Receiver<Utf8Bytes>,
    room: Sender<Utf8Bytes>,
) -> Result<()> {
    socket.send(Message::text("ready")).await?;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => socket.send(Message::Text(text)).await?,
                Err(RecvError::Lagged(count)) => anyhow::bail!("{count} messages were lost"),
                Err(RecvError::Closed) => return Ok(()),
            },
            message = socket.recv() => match message.transpose()? {
                Some(Message::Text(text)) => drop(room.send(text)),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}
