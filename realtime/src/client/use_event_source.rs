//! Connects a page to an event stream and calls its handler with every event once, in order. The state machine of the kit
//! replaces the reconnect of `EventSource`.

use std::{cell::RefCell, future::Future, rc::Rc};

use leptos::prelude::*;

use super::{
    connection::{Connection, Driver, Signals, Transport},
    credential::{Credential, Credentials},
    platform::effect,
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

/// The options of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    after: Option<Position>,
    shared: Option<Sharing>,
    backoff: Backoff,
    max_attempts: Option<u32>,
    credentials: Option<Credentials>,
}

impl StreamOptions {
    /// The position of the state that the page already shows: the stream begins with the events after it. Without it the
    /// stream begins with a state.
    pub fn after(mut self, position: impl Into<Option<Position>>) -> Self {
        self.after = position.into();
        self
    }

    /// One stream for all tabs of the browser (see [`crate::sharing`]). Without it the stream is of this tab only.
    pub fn shared(mut self, sharing: impl Into<Option<Sharing>>) -> Self {
        self.shared = sharing.into();
        self
    }

    /// The delays between attempts; [`Backoff::DEFAULT`] by default.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Stops with a reason when the first attempt and `attempts` more in a row have failed. Without it the connection never
    /// gives up.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Obtains a credential for each attempt, such as a single-use ticket. The position stays in the address next to it.
    ///
    /// `obtain` is called outside of any reactive owner. It has 10 s. An error, or no answer in time, counts as a failed
    /// attempt; the error is shown as the reason. The future is dropped when its attempt is abandoned. After a refusal with
    /// 401, unless its reason stops the stream, `obtain` is called once more at once, instead of a renewal of the session. The
    /// request that determines why a stream was refused repeats the credential. Of a shared stream, only the tab that opens
    /// the stream calls `obtain`.
    pub fn credentials<F, E>(mut self, obtain: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<Credential, E>> + 'static,
        E: ToString,
    {
        self.credentials = Some(Credentials::new(obtain));
        self
    }
}

/// Connects while `contract` returns `Some`, and calls `handler` with every event once, in order.
///
/// When the contract changes, the old connection is closed and a new one opened. It starts at the same position if the new
/// contract [`continues`](StreamContract::continues) the old one.
pub fn use_event_source<C: StreamContract>(
    contract: impl Fn() -> Option<C> + 'static,
    handler: impl FnMut(StreamEvent<C::Event>) + 'static,
) -> Connection {
    use_event_source_with_options(contract, handler, StreamOptions::default())
}

/// The newest event of a stream; `None` before the first one. The connection is that of [`use_event_source`]. After a change of
/// the contract, the value stays until the new stream's first event.
pub fn use_latest<C>(contract: impl Fn() -> Option<C> + 'static) -> Signal<Option<C::Event>>
where
    C: StreamContract,
    C::Event: Clone + Send + Sync,
{
    use_latest_with_options(contract, StreamOptions::default())
}

/// Like [`use_latest`], with options.
pub fn use_latest_with_options<C>(
    contract: impl Fn() -> Option<C> + 'static,
    options: StreamOptions,
) -> Signal<Option<C::Event>>
where
    C: StreamContract,
    C::Event: Clone + Send + Sync,
{
    let latest = RwSignal::new(None);
    let handler = move |event| {
        if let StreamEvent::Event(event) = event {
            let _ = latest.try_set(Some(event));
        }
    };
    use_event_source_with_options(contract, handler, options);
    latest.into()
}

/// Like [`use_event_source`], with options. A shared stream is the same for all tabs, so its contract must not depend on what
/// one of them shows.
pub fn use_event_source_with_options<C: StreamContract>(
    contract: impl Fn() -> Option<C> + 'static,
    handler: impl FnMut(StreamEvent<C::Event>) + 'static,
    options: StreamOptions,
) -> Connection {
    let StreamOptions {
        after,
        shared,
        backoff,
        max_attempts,
        credentials,
    } = options;
    let policy = Policy {
        backoff,
        liveness: Liveness::Heartbeat,
        max_attempts,
    };
    let signals = Signals::new();
    signals.end_on_cleanup();
    let stream = Rc::new(Stream::new::<C>(after, handler));
    let driver = RefCell::new(None::<Driver>);
    effect(move |previous: Option<Option<C>>| {
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
            signals.start(policy, credentials.clone(), transport)
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
