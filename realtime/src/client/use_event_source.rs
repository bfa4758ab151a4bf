//! Connects a page to an event stream and calls its handler with every event once, in order. The state machine of the kit
//! replaces the reconnect of `EventSource`.

use std::{cell::RefCell, rc::Rc};

use leptos::prelude::*;

use super::{
    connection::{Connection, Driver, Signals, Transport},
    stream::Stream,
    transports::{own::EventSourceTransport, shared::SharedTransport},
};
pub use super::{stream::StreamEvent, transports::shared::Sharing};
use crate::{
    backoff::Backoff,
    contract::StreamContract,
    position::Position,
    status::{Input, Liveness, Policy},
};

/// The options of a stream. For most streams a position alone is enough.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// The position of the state that the page already shows.
    pub after: Option<Position>,
    /// `Some`: one stream for all tabs of the browser (see [`crate::sharing`]). `None`: one for this tab.
    pub shared: Option<Sharing>,
    pub backoff: Backoff,
    /// `Some(n)`: stop with a reason after n failed attempts in a row. `None`: never give up.
    pub max_attempts: Option<u32>,
}

impl From<Option<Position>> for StreamOptions {
    fn from(after: Option<Position>) -> Self {
        Self {
            after,
            ..Self::default()
        }
    }
}

/// Connects while `contract` returns `Some`, and calls `handler` with every event once, in order.
///
/// When the contract changes, the old connection is closed and a new one opened. It starts at the same position if the new
/// contract [`continues`](StreamContract::continues) the old one. A shared stream is the same for all tabs, so its contract
/// must not depend on what one of them shows.
pub fn use_event_source<C: StreamContract>(
    contract: impl Fn() -> Option<C> + 'static,
    options: impl Into<StreamOptions>,
    handler: impl FnMut(StreamEvent<C::Event>) + 'static,
) -> Connection {
    let StreamOptions {
        after,
        shared,
        backoff,
        max_attempts,
    } = options.into();
    let policy = Policy {
        backoff,
        liveness: Liveness::Heartbeat,
        max_attempts,
    };
    let signals = Signals::new();
    signals.end_on_cleanup();
    let stream = Rc::new(Stream::new::<C>(after, handler));
    let driver = RefCell::new(None::<Driver>);
    Effect::new(move |previous: Option<Option<C>>| {
        let wanted = contract();
        let previous = previous.flatten();
        if wanted == previous && driver.borrow().is_some() {
            return wanted;
        }
        let mut driver = driver.borrow_mut();
        let driver = driver.get_or_insert_with(|| {
            let source = EventSourceTransport::new::<C>(stream.clone());
            let transport: Box<dyn Transport> = match &shared {
                Some(sharing) => Box::new(SharedTransport::new(
                    C::ROUTE,
                    sharing,
                    stream.clone(),
                    source,
                )),
                None => Box::new(source),
            };
            signals.start(policy, transport)
        });
        match &wanted {
            Some(contract) => {
                if previous.is_some_and(|previous| !contract.continues(&previous)) {
                    stream.set_position(None);
                }
                stream.set_contract(contract);
                driver.feed(Input::Wanted);
            }
            None => driver.feed(Input::Unwanted),
        }
        wanted
    });
    signals.connection()
}
