//! Property tests with several tabs of one browser and one server: events are published, streams cut, messages delayed, tabs
//! opened and closed at random. In every case no tab misses an event or gets one twice, and in the end all tabs agree and
//! share one stream.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::position::Epoch;

fn position(offset: u64) -> Position {
    position_of(0, offset)
}

fn position_of(server: u32, offset: u64) -> Position {
    Position::new(Epoch::new(&format!("e{server}")).unwrap(), offset)
}

/// An item that the server sends on a stream.
#[derive(Clone, Debug)]
enum Sent {
    Hello {
        recovered: bool,
    },
    /// The two states that a stream begins with, both at the same position.
    States(Position),
    Event(Position),
    Heartbeat(Position),
    /// The server has ended the stream.
    End,
}

#[derive(Debug)]
struct Browser {
    /// The number of the current server. Each server has its own epoch.
    server: u32,
    /// The last published offset. Offsets are consecutive, so that a missed event is detected.
    head: u64,
    /// The number of events that the server can replay.
    history: u64,
    tabs: Vec<Simulated>,
    /// Indices of the tabs that wait for the lock. The first one holds it.
    lock: VecDeque<usize>,
}

#[derive(Debug)]
struct Simulated {
    tab: Tab,
    open: bool,
    held: Option<Position>,
    /// The position that the page shows: it has every event up to here.
    shown: Option<Position>,
    /// Whether the page also has the other state.
    complete: bool,
    waiting: bool,
    loading_done: bool,
    stream: Option<VecDeque<Sent>>,
    inbox: VecDeque<TabMessage>,
}

impl Browser {
    fn new(history: u64) -> Self {
        Self {
            server: 0,
            head: 0,
            history,
            tabs: vec![],
            lock: VecDeque::new(),
        }
    }

    fn head(&self) -> Position {
        position_of(self.server, self.head)
    }

    /// Opens a tab. Its page was rendered at the head, or it was reached by the client-side router and holds no position.
    fn open_tab(&mut self, rendered: bool) {
        let index = self.tabs.len();
        self.tabs.push(Simulated {
            tab: Tab::new(index.to_string()),
            open: true,
            held: rendered.then(|| self.head()),
            shown: rendered.then(|| self.head()),
            complete: rendered,
            waiting: false,
            loading_done: false,
            stream: None,
            inbox: VecDeque::new(),
        });
        self.lock.push_back(index);
        self.attempt(index);
        if self.lock.len() == 1 {
            let actions = self.tabs[index].tab.granted();
            self.run(index, actions);
        }
    }

    fn close_tab(&mut self, index: usize) {
        let tab = &mut self.tabs[index];
        if !std::mem::replace(&mut tab.open, false) {
            return;
        }
        tab.stream = None;
        let led = self.lock.front() == Some(&index);
        self.lock.retain(|waiting| *waiting != index);
        if let Some(next) = self.lock.front().copied().filter(|_| led) {
            let actions = self.tabs[next].tab.granted();
            self.run(next, actions);
        }
    }

    fn attempt(&mut self, index: usize) {
        let tab = &mut self.tabs[index];
        tab.waiting = false;
        let actions = tab.tab.open(tab.held.as_ref(), Asked::ByItself);
        self.run(index, actions);
    }

    fn lose(&mut self, index: usize) {
        let actions = self.tabs[index].tab.abandon();
        self.tabs[index].waiting = true;
        self.run(index, actions);
    }

    fn publish(&mut self) {
        self.head += 1;
        for index in 0..self.tabs.len() {
            self.send(index, Sent::Event(self.head()));
        }
    }

    /// The server ends, and another one starts with a new history.
    fn restart(&mut self) {
        for index in 0..self.tabs.len() {
            self.send(index, Sent::End);
        }
        self.server += 1;
        self.head = 0;
    }

    /// Queues an item on the tab's stream, unless the stream has ended.
    fn send(&mut self, index: usize, sent: Sent) {
        let stream = self.tabs[index].stream.as_mut();
        if let Some(stream) = stream.filter(|stream| !matches!(stream.back(), Some(Sent::End))) {
            stream.push_back(sent);
        }
    }

