use axum::{Router, response::Response, routing::any};
use leptos::prelude::*;
use realtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(crate = "realtime::strum", serialize_all = "snake_case")]
pub enum EchoMessage {
    Say { text: String },
}

#[derive(Clone, PartialEq)]
pub struct Echo;

impl SocketContract for Echo {
    const NAME: &'static str = "echo";
    const ROUTE: &'static str = "/api/echo/socket";
    const SUBPROTOCOL: &'static str = "echo.v1";
    type Welcome = ();
    type Command = EchoMessage;
    type Event = EchoMessage;
}

struct Parrot(OutQueue);

impl SocketHandler for Parrot {
    type Contract = Echo;
    async fn command(&mut self, said: EchoMessage) -> Result<(), SocketError> {
        self.0.push_json(&said);
        Ok(())
    }
}

async fn echo(socket: SocketRequest<Echo>) -> Response {
    socket.serve(async |socket| {
        socket.welcome(());
        let queue = socket.queue().clone();
        socket.run(Parrot(queue))
    })
}

pub fn routes() -> Router<Realtime> {
    Router::new().route(Echo::ROUTE, any(echo))
}

#[component]
pub fn Echoes() -> impl IntoView {
    let answer = RwSignal::new(String::new());
    let answered = move |event| {
        if let SocketEvent::Event(EchoMessage::Say { text }) = event {
            answer.set(text);
        }
    };
    let socket = use_socket(|| Some(Echo), answered);
    view! {
        <StatusLine connection=socket.connection transport="WebSocket"/>
        <button on:click=move |_| { socket.send(&EchoMessage::Say { text: "Hi".into() }); }>"Say hi"</button> {answer}
    }
}
