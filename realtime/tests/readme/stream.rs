use axum::{Router, extract::*, response::Response, routing::get};
use leptos::prelude::*;
use realtime::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, VariantNames)]
#[serde(tag = "type", rename_all = "snake_case")]
#[strum(crate = "realtime::strum", serialize_all = "snake_case")]
pub enum WeatherEvent {
    Measured { celsius: f64 },
}

#[derive(Clone, PartialEq)]
pub struct Weather;

impl StreamContract for Weather {
    const NAME: &'static str = "weather";
    const ROUTE: &'static str = "/api/weather/events";
    type Event = WeatherEvent;
}

#[derive(Clone, FromRef)]
pub struct AppState {
    pub realtime: Realtime,
    pub weather: Topic<WeatherEvent>,
}

async fn events(stream: StreamRequest<Weather>, State(app): State<AppState>) -> Response {
    stream.respond_latest(&app.weather)
}

pub fn routes() -> Router<AppState> {
    Router::new().route(Weather::ROUTE, get(events))
}

#[component]
pub fn Thermometer() -> impl IntoView {
    let latest = use_latest(|| Some(Weather));
    view! { <p>{move || latest.get().map(|WeatherEvent::Measured { celsius }| celsius)}</p> }
}