    fn run(&mut self, index: usize, actions: Vec<Action>) {
        for action in actions {
            let tab = &mut self.tabs[index];
            match action {
                Action::Send(message) => {
                    for (other, tab) in self.tabs.iter_mut().enumerate() {
                        if other != index && tab.open {
                            tab.inbox.push_back(message.clone());
                        }
                    }
                }
                Action::OpenStream => {
                    let at = |offset| position_of(self.server, offset);
                    let head = at(self.head);
                    let resumed = tab.held.as_ref().filter(|held| **held <= head);
                    let resumed = resumed.map(|held| held.offset);
                    let resumed = resumed.filter(|held| held + self.history >= self.head);
                    let mut sent = VecDeque::from([Sent::Hello {
                        recovered: resumed.is_some(),
                    }]);
                    match resumed {
                        Some(held) => {
                            sent.extend(
                                (held + 1..=self.head).map(|offset| Sent::Event(at(offset))),
                            );
                        }
                        None => sent.push_back(Sent::States(head)),
                    }
                    tab.stream = Some(sent);
                }
                Action::CloseStream => tab.stream = None,
                Action::FinishLoading => tab.loading_done = true,
                Action::ForgetPosition => tab.held = None,
                Action::Greet(_) => {}
                Action::Deliver(frame) => drop(tab.apply(&frame)),
                Action::MoveTo(at) => {
                    if tab.held.as_ref().is_none_or(|held| *held < at) {
                        panic!("a move from {:?} to {at} skips events", tab.held);
                    }
                }
                Action::Lost => self.lose(index),
                Action::RetryNow | Action::TryNow | Action::WaitedFor => {
                    if tab.waiting {
                        self.attempt(index);
                    }
                }
                Action::Restart => {
                    let actions = tab.tab.abandon();
                    self.run(index, actions);
                    self.attempt(index);
                }
            }
        }
    }

    /// Makes a tab process the next item of its stream. Returns whether there was one.
    fn stream_event(&mut self, index: usize) -> bool {
        let tab = &mut self.tabs[index];
        let Some(sent) = tab.stream.as_mut().and_then(VecDeque::pop_front) else {
            return false;
        };
        let sent = match sent {
            Sent::Hello { recovered } => {
                let actions = tab.tab.greeted(hello(recovered));
                self.run(index, actions);
                return true;
            }
            Sent::End => {
                self.lose(index);
                return true;
            }
            Sent::States(at) => vec![("state", at.clone()), ("other state", at)],
            Sent::Event(at) => vec![("event", at)],
            Sent::Heartbeat(at) => vec![("heartbeat", at)],
        };
        for (name, at) in sent {
            let actions = self.tabs[index].event(name, at);
            self.run(index, actions);
        }
        true
    }

    fn receive(&mut self, index: usize) -> bool {
        let tab = &mut self.tabs[index];
        let Some(message) = tab.inbox.pop_front().filter(|_| tab.open) else {
            return false;
        };
        let actions = tab.tab.handle(message, tab.held.as_ref());
        self.run(index, actions);
        true
    }

    fn finish_loading(&mut self, index: usize) -> bool {
        let tab = &mut self.tabs[index];
        if !std::mem::take(&mut tab.loading_done) || !tab.open {
            return false;
        }
        let actions = tab.tab.loaded(tab.held.as_ref());
        self.run(index, actions);
        true
    }

    fn retry(&mut self, index: usize) -> bool {
        let retries = self.tabs[index].open && self.tabs[index].waiting;
        if retries {
            self.attempt(index);
        }
        retries
    }

    /// Processes everything in progress until nothing changes. Retries come last, as timers do.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it never settles: {self:#?}");
            let tabs = 0..self.tabs.len();
            let mut moved = false;
            for index in tabs.clone() {
                moved |=
                    self.stream_event(index) | self.receive(index) | self.finish_loading(index);
            }
            if !moved && !tabs.clone().any(|index| self.retry(index)) {
                return;
            }
        }
    }
}

