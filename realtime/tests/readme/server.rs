use std::{future::Future, io, time::Duration};

use realtime::prelude::*;

use super::weather::{AppState, WeatherEvent, routes};

pub async fn run(address: &str, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let realtime = Realtime::new(RealtimeOptions::default().name("forecast"));
    let weather = Topic::latest(WeatherEvent::Measured { celsius: 7.0 });
    let state = AppState {
        realtime: realtime.clone(),
        weather: weather.clone(),
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let serving = listen::serve(listener, routes().with_state(state), 10_000, &realtime);
    let drain = async {
        shutdown.await;
        realtime.drain().start();
    };
    // The accept loop ends when the drain starts. Then every client is told when to come back.
    tokio::join!(serving, drain);
    realtime.drain().finish(Duration::from_secs(5)).await;
    Ok(())
}
