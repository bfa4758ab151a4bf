//! Tests several users typing at simulated text areas, with keys, events, received updates and animation frames in
//! every order.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use proptest::prelude::*;

use super::*;
use crate::collab::{
    page::sync::{
        splice::{byte_at, units},
        text::SharedText,
    },
    protocol::Message,
};

/// A text area that behaves as in a browser.
#[derive(Default)]
struct Area {
    value: RefCell<String>,
    selection: Cell<Selection>,
    focus: Cell<bool>,
}

impl TextArea for Area {
    fn value(&self) -> String {
        self.value.borrow().clone()
    }

    fn set_value(&self, value: &str) {
        if *self.value.borrow() != value {
            self.value.replace(value.to_owned());
            self.selection.set(Selection::caret(units(value)));
        }
    }

    fn selection(&self) -> Selection {
        self.selection.get()
    }

    fn select(&self, selection: Selection) {
        assert!(self.focus.get(), "some browsers would move the focus");
        self.selection.set(selection);
    }

    fn has_focus(&self) -> bool {
        self.focus.get()
    }
}

impl Area {
    /// A key replaces the selection with a text. The caller fires the input event.
    fn put_in(&self, what: &str) {
        let Selection { start, end, .. } = self.selection();
        let mut value = self.value();
        value.replace_range(byte_at(&value, start)..byte_at(&value, end), what);
        self.value.replace(value);
        self.selection.set(Selection::caret(start + units(what)));
    }

    fn backspace(&self) {
        let Selection { start, end, .. } = self.selection();
        if start == end {
            let value = self.value();
            let before = value[..byte_at(&value, start)].chars().next_back();
            let length = before.map_or(0, |character| character.len_utf16() as u32);
            self.selection.set(Selection {
                start: start - length,
                end,
                backward: true,
            });
        }
        self.put_in("");
    }
}

/// A unit of the document: its client and its index among that client's units.
type Unit = (u64, u64);

/// One user at one text area.
struct Writer {
    typing: Typing,
    area: Area,
    inbox: VecDeque<Vec<u8>>,
    input_due: bool,
    /// The text that the input method has inserted.
    composed: String,
    /// The units that were typed without moving the caret, one list for each caret position.
    runs: Vec<Vec<Unit>>,
    /// The caret is behind the unit that was typed last.
    behind_last: bool,
}

impl Writer {
    fn new(id: u32, server: &SharedText) -> Self {
        let mut client = Client::new(id, false, None);
        client.connected(0.0);
        let nothing = SharedText::new(99).state_vector();
        let all = server.difference(&nothing).unwrap();
        for message in [Message::SyncStep1(&nothing), Message::SyncStep2(&all)] {
            assert_eq!(client.receive(&message.encode(), 0.0).1, Ok(()));
        }
        let mut writer = Self {
            typing: Typing::new(client),
            area: Area::default(),
            inbox: VecDeque::new(),
            input_due: false,
            composed: String::new(),
            runs: vec![vec![]],
            behind_last: false,
        };
        // The value that the server rendered.
        writer.area.set_value(server.shown());
        writer.typing.show(&writer.area, 0.0);
        writer
    }

    fn caret(&self) -> HeldSelection {
        let held = self.typing.kept.clone();
        held.unwrap_or_else(|| self.typing.client.hold(self.area.selection()))
    }

    fn unit_before(&self, held: HeldSelection) -> Option<Unit> {
        let position = serde_json::to_value(held.cursor().head).unwrap();
        let number = |name: &str| position["item"][name].as_u64();
        number("client").zip(number("clock"))
    }

    /// The unit at each position.
    fn units(&self) -> Vec<Unit> {
        let client = &self.typing.client;
        let ends = client.shown().chars().scan(0, |at, character| {
            *at += character.len_utf16() as u32;
            Some(*at)
        });
        ends.map(|end| {
            self.unit_before(client.hold(Selection::caret(end)))
                .unwrap()
        })
        .collect()
    }

    fn fire_input(&mut self, now: f64) -> Change {
        self.input_due = false;
        self.typing.edited(&self.area, now)
    }
}

struct World {
    writers: Vec<Writer>,
    now: f64,
}