impl Simulated {
    /// Processes an event of the tab's own stream.
    fn event(&mut self, name: &str, at: Position) -> Vec<Action> {
        let frame = Frame {
            name: name.into(),
            data: String::new(),
            at: Some(at),
            after: self.held.clone(),
        };
        match self.apply(&frame) {
            true => self.tab.received(frame, self.held.as_ref()),
            false => self.tab.received_duplicate(frame),
        }
    }

    /// Applies an event to the page and checks that it follows the page's position. Returns whether it was new.
    fn apply(&mut self, frame: &Frame) -> bool {
        let at = frame.at.clone().unwrap();
        let held = self.held.as_ref().is_some_and(|held| at <= *held);
        match frame.name.as_str() {
            "state" => {
                self.shown = Some(at.clone());
                self.complete = false;
            }
            "other state" => self.complete = true,
            // The page drops an event that it already holds.
            "event" if held => return false,
            "event" => {
                let before = Position {
                    offset: at.offset - 1,
                    ..at.clone()
                };
                assert_eq!(self.shown, Some(before), "a hole in {self:?}");
                self.shown = Some(at.clone());
            }
            _ => assert!(held, "a heartbeat skips events: {frame:?} in {self:?}"),
        }
        if !held {
            self.held = Some(at);
        }
        true
    }
}

