//! A `WebSocket` with the closures that it calls.

use gloo_timers::callback::Timeout;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{BinaryType, CloseEvent, MessageEvent};

use crate::client::platform::message::Message;

/// A socket, open or not yet. Dropping it detaches everything and closes it.
pub struct WebSocket {
    socket: web_sys::WebSocket,
    /// `None` only while it is dropped.
    closures: Option<Closures>,
}

struct Closures {
    _on_open: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl WebSocket {
    /// Opens a socket. `None` if the browser refuses the address.
    pub fn open(
        url: &str,
        protocol: &str,
        on_open: impl FnMut() + 'static,
        mut on_message: impl FnMut(Message) + 'static,
        mut on_close: impl FnMut(u16, String) + 'static,
    ) -> Option<Self> {
        let socket = web_sys::WebSocket::new_with_str(url, protocol).ok()?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let on_open = Closure::<dyn FnMut()>::new(on_open);
        let on_message = Closure::new(move |event: MessageEvent| {
            on_message(match event.data().as_string() {
                Some(text) => Message::Text(text),
                None => Message::Binary(js_sys::Uint8Array::new(&event.data()).to_vec()),
            });
        });
        // No listener for `error`: it carries no information, and `close` always follows it.
        let on_close =
            Closure::new(move |event: CloseEvent| on_close(event.code(), event.reason()));
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Some(Self {
            socket,
            closures: Some(Closures {
                _on_open: on_open,
                _on_message: on_message,
                _on_close: on_close,
            }),
        })
    }

    pub fn is_open(&self) -> bool {
        self.socket.ready_state() == web_sys::WebSocket::OPEN
    }

    /// The bytes that were passed to the browser and not yet to the network.
    pub fn buffered_amount(&self) -> u32 {
        self.socket.buffered_amount()
    }

    /// Returns whether the browser took the text.
    pub fn send_text(&self, text: &str) -> bool {
        self.socket.send_with_str(text).is_ok()
    }

    /// Returns whether the browser took the bytes.
    pub fn send_binary(&self, bytes: &[u8]) -> bool {
        self.socket.send_with_u8_array(bytes).is_ok()
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // It fails only for invalid codes and reasons; none is passed.
        let _ = self.socket.close();
        let closures = self.closures.take();
        // A closure may be running right now, so they are freed once the stack is empty.
        Timeout::new(0, move || drop(closures)).forget();
    }
}