#[derive(Clone, Debug)]
enum Action {
    /// A key and its input event: immediately, as in browsers, or later.
    Key(bool),
    Backspace,
    Input,
    /// The oldest message in transit arrives.
    Receive,
    Frame,
    /// `selectionchange` is fired in a task of its own.
    SelectionChange,
    Blur,
    /// By key or script. In a window that is not in front, the event comes later.
    Focus(bool),
    /// Behind a character of the initial text. Browsers put the caret there before or after the focus event.
    Click(usize, bool),
    Compose,
    CompositionEnd,
    Undo,
    Redo,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0..4).prop_map(|late| Action::Key(late > 0)),
        1 => Just(Action::Backspace),
        1 => Just(Action::Input),
        6 => Just(Action::Receive),
        5 => Just(Action::Frame),
        1 => Just(Action::SelectionChange),
        1 => Just(Action::Blur),
        2 => (0..4).prop_map(|late| Action::Focus(late > 0)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, first)| Action::Click(at, first)),
        1 => Just(Action::Compose),
        2 => Just(Action::CompositionEnd),
        1 => Just(Action::Undo),
        1 => Just(Action::Redo),
    ]
}

impl World {
    fn new(ids: &[u32], text: &str) -> Self {
        let mut server = SharedText::new(98);
        server.edit(text, u32::MAX, 0.0).unwrap();
        let writers = ids.iter().map(|id| Writer::new(*id, &server)).collect();
        Self { writers, now: 1.0 }
    }

    /// Sends a change to all other writers, in one order.
    fn broadcast(&mut self, who: usize, change: Change) {
        assert_eq!(change.fault, None);
        for frame in change.frames {
            for (other, writer) in self.writers.iter_mut().enumerate() {
                if other != who {
                    writer.inbox.push_back(frame.clone());
                }
            }
        }
    }

    fn input(&mut self, who: usize) {
        let change = self.writers[who].fire_input(self.now);
        self.broadcast(who, change);
    }

    /// The units that were inserted at the caret are the writer's own, and the caret is behind them.
    fn typed(&mut self, who: usize, count: u64) {
        let writer = &mut self.writers[who];
        let (client, clock) = writer.unit_before(writer.caret()).unwrap();
        assert_eq!(client, writer.typing.client.text().client());
        let run = writer.runs.last_mut().unwrap();
        let units = (clock + 1 - count..=clock).map(|clock| (client, clock));
        for unit in units.clone() {
            assert!(!run.contains(&unit), "the caret is behind an older letter");
        }
        run.extend(units);
        writer.behind_last = true;
    }

    fn key(&mut self, who: usize, letter: &str, at_once: bool) {
        let writer = &mut self.writers[who];
        if !writer.area.has_focus() || writer.typing.is_composing() {
            return;
        }
        // Keys are processed in order, and so are their events.
        if writer.input_due {
            self.late_input(who);
        }
        // A window that is not in front gets no keys.
        self.writers[who].focus_event();
        self.writers[who].area.put_in(letter);
        self.writers[who].input_due = true;
        if at_once {
            self.late_input(who);
        }
    }

    fn late_input(&mut self, who: usize) {
        if std::mem::take(&mut self.writers[who].input_due) {
            self.input(who);
            self.typed(who, 1);
        }
    }

    fn perform(&mut self, who: usize, action: Action, letter: &str) {
        let who = who % self.writers.len();
        self.now += 200.0;
        let now = self.now;
        let writer = &mut self.writers[who];
        match action {
            Action::Key(at_once) => self.key(who, letter, at_once),
            Action::Backspace => {
                let composing = writer.typing.is_composing();
                if writer.area.has_focus() && writer.behind_last && !writer.input_due && !composing
                {
                    writer.focus_event();
                    writer.area.backspace();
                    writer.behind_last = false;
                    self.input(who);
                }
            }
            Action::Input => self.late_input(who),
            Action::Receive => {
                if let Some(frame) = writer.inbox.pop_front() {
                    assert_eq!(writer.typing.client.receive(&frame, now).1, Ok(()));
                }
            }
            Action::Frame => self.frame(who),
            Action::SelectionChange => drop(writer.typing.client.hold(writer.area.selection())),
            Action::Blur => {
                self.end_composition(who);
                self.writers[who].area.focus.set(false);
            }
            Action::Focus(event) => {
                writer.area.focus.set(true);
                if event {
                    writer.focus_event();
                }
            }
            Action::Click(at, caret_first) => self.click(who, at, caret_first),
            Action::Compose => {
                if writer.area.has_focus() && !writer.input_due {
                    writer.focus_event();
                    if !writer.typing.is_composing() {
                        writer.typing.composition_began();
                    }
                    writer.composed.push('n');
                    writer.area.put_in("n");
                    let change = writer.typing.edited(&writer.area, now);
                    assert_eq!(change, Change::default());
                }
            }
            Action::CompositionEnd => self.end_composition(who),
            Action::Undo | Action::Redo => {
                if writer.input_due || writer.typing.is_composing() {
                    return;
                }
                let step = if matches!(action, Action::Undo) {
                    Client::undo
                } else {
                    Client::redo
                };
                let (change, _) = writer.typing.step(&writer.area, now, step);
                writer.behind_last = false;
                self.broadcast(who, change);
            }
        }
        let writer = &self.writers[who];
        if !writer.typing.is_composing() && !writer.input_due {
            assert_eq!(*writer.area.value.borrow(), writer.typing.client.shown());
            if writer.behind_last {
                let last = writer.runs.last().unwrap().last().copied();
                assert_eq!(writer.unit_before(writer.caret()), last, "the caret moved");
            }
        }
    }