fn hello(recovered: bool) -> Hello {
    Hello {
        connection: "c".into(),
        epoch: position(0).epoch,
        offset: 0,
        recovered,
        replayed: 0,
        heartbeat_ms: 15_000,
        connections: 1,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish,
    /// The server repeats the last event to one tab.
    Again(prop::sample::Index),
    Restart,
    Heartbeat(prop::sample::Index),
    StreamEvent(prop::sample::Index),
    Message(prop::sample::Index),
    FinishLoading(prop::sample::Index),
    Retry(prop::sample::Index),
    Cut(prop::sample::Index),
    OpenTab {
        rendered: bool,
    },
    CloseTab(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => Just(Step::Publish),
        1 => index().prop_map(Step::Again),
        1 => Just(Step::Restart),
        1 => index().prop_map(Step::Heartbeat),
        8 => index().prop_map(Step::StreamEvent),
        10 => index().prop_map(Step::Message),
        2 => index().prop_map(Step::FinishLoading),
        3 => index().prop_map(Step::Retry),
        1 => index().prop_map(Step::Cut),
        2 => any::<bool>().prop_map(|rendered| Step::OpenTab { rendered }),
        1 => index().prop_map(Step::CloseTab),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_tab_misses_an_event_and_all_end_with_one_stream(steps in steps(), history in 0..40_u64) {
        let mut browser = Browser::new(history);
        browser.open_tab(true);
        for step in steps {
            let count = browser.tabs.len();
            match step {
                Step::Publish => browser.publish(),
                Step::Again(tab) if browser.head > 0 => {
                    browser.send(tab.index(count), Sent::Event(browser.head()));
                }
                Step::Again(_) => {}
                Step::Restart => browser.restart(),
                Step::Heartbeat(tab) => browser.send(tab.index(count), Sent::Heartbeat(browser.head())),
                Step::StreamEvent(tab) => drop(browser.stream_event(tab.index(count))),
                Step::Message(tab) => drop(browser.receive(tab.index(count))),
                Step::FinishLoading(tab) => drop(browser.finish_loading(tab.index(count))),
                Step::Retry(tab) => drop(browser.retry(tab.index(count))),
                Step::Cut(tab) => {
                    let tab = tab.index(count);
                    if browser.tabs[tab].stream.is_some() {
                        browser.lose(tab);
                    }
                }
                Step::OpenTab { rendered } => browser.open_tab(rendered),
                Step::CloseTab(tab) => browser.close_tab(tab.index(count)),
            }
        }
        browser.open_tab(true);
        browser.settle();
        browser.publish();
        browser.settle();
        for tab in browser.tabs.iter().filter(|tab| tab.open) {
            prop_assert_eq!(&tab.held, &Some(browser.head()));
            prop_assert_eq!(&tab.shown, &tab.held);
            prop_assert!(tab.complete, "a state is missing in {:?}", tab);
            // A tab can lead only if its ring has no hole.
            let pairs = tab.tab.ring.iter().zip(tab.tab.ring.iter().skip(1));
            for (frame, next) in pairs {
                prop_assert_eq!(&next.after, &frame.at, "a ring with a hole in {:?}", tab);
            }
        }
        let streams = browser.tabs.iter().filter(|tab| tab.stream.is_some()).count();
        prop_assert_eq!(streams, 1);
        let leaders = browser.tabs.iter().filter(|tab| tab.open && tab.tab.role() == Role::Leader);
        prop_assert_eq!(leaders.count(), 1);
    }
}

#[test]
fn the_next_leader_continues_from_its_own_position() {
    let mut browser = Browser::new(100);
    (0..10).for_each(|_| browser.open_tab(true));
    (0..5).for_each(|_| browser.publish());
    browser.settle();
    browser.close_tab(0);
    (0..5).for_each(|_| browser.publish());
    browser.settle();
    assert_eq!(browser.tabs[1].tab.role(), Role::Leader);
    let open = browser.tabs.iter().filter(|tab| tab.open);
    assert!(open.clone().all(|tab| tab.held == Some(position(10))));
    assert_eq!(open.filter(|tab| tab.stream.is_some()).count(), 1);
}

#[test]
fn a_tab_ahead_of_its_leader_leads_without_a_hole() {
    let mut browser = Browser::new(100);
    browser.open_tab(false);
    browser.settle();
    (0..2).for_each(|_| browser.publish());
    // Rendered at 2 while the leader is at 0: it receives event 1, which it already holds, and never event 2.
    browser.open_tab(true);
    browser.receive(0);
    browser.receive(1);
    browser.stream_event(0);
    browser.open_tab(false);
    browser.receive(0);
    while browser.receive(1) {}
    // The last tab is at 1 and requests the rest from the tab that is ahead.
    browser.close_tab(0);
    browser.settle();
    assert_eq!(browser.tabs[2].held, Some(position(2)));
}

#[test]
fn an_answer_to_an_earlier_join_is_ignored() {
    let mut leader = Tab::new("a".into());
    leader.granted();
    leader.greeted(hello(true));
    let mut follower = Tab::new("b".into());
    let held = position(2);
    let sent = |actions: Vec<Action>| match actions.into_iter().next() {
        Some(Action::Send(message)) => message,
        other => panic!("nothing sent but {other:?}"),
    };
    let mut answer = |join| sent(leader.handle(join, Some(&held)));
    let first = answer(sent(follower.open(Some(&held), Asked::ByItself)));
    // The follower clears its position before the answer arrives.
    follower.abandon();
    let second = answer(sent(follower.open(None, Asked::ByItself)));
    assert_eq!(follower.handle(first, None), []);
    assert_eq!(
        follower.handle(second, None),
        [Action::ForgetPosition, Action::OpenStream]
    );
}

#[test]
fn a_follower_without_answers_opens_a_stream_of_its_own() {
    let mut tab = Tab::new("b".into());
    for _ in 0..UNANSWERED {
        assert!(matches!(
            tab.open(None, Asked::ByItself)[..],
            [Action::Send(TabMessage::Join { .. })]
        ));
        tab.abandon();
    }
    assert_eq!(tab.open(None, Asked::ByItself), [Action::OpenStream]);
    assert_eq!(tab.role(), Role::Alone);
    // The lock is granted later: the tab leads.
    assert_eq!(tab.granted(), [Action::Restart]);
    assert_eq!(tab.role(), Role::Leader);
}

/// A tab that got no answers and is opening a stream of its own.
fn alone() -> Tab {
    let mut tab = Tab::new("b".into());
    for _ in 0..UNANSWERED {
        tab.open(None, Asked::ByItself);
        tab.abandon();
    }
    tab.open(None, Asked::ByItself);
    tab
}

#[test]
fn a_tab_on_its_own_follows_again_when_the_leader_sends() {
    let mut tab = alone();
    tab.greeted(hello(true));
    let held = position(5);
    let back = tab.handle(TabMessage::Up, Some(&held));
    let join = TabMessage::Join {
        tab: "b".into(),
        question: UNANSWERED + 1,
        after: Some(held),
        asked: Asked::ByItself,
    };
    assert_eq!(back, [Action::CloseStream, Action::Send(join)]);
    assert_eq!(tab.role(), Role::Follower);
}

#[test]
fn a_waiting_tab_on_its_own_follows_with_its_next_attempt() {
    let mut tab = alone();
    tab.abandon();
    assert_eq!(tab.handle(TabMessage::Up, None), [Action::TryNow]);
    assert!(matches!(
        tab.open(None, Asked::ByItself)[..],
        [Action::Send(TabMessage::Join {
            asked: Asked::ByItself,
            ..
        })]
    ));
    assert_eq!(tab.role(), Role::Follower);
}

#[test]
fn a_tab_that_hears_the_leader_while_it_opens_its_own_stream_follows_after_the_state() {
    let mut tab = alone();
    // The stream is not open yet.
    assert_eq!(tab.handle(TabMessage::Up, None), [Action::TryNow]);
    tab.greeted(hello(false));
    let held = position(5);
    let state = Frame {
        name: "state".into(),
        data: "{}".into(),
        at: Some(held.clone()),
        after: None,
    };
    let finish = tab.received(state, Some(&held));
    assert_eq!(finish, [Action::FinishLoading]);
    let loaded = tab.loaded(Some(&held));
    assert!(matches!(
        loaded[..],
        [
            Action::CloseStream,
            Action::Send(TabMessage::Join { after: Some(_), .. })
        ]
    ));
    assert_eq!(tab.role(), Role::Follower);
}

#[test]
fn a_tab_that_was_about_to_open_its_own_stream_asks_a_leader_that_has_one_again() {
    let mut tab = Tab::new("b".into());
    for _ in 0..UNANSWERED {
        tab.open(None, Asked::ByItself);
        tab.abandon();
    }
    assert_eq!(tab.handle(TabMessage::Up, None), [Action::TryNow]);
    assert!(matches!(
        tab.open(None, Asked::ByItself)[..],
        [Action::Send(TabMessage::Join { .. })]
    ));
}

#[test]
fn a_leader_forwards_events_as_soon_as_another_tab_has_joined() {
    let mut leader = Tab::new("a".into());
    leader.granted();
    leader.greeted(hello(true));
    let frame = |offset: u64| Frame {
        name: "event".into(),
        data: "{}".into(),
        at: Some(position(offset)),
        after: Some(position(offset - 1)),
    };
    assert_eq!(leader.received(frame(5), Some(&position(5))), []);
    assert_eq!(leader.received_duplicate(frame(5)), []);
    let join = TabMessage::Join {
        tab: "b".into(),
        question: 1,
        after: Some(position(4)),
        asked: Asked::ByOpening,
    };
    let answer = leader.handle(join, Some(&position(5)));
    let [Action::Send(TabMessage::Joined { frames, .. })] = &answer[..] else {
        panic!("{answer:?}");
    };
    assert_eq!(frames[..], [frame(5)], "what it did not forward is held");
    let forwarded = Action::Send(TabMessage::Event { frame: frame(6) });
    let sent = leader.received(frame(6), Some(&position(6)));
    assert_eq!(sent, std::slice::from_ref(&forwarded));
    assert_eq!(leader.received_duplicate(frame(6)), [forwarded]);
}

#[test]
fn a_leader_without_a_stream_retries_as_urgently_as_it_is_asked() {
    let mut leader = Tab::new("a".into());
    leader.granted();
    let mut join = |asked| {
        let join = TabMessage::Join {
            tab: "b".into(),
            question: 1,
            after: None,
            asked,
        };
        leader.handle(join, None)
    };
    let down = || Action::Send(TabMessage::Down);
    assert_eq!(join(Asked::ByItself), [down(), Action::WaitedFor]);
    // It tries at once too, but not before the time that the server set.
    assert_eq!(join(Asked::ByOpening), [down(), Action::TryNow]);
    assert_eq!(join(Asked::ByPerson), [down(), Action::RetryNow]);
}
