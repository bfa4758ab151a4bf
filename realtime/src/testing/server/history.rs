//! The positions of the logs of a scripted server: they count up by themselves.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use crate::position::{Epoch, Position};

/// The histories of all routes and channels.
#[derive(Clone, Default)]
pub struct Histories(Rc<RefCell<BTreeMap<String, History>>>);

/// One history. All clones share it.
#[derive(Clone)]
pub struct History(Rc<State>);

struct State {
    epoch: RefCell<Epoch>,
    /// How many histories were before this one.
    restarts: Cell<u32>,
    offset: Cell<u64>,
}

impl Histories {
    pub fn of(&self, name: &str) -> History {
        let mut histories = self.0.borrow_mut();
        histories
            .entry(name.to_owned())
            .or_insert_with(History::new)
            .clone()
    }
}

impl History {
    fn new() -> Self {
        Self(Rc::new(State {
            epoch: RefCell::new(epoch(0)),
            restarts: Cell::new(0),
            offset: Cell::new(0),
        }))
    }

    /// The position of the newest event.
    pub fn head(&self) -> Position {
        Position::new(self.0.epoch.borrow().clone(), self.0.offset.get())
    }

    /// The position of the next event.
    pub fn next(&self) -> Position {
        self.0.offset.set(self.0.offset.get() + 1);
        self.head()
    }

    /// Goes on from a position.
    pub fn move_to(&self, position: &Position) {
        self.0.epoch.replace(position.epoch.clone());
        self.0.offset.set(position.offset);
    }

    /// The old history is gone.
    pub fn restart(&self) {
        self.0.restarts.set(self.0.restarts.get() + 1);
        self.0.epoch.replace(epoch(self.0.restarts.get()));
        self.0.offset.set(0);
    }
}

fn epoch(restarts: u32) -> Epoch {
    // A number below 10,000 of a script fits; a letter keeps it apart from an offset.
    match Epoch::new(&format!("script{restarts}")) {
        Ok(epoch) => epoch,
        Err(error) => panic!("{error}"),
    }
}