    fn frame(&mut self, who: usize) {
        let writer = &mut self.writers[who];
        let late = writer.input_due;
        let change = writer.typing.show(&writer.area, self.now);
        writer.input_due = false;
        self.broadcast(who, change);
        if late {
            self.typed(who, 1);
        }
    }

    fn click(&mut self, who: usize, at: usize, caret_first: bool) {
        self.end_composition(who);
        self.late_input(who);
        let writer = &mut self.writers[who];
        let units = writer.units();
        let first = (0..units.len()).filter(|at| units[*at].0 == 98);
        let characters = first.collect::<Vec<_>>();
        let character = (!characters.is_empty()).then(|| characters[at % characters.len()]);
        let end = character.map_or(0, |character| {
            let until = writer.typing.client.shown().chars().take(character + 1);
            until.map(|character| character.len_utf16() as u32).sum()
        });
        writer.typing.pointed();
        writer.area.focus.set(true);
        if caret_first {
            writer.area.selection.set(Selection::caret(end));
        }
        writer.focus_event();
        writer.area.selection.set(Selection::caret(end));
        writer.behind_last = false;
        writer.runs.push(vec![]);
    }

    fn end_composition(&mut self, who: usize) {
        let writer = &mut self.writers[who];
        if !writer.typing.is_composing() {
            return;
        }
        let length = units(&std::mem::take(&mut writer.composed));
        let Selection { end, .. } = writer.area.selection();
        writer.area.selection.set(Selection {
            start: end - length,
            end,
            backward: false,
        });
        writer.area.put_in("你好");
        let change = writer.typing.composition_ended(&writer.area, self.now);
        self.broadcast(who, change);
        self.typed(who, 2);
    }

    /// Delivers and displays everything.
    fn settle(&mut self) {
        for who in 0..self.writers.len() {
            self.end_composition(who);
            self.late_input(who);
        }
        for who in 0..self.writers.len() {
            while !self.writers[who].inbox.is_empty() {
                self.perform(who, Action::Receive, "");
            }
            self.perform(who, Action::Frame, "");
        }
    }

    /// Units that were typed without moving the caret are contiguous in every copy.
    fn check_runs(&self) {
        for copy in &self.writers {
            let units = copy.units();
            for run in self.writers.iter().flat_map(|writer| &writer.runs) {
                let mut places = (0..units.len()).filter(|at| run.contains(&units[*at]));
                let Some(first) = places.next() else { continue };
                let last = places.next_back().unwrap_or(first);
                let mut between = units[first..=last].iter();
                // A letter that was undone and redone is the writer's own, but a new unit.
                assert!(
                    between.all(|unit| unit.0 == run[0].0),
                    "torn: {:?}",
                    copy.typing.client.shown()
                );
            }
        }
    }

    /// All copies have the same text.
    fn check_texts(&self) {
        let texts = self
            .writers
            .iter()
            .map(|writer| writer.typing.client.shown());
        let texts = texts.collect::<Vec<_>>();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    }
}

impl Writer {
    fn focus_event(&mut self) {
        self.typing.focused(&self.area);
    }
}

/// A different letter for each writer, or the same for all. In the second case only the caret tells where it was typed.
fn letter(who: usize, same: bool) -> &'static str {
    if same {
        "a"
    } else {
        ["a", "b", "😀"][who % 3]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn text_typed_in_one_go_stays_contiguous(
        text in prop::sample::select(vec!["", "xy", "aaaa", "x😀y\n", "a\r\nb\r"]),
        ids in prop::sample::select(vec![[1, 2, 3], [3, 2, 1], [2, 3, 1]]),
        same in any::<bool>(),
        deletes in any::<bool>(),
        actions in prop::collection::vec((0usize..3, action()), 1..120),
    ) {
        let mut world = World::new(&ids, text);
        for who in 0..3 {
            world.perform(who, Action::Click(0, false), "");
        }
        for (who, action) in actions {
            let action = match action {
                Action::Backspace | Action::Undo | Action::Redo if !deletes => Action::Key(true),
                action => action,
            };
            world.perform(who, action, letter(who, same));
        }
        world.settle();
        world.check_texts();
        // If text right behind the caret was deleted, Yjs inserts a letter behind it. If others write there at the same
        // time, Yjs chooses the order of the two.
        if !deletes {
            world.check_runs();
        }
    }
}

