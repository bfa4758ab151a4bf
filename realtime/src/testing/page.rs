//! Runs a component under a script, and reads what it shows.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
};

use leptos::prelude::*;

use super::{server::ScriptedServer, text::text_of};
use crate::client::platform::{Change, scripted::World};

type View = Box<dyn FnOnce() -> String>;

/// The page of a script, with its browser.
pub struct Page<'a> {
    world: Rc<World>,
    build: &'a dyn Fn() -> View,
    /// The component's reactive owner, and its view until it is read.
    built: RefCell<Option<(Owner, View)>>,
    /// What the readings of earlier runs showed.
    readings: &'a RefCell<Vec<String>>,
    /// The number of readings in this run.
    read: Cell<usize>,
}

/// Ends a run at its reading.
struct EndOfRun;

/// Builds a component, and runs a script that is its server and its browser.
///
/// The script is run once more for each [`Page::text`] and [`Page::html`]; see [the module](crate::testing).
///
/// # Panics
///
/// Panics where the script does.
#[track_caller]
pub fn test_page<V: IntoView + 'static>(
    component: impl Fn() -> V,
    script: impl Fn(&Page, &ScriptedServer),
) {
    let build = || -> View {
        let view = component();
        Box::new(move || view.into_view().to_html())
    };
    let readings = RefCell::default();
    while let Err(panic) = run(&build, &script, &readings) {
        if !panic.is::<EndOfRun>() {
            resume_unwind(panic);
        }
    }
}

/// Runs the script up to its first new reading; `Ok` at its end.
fn run(
    build: &dyn Fn() -> View,
    script: &dyn Fn(&Page, &ScriptedServer),
    readings: &RefCell<Vec<String>>,
) -> Result<(), Box<dyn Any + Send>> {
    let world = World::begin();
    let page = Page {
        world: world.clone(),
        build,
        built: RefCell::default(),
        readings,
        read: Cell::default(),
    };
    let server = ScriptedServer::new(world);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        page.load();
        script(&page, &server);
    }));
    page.unload();
    World::end();
    ended
}

impl Page<'_> {
    /// The text that the page shows now, without tags and with single spaces.
    pub fn text(&self) -> String {
        text_of(&self.html())
    }

    /// The HTML of the page as it is now.
    pub fn html(&self) -> String {
        let index = self.read.replace(self.read.get() + 1);
        if let Some(known) = self.readings.borrow().get(index) {
            return known.clone();
        }
        let Some((owner, view)) = self.built.take() else {
            panic!("the page was read while it was being built");
        };
        let html = owner.with(view);
        self.built.replace(Some((owner, Box::new(String::new))));
        self.readings.borrow_mut().push(html);
        // Not a panic: nothing is printed.
        resume_unwind(Box::new(EndOfRun))
    }

    /// The browser reports that it has no network. What is open stays open.
    pub fn go_offline(&self) {
        self.world.is_online.set(false);
        self.world.report(Change::Network);
    }

    /// The browser reports a network again.
    pub fn go_online(&self) {
        self.world.is_online.set(true);
        self.world.report(Change::Network);
    }

    /// Another tab comes to the front. What is open stays open; the waits before attempts are longer.
    pub fn hide(&self) {
        self.world.is_visible.set(false);
        self.world.report(Change::Visibility);
    }

    /// The tab comes to the front again.
    pub fn show(&self) {
        self.world.is_visible.set(true);
        self.world.report(Change::Visibility);
    }

    /// The page is put into the back-forward cache: its connections are closed.
    pub fn put_away(&self) {
        self.world.report(Change::Hidden);
    }

    /// The page comes back from the back-forward cache.
    pub fn bring_back(&self) {
        self.world.report(Change::Shown);
    }

    /// Loads the page again: the component is built anew. What it kept in the tab's storage is still there.
    pub fn reload(&self) {
        self.unload();
        self.load();
    }

    /// How often the page was reloaded because the server no longer speaks its subprotocol. It is only counted.
    pub fn automatic_reloads(&self) -> u32 {
        self.world.reloads.get()
    }

    /// Calls `act` as a handler of the page would run, and then everything that follows from it.
    pub fn act<T>(&self, act: impl FnOnce() -> T) -> T {
        let owner = self.built.borrow().as_ref().map(|(owner, _)| owner.clone());
        let result = match owner {
            Some(owner) => owner.with(act),
            None => act(),
        };
        self.world.settle();
        result
    }

    fn load(&self) {
        let owner = Owner::new_root(None);
        let view = owner.with(self.build);
        self.built.replace(Some((owner, view)));
        self.world.settle();
    }

    fn unload(&self) {
        if let Some((owner, view)) = self.built.take() {
            drop(view);
            owner.cleanup();
        }
    }
}
