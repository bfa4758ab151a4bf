use realtime::{prelude::*, testing::ScriptedClient};

use super::weather::{AppState, Weather, WeatherEvent::Measured, routes};

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed() {
    let (realtime, weather) = (
        Realtime::default(),
        Topic::latest(Measured { celsius: 7.0 }),
    );
    let state = AppState {
        realtime,
        weather: weather.clone(),
    };
    let client = ScriptedClient::new(routes().with_state(state));
    let mut stream = client.stream(&Weather).await;
    assert!(!stream.hello().await.recovered);
    let Measured { celsius } = stream.event().await;
    assert_eq!(celsius, 7.0);
    let position = stream.position().unwrap().clone();
    stream.cut();

    weather.set(Measured { celsius: 8.0 });
    let mut again = client.stream_after(&Weather, &position).await;
    let hello = again.hello().await;
    assert!(hello.recovered && hello.replayed == 1);
    let Measured { celsius } = again.event().await;
    assert_eq!(celsius, 8.0);
}
