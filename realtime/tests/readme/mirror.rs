use realtime::server::{Mirror, Mirrored};
use serde::{Deserialize, Serialize};

use super::weather::WeatherEvent;

#[derive(Clone, Serialize, Deserialize)]
pub struct Thermometer {
    pub celsius: f64,
}

impl Mirrored for Thermometer {
    type Event = WeatherEvent;
    type Key = ();

    fn apply(&mut self, event: WeatherEvent) -> Option<()> {
        let WeatherEvent::Measured { celsius } = event;
        self.celsius = celsius;
        Some(())
    }

    fn key(&self, _event: &WeatherEvent) -> Option<()> {
        Some(())
    }
}

/// `term`: that of this process, if it is the owner.
pub async fn run(mirror: &Mirror<Thermometer>, term: Option<u64>) {
    match term {
        Some(term) => mirror.own(term).await,
        None => mirror.follow().await,
    }
}
