//! The connections that a page opens under a script, as both ends see them.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use crate::client::platform::message::{Message, NamedEvent};

/// What a page opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stream,
    Socket,
}

/// What the other end reports to the page.
pub enum Report {
    Open,
    Event(NamedEvent),
    /// The stream broke, or was refused.
    Error,
    Message(Message),
    Closed {
        code: u16,
        reason: String,
    },
}

/// The page's end: it is called with what happens.
type Page = Rc<dyn Fn(Report)>;

/// A connection, from the page's first attempt to open it to its end.
pub struct Link {
    pub kind: Kind,
    pub url: String,
    /// What the page sent and no script has read yet.
    pub sent: RefCell<VecDeque<Message>>,
    /// The bytes that the browser holds because the network does not take them.
    pub unsent_bytes: Cell<u32>,
    /// Called after the page has sent a message.
    pub on_sent: RefCell<Option<Rc<dyn Fn()>>>,
    pub is_open: Cell<bool>,
    /// `None` once the page has closed it.
    page: RefCell<Option<Page>>,
}

impl Link {
    pub fn new(kind: Kind, url: &str, page: impl Fn(Report) + 'static) -> Rc<Self> {
        Rc::new(Self {
            kind,
            url: url.to_owned(),
            sent: RefCell::default(),
            unsent_bytes: Cell::default(),
            on_sent: RefCell::default(),
            is_open: Cell::new(false),
            page: RefCell::new(Some(Rc::new(page))),
        })
    }

    /// Whether the page has not closed it.
    pub fn is_held(&self) -> bool {
        self.page.borrow().is_some()
    }

    /// Reports to the page, unless it has closed the connection. Returns whether it has not.
    pub fn report(&self, report: Report) -> bool {
        match &report {
            Report::Open => self.is_open.set(true),
            Report::Closed { .. } => self.is_open.set(false),
            _ => {}
        }
        // A copy, because the page may close the connection in return.
        let page = self.page.borrow().clone();
        if let Some(page) = &page {
            page(report);
        }
        page.is_some()
    }

    /// The page closes it.
    pub fn close(&self) {
        self.is_open.set(false);
        let page = self.page.take();
        drop(page);
        drop(self.on_sent.take());
    }

    /// The page sends a message.
    pub fn send(&self, message: Message) -> bool {
        self.sent.borrow_mut().push_back(message);
        let on_sent = self.on_sent.borrow().clone();
        if let Some(on_sent) = on_sent {
            on_sent();
        }
        true
    }
}
