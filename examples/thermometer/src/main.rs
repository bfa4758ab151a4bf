//! The server: page, stream, channel, a simulated sensor, and an end that tells clients when to come back.

use axum::{Router, routing::*};
use leptos::prelude::*;
use realtime::prelude::*;
use std::{error::Error, time::Duration};
use thermometer::*;
use tokio::{net::TcpListener, signal::*};
use tower_http::services::ServeDir;

fn shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en"><head>
            <meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>
            <title>"Thermometer"</title><link rel="icon" href="/favicon.svg"/><link rel="stylesheet" href="/pkg/thermometer.css"/>
            <AutoReload options=options.clone()/><HydrationScripts options/>
        </head><body><App/></body></html>
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = get_configuration(None).map_err(|error| format!("Wrong LEPTOS_…: {error}"))?;
    let options = settings.leptos_options;
    let address = options.site_addr;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("Cannot listen on {address}: {error}. Set LEPTOS_SITE_ADDR to another address.")
    })?;
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    any_spawner::Executor::init_tokio()?;

    let readings = Topic::latest(Reading::Measured { celsius: 21.0 });
    let sensor = readings.clone();
    tokio::spawn(async move {
        for second in 0.. {
            let celsius = 21.0 + 4.0 * (f64::from(second) / 20.0).sin();
            sensor.set(Reading::Measured { celsius });
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let stream = async move |stream: StreamRequest<Readings>| stream.respond_latest(&readings);

    let notebook = MemoryChannels::new(100).names(|name| name == Notes::NAME);
    let channel = async move |socket: SocketRequest<Notes>| {
        socket.serve(async move |socket| {
            socket.welcome(());
            let shortened = |note: String| Ok(note.chars().take(200).collect());
            let handler = notebook.connect(&socket, socket.connection().id().into(), shortened);
            socket.run(handler)
        })
    };

    let realtime = Realtime::new(RealtimeOptions::default());
    let files = ServeDir::new(&*options.site_root);
    let page = leptos_axum::render_app_async(move || shell(options.clone()));
    let router = Router::new()
        .route(Readings::ROUTE, get(stream))
        .route(Notes::ROUTE, any(channel))
        .route("/", get(page))
        .fallback_service(files)
        .with_state(realtime.clone());
    println!("Thermometer listens on http://{}", listener.local_addr()?);
    let serving = listen::serve(listener, router, 10_000, &realtime);
    tokio::select! { () = serving => {} _ = ctrl_c() => {} _ = terminate.recv() => {} }
    // The listener is closed now. Every client is told when to come back, and gets its last bytes.
    realtime.drain().start();
    realtime.drain().finish(Duration::from_secs(5)).await;
    Ok(())
}
