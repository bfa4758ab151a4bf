//! An `EventSource` without its own reconnect, with the closures that it calls.

use gloo_timers::callback::Timeout;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::MessageEvent;

use crate::client::platform::message::NamedEvent;

/// An open event stream. Dropping it detaches everything and closes it.
pub struct EventSource {
    source: web_sys::EventSource,
    names: Vec<&'static str>,
    /// `None` only while it is dropped.
    closures: Option<Closures>,
}

/// One listener serves all event names, so the order across names is kept.
struct Closures {
    on_event: Closure<dyn FnMut(MessageEvent)>,
    _on_open: Closure<dyn FnMut()>,
    _on_error: Closure<dyn FnMut()>,
}

impl EventSource {
    /// Opens a stream and reports the events with these names. `None` if the browser refuses the address.
    pub fn open(
        url: &str,
        names: &[&'static str],
        on_open: impl FnMut() + 'static,
        mut on_event: impl FnMut(NamedEvent) + 'static,
        on_error: impl FnMut() + 'static,
    ) -> Option<Self> {
        let source = web_sys::EventSource::new(url).ok()?;
        let on_event = Closure::new(move |event: MessageEvent| {
            on_event(NamedEvent {
                name: event.type_(),
                data: event.data().as_string().unwrap_or_default(),
                id: event.last_event_id(),
            });
        });
        for name in names {
            // Adding a listener fails only for invalid arguments; these are valid.
            let _ =
                source.add_event_listener_with_callback(name, on_event.as_ref().unchecked_ref());
        }
        let on_open = Closure::<dyn FnMut()>::new(on_open);
        let on_error = Closure::<dyn FnMut()>::new(on_error);
        source.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Some(Self {
            source,
            names: names.to_vec(),
            closures: Some(Closures {
                on_event,
                _on_open: on_open,
                _on_error: on_error,
            }),
        })
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        let Some(closures) = self.closures.take() else {
            return;
        };
        for name in &self.names {
            let listener = closures.on_event.as_ref().unchecked_ref();
            let _ = self
                .source
                .remove_event_listener_with_callback(name, listener);
        }
        self.source.set_onopen(None);
        self.source.set_onerror(None);
        self.source.close();
        // A closure may be running right now, so they are freed once the stack is empty.
        Timeout::new(0, move || drop(closures)).forget();
    }
}