#[test]
fn a_text_area_without_focus_keeps_its_caret_and_splits_no_word() {
    for ids in [[1, 2], [2, 1]] {
        let mut world = World::new(&ids, "");
        world.perform(0, Action::Focus(true), "");
        world.perform(0, Action::Key(true), "[");
        // Displayed before the second user moves to the text.
        world.perform(1, Action::Receive, "");
        world.perform(1, Action::Frame, "");
        world.perform(1, Action::Focus(true), "");
        // Concurrently.
        for letter in ["b", "b", "]"] {
            world.perform(0, Action::Key(true), letter);
            world.perform(1, Action::Key(true), letter);
        }
        world.settle();
        world.check_texts();
        assert_eq!(world.writers[0].area.value(), "bb][bb]");
        world.check_runs();
    }
}

#[test]
fn a_selection_in_the_rendered_text_stays_when_the_document_is_received() {
    let mut server = SharedText::new(98);
    server.edit("one two", 0, 0.0).unwrap();
    let mut writer = Writer::new(1, &SharedText::new(97));
    let mut fresh = Client::new(1, false, None);
    fresh.connected(0.0);
    writer.typing = Typing::new(fresh);
    writer.area.set_value("one two");
    writer.area.focus.set(true);
    let selection = Selection {
        start: 1,
        end: 3,
        backward: true,
    };
    writer.area.select(selection);
    // Written after the page was rendered.
    server.edit("new one two", 4, 9_999.0).unwrap();
    let all = server.difference(&SharedText::new(99).state_vector());
    let message = Message::SyncStep2(&all.unwrap()).encode();
    writer.typing.client.receive(&message, 0.0).1.unwrap();
    writer.typing.show(&writer.area, 0.0);
    assert_eq!(writer.area.value(), "new one two");
    let moved = Selection {
        start: 5,
        end: 7,
        backward: true,
    };
    assert_eq!(writer.area.selection(), moved);
}

#[test]
fn a_refused_edit_leaves_the_selection_unchanged() {
    let mut world = World::new(&[1], "one two");
    let writer = &mut world.writers[0];
    writer.area.focus.set(true);
    let two = Selection {
        start: 4,
        end: 7,
        backward: false,
    };
    writer.area.select(two);
    writer.area.put_in(&"x".repeat(7 * 1024 * 1024));
    let change = writer.fire_input(1.0);
    assert!(matches!(change.typed, Some(Err(_))));
    assert_eq!(
        (writer.area.value().as_str(), writer.area.selection()),
        ("one two", two)
    );
}

#[test]
fn undo_puts_the_caret_where_the_letter_was_and_not_where_an_equal_one_is() {
    let mut world = World::new(&[1, 2], "aaaa");
    let writer = &mut world.writers[0];
    writer.area.focus.set(true);
    writer.area.select(Selection::caret(3));
    world.perform(0, Action::Key(true), "a");
    world.perform(0, Action::Undo, "");
    assert_eq!(world.writers[0].area.selection(), Selection::caret(3));
    world.perform(0, Action::Redo, "");
    assert_eq!(world.writers[0].area.selection(), Selection::caret(4));
}

#[test]
fn text_joined_to_the_character_before_the_caret_is_not_separated_from_it() {
    for (before, joined) in [
        ("👨", "\u{200d}👩\u{200d}👧"),
        ("e", "\u{301}"),
        ("ش", "\u{64f}"),
    ] {
        let mut world = World::new(&[1, 2], before);
        for writer in &world.writers {
            writer.area.focus.set(true);
            writer.area.select(Selection::caret(units(before)));
        }
        world.perform(0, Action::Key(true), joined);
        world.perform(1, Action::Receive, "");
        world.perform(1, Action::Frame, "");
        world.perform(1, Action::Key(true), "!");
        world.settle();
        world.check_texts();
        assert_eq!(world.writers[1].area.value(), format!("{before}{joined}!"));
    }
}
