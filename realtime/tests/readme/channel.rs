use axum::{Router, response::Response, routing::any};
use leptos::prelude::*;
use realtime::{channel::*, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct Post {
    pub author: String,
    pub text: String,
}

#[derive(Clone, PartialEq)]
pub struct Wall;

impl SocketContract for Wall {
    const NAME: &'static str = "wall";
    const ROUTE: &'static str = "/api/wall/socket";
    const SUBPROTOCOL: &'static str = "wall.v1";
    type Welcome = ();
    type Command = ChannelCommand<String>;
    type Event = ChannelEvent<Post>;
}

async fn wall(socket: SocketRequest<Wall>, walls: MemoryChannels<Wall>) -> Response {
    socket.serve(async move |socket| {
        let author = socket.connection().id().to_owned();
        socket.welcome(());
        let handler = walls.connect(&socket, author.clone(), move |text| {
            let author = author.clone();
            Ok(Post { author, text })
        });
        socket.run(handler)
    })
}

pub fn routes(walls: MemoryChannels<Wall>) -> Router<Realtime> {
    let answer = move |socket| wall(socket, walls.clone());
    Router::new().route(Wall::ROUTE, any(answer))
}

#[component]
pub fn Posts() -> impl IntoView {
    let posts = RwSignal::new(vec![]);
    let received = move |update: ChannelUpdate<ChannelEvent<Post>>| match update {
        ChannelUpdate::Joined {
            recovered: false, ..
        } => posts.write().clear(),
        ChannelUpdate::Event(ChannelEvent::Message { entry, .. }) => {
            posts.write().push(entry.message.text)
        }
        _ => {}
    };
    let wall = use_channel(|| Some(Wall), || "lobby".to_owned(), received);
    view! {
        <StatusLine connection=wall.socket.connection transport="WebSocket"/>
        <button on:click=move |_| { let _ = wall.send("Hi".into()); }>"Post"</button> {move || posts.get().join("\n")}
    }
}
