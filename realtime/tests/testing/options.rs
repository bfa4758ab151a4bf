//! Options and contracts that change, under a script.

use std::{cell::RefCell, time::Duration};

use leptos::prelude::*;
use realtime::{client::Sharing, prelude::*, testing::test_page};

use super::weather::{
    Weather,
    WeatherEvent::{self, Measured},
};

const SECOND: Duration = Duration::from_secs(1);

fn show(latest: Signal<Option<WeatherEvent>>) -> impl IntoView {
    move || {
        latest
            .get()
            .map(|Measured { celsius }| celsius)
            .unwrap_or_default()
    }
}

#[test]
fn a_page_goes_on_after_the_state_that_it_was_rendered_with() {
    let position: Position = "rendered-7".parse().unwrap();
    let component = || {
        let options = StreamOptions::default().after(position.clone());
        show(use_latest_with_options(|| Some(Weather), options))
    };
    test_page(component, |page, server| {
        let stream = server.accept_stream::<Weather>();
        assert_eq!(stream.resumes_after().as_ref(), Some(&position));
        stream.hello_resumed(&[]);
        let next = stream.event(&Measured { celsius: 8.0 });
        assert_eq!(next.to_string(), "rendered-8");
        assert_eq!(page.text(), "8");
    });
}

#[test]
fn each_attempt_has_a_credential_of_its_own() {
    let component = || {
        let tickets = RefCell::new(0);
        let options = StreamOptions::default().credentials(move || {
            *tickets.borrow_mut() += 1;
            let value = tickets.borrow().to_string();
            let name = "ticket".into();
            async move { Ok::<_, String>(Credential::Query { name, value }) }
        });
        show(use_latest_with_options(|| Some(Weather), options))
    };
    test_page(component, |_, server| {
        let stream = server.accept_stream::<Weather>();
        assert!(stream.url().ends_with("?ticket=1"), "{}", stream.url());
        stream.hello();
        stream.cut();
        server.advance(SECOND);
        let stream = server.accept_stream::<Weather>();
        assert!(stream.url().ends_with("?ticket=2"), "{}", stream.url());
    });
}

#[test]
fn a_shared_stream_is_that_of_the_only_tab() {
    let component = || {
        let sharing = Sharing {
            user: "ada".into(),
            build: "1",
        };
        let options = StreamOptions::default().shared(sharing);
        show(use_latest_with_options(|| Some(Weather), options))
    };
    test_page(component, |page, server| {
        let stream = server.accept_stream::<Weather>();
        stream.hello();
        stream.state(&Measured { celsius: 7.0 });
        server.advance(SECOND);
        assert!(stream.is_open());
        assert_eq!(page.text(), "7");
    });
}

#[test]
fn a_page_that_no_longer_wants_its_stream_closes_it() {
    let wanted = RefCell::new(None);
    let component = || {
        let is_wanted = RwSignal::new(true);
        wanted.replace(Some(is_wanted));
        show(use_latest(move || is_wanted.get().then_some(Weather)))
    };
    test_page(component, |page, server| {
        let want = |is_wanted: bool| {
            let signal: RwSignal<bool> = wanted.borrow().unwrap();
            page.act(|| signal.set(is_wanted));
        };
        let stream = server.accept_stream::<Weather>();
        stream.hello();
        stream.state(&Measured { celsius: 7.0 });
        let position = stream.event(&Measured { celsius: 8.0 });
        want(true);
        assert!(stream.is_open(), "nothing has changed");
        want(false);
        assert!(!stream.is_open());
        assert!(server.waiting().is_empty());
        want(true);
        let again = server.accept_stream::<Weather>();
        assert_eq!(again.resumes_after(), Some(position));
        assert_eq!(page.text(), "8");
    });
}

#[test]
fn a_page_gives_up_after_its_last_attempt() {
    let component = || {
        let options = StreamOptions::default().max_attempts(1);
        let connection = use_event_source_with_options(|| Some(Weather), |_| {}, options);
        view! { <StatusLine connection transport="SSE"/> }
    };
    test_page(component, |page, server| {
        server.accept_stream::<Weather>().cut();
        server.advance(SECOND);
        server.accept_stream::<Weather>().refuse(502);
        let shown = page.text();
        assert!(
            shown.contains("Gave up after 1 attempts: the server answers 502."),
            "{shown}"
        );
    });
}
