//! The server of a script: accepts what a page opens, and moves the clock.

mod channel;
mod history;
mod socket;
mod stream;

use std::{cell::Cell, rc::Rc, time::Duration};

use self::history::Histories;
pub use self::{channel::AcceptedChannel, socket::AcceptedSocket, stream::AcceptedStream};
use crate::{
    client::platform::scripted::{Kind, Link, World},
    contract::{SocketContract, StreamContract},
};

/// The server of a [script](crate::testing::test_page), and its clock.
pub struct ScriptedServer {
    world: Rc<World>,
    histories: Histories,
    accepted: Cell<usize>,
}

impl ScriptedServer {
    pub(super) fn new(world: Rc<World>) -> Self {
        Self {
            world,
            histories: Histories::default(),
            accepted: Cell::default(),
        }
    }

    /// Lets time pass, and runs every timer on the way at its time.
    pub fn advance(&self, time: Duration) {
        self.world.advance(time.as_millis() as u64);
    }

    /// The time of the script, in Unix milliseconds.
    pub fn now(&self) -> f64 {
        self.world.now()
    }

    /// The oldest event stream of this contract that the page has opened and still waits for. It has no answer yet.
    ///
    /// # Panics
    ///
    /// Panics if the page waits for none: the sentence names what it waits for.
    #[track_caller]
    pub fn accept_stream<C: StreamContract>(&self) -> AcceptedStream<C> {
        let link = self.accept(Kind::Stream, C::ROUTE);
        let history = self.histories.of(C::ROUTE);
        AcceptedStream::new(self.world.clone(), link, history, self.next_id())
    }

    /// The oldest socket of this contract that the page has opened and still waits for. It is not open yet.
    ///
    /// # Panics
    ///
    /// Panics if the page waits for none: the sentence names what it waits for.
    #[track_caller]
    pub fn accept_socket<C: SocketContract>(&self) -> AcceptedSocket<C> {
        let link = self.accept(Kind::Socket, C::ROUTE);
        AcceptedSocket::new(
            self.world.clone(),
            link,
            self.histories.clone(),
            self.next_id(),
        )
    }

    /// The addresses of what the page has opened and no script has accepted, oldest first.
    pub fn waiting(&self) -> Vec<String> {
        self.world.settle();
        let opened = self.world.opened.borrow();
        let waiting = opened.iter().filter(|link| link.is_held());
        waiting.map(|link| link.url.clone()).collect()
    }

    #[track_caller]
    fn accept(&self, kind: Kind, route: &str) -> Rc<Link> {
        let waiting = self.waiting();
        let mut opened = self.world.opened.borrow_mut();
        opened.retain(|link| link.is_held());
        let place = opened
            .iter()
            .position(|link| link.kind == kind && is_at(&link.url, route));
        match place.and_then(|place| opened.remove(place)) {
            Some(link) => link,
            None => panic!("the page waits for no {kind:?} at {route}; it waits for {waiting:?}"),
        }
    }

    fn next_id(&self) -> String {
        self.accepted.set(self.accepted.get() + 1);
        format!("connection-{}", self.accepted.get())
    }
}

/// Whether an address belongs to a route with parameters in braces.
fn is_at(url: &str, route: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (path, route): (Vec<_>, Vec<_>) = (path.split('/').collect(), route.split('/').collect());
    let fits = |(piece, pattern): (&&str, &&str)| pattern.starts_with('{') || piece == pattern;
    path.len() == route.len() && path.iter().zip(&route).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_its_route() {
        assert!(is_at("/api/jobs/7/events?a=/b", "/api/jobs/{id}/events"));
        assert!(!is_at("/api/jobs/7/log", "/api/jobs/{id}/events"));
        assert!(!is_at("/api/jobs", "/api/jobs/{id}"));
    }
}
