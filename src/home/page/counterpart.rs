//! Opens connections to the comparison's endpoints, for the inspector of any page beside the page's own connection.

use leptos::prelude::*;
use realtime::{
    client::{Connection, use_event_source, use_socket},
    transport::Transport,
};

use crate::home::message::{CompareEvents, CompareSocket};

/// Connects while `wanted` is true, and ignores all events.
pub fn counterpart(transport: Transport, wanted: Signal<bool>) -> Connection {
    match transport {
        Transport::Sse => {
            use_event_source(move || wanted.get().then_some(CompareEvents), None, |_| {})
        }
        Transport::WebSocket => {
            use_socket(move || wanted.get().then_some(CompareSocket), |_| {}).connection
        }
    }
}
