use std::time::Duration;

use leptos::prelude::*;
use realtime::testing::test_page;

use super::{
    handler::Measurements,
    weather::{Weather, WeatherEvent::Measured},
};

#[test]
fn a_lost_stream_resumes_and_shows_what_it_missed() {
    test_page(
        || view! { <Measurements/> },
        |page, server| {
            let stream = server.accept_stream::<Weather>();
            stream.hello();
            stream.state(&Measured { celsius: 6.0 });
            let position = stream.event(&Measured { celsius: 7.0 });
            assert!(page.text().contains("2 measurements"));

            stream.cut();
            assert!(page.text().contains("Connection lost."));

            server.advance(Duration::from_secs(1));
            let again = server.accept_stream::<Weather>();
            assert_eq!(again.resumes_after(), Some(position));
            again.hello_resumed(&[Measured { celsius: 8.0 }]);
            assert!(page.text().contains("Connected"));
            assert!(page.text().contains("3 measurements"));
        },
    );
}
