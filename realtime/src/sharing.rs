//! Decides how the tabs of a browser share one event stream, and defines the messages between them. Pure, like `status.rs`.
//!
//! A browser opens at most six HTTP/1.1 connections to a host, for all tabs together; with one stream per tab, the seventh
//! tab would hang. So one tab, the *leader*, holds the stream and forwards every event unchanged to the other tabs, the
//! *followers*. The leader is the tab that holds a browser lock. When the leader ends in any way, the browser grants the
//! lock to the next tab.
//!
//! No event is missed and none is delivered twice, because each one carries the position before it. A follower that does not
//! hold that position has missed an event and *joins* again: it sends its position, and the leader answers with the events
//! after it from its ring. Every tab keeps such a ring, so that the next leader can answer at once.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::{message::Hello, position::Position};

/// The number of events that a tab keeps for others: as many as a server replays.
pub const RING: usize = 1_000;
/// After this many unanswered join requests in a row, a tab opens a stream of its own, because the browser may have frozen
/// the leader while it holds the lock.
const UNANSWERED: u32 = 2;

/// The role of a tab among the tabs of the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has a stream of its own: sharing is off, the browser offers no locks here, or no leader answers.
    Alone,
    /// It holds the stream for all tabs.
    Leader,
    /// It receives the events from the leader.
    Follower,
}

/// An event as the server sent it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The type of the event (WHATWG HTML, section 9.2.6).
    pub name: String,
    /// The data of the event, undecoded.
    pub data: String,
    /// The position in the event's id; `None` if it has no id or the id is not a position.
    pub at: Option<Position>,
    /// The position before it; `None` for a state, which does not depend on earlier events.
    pub after: Option<Position>,
}

/// Why a tab requests the stream. The urgency of the leader's reconnect depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A timer or a message from the leader.
    #[default]
    ByItself,
    /// The page was opened: the leader reconnects at once, unless the server does not allow an attempt yet.
    ByOpening,
    /// The user pressed "retry now".
    ByPerson,
}

crate::tagged! {
    /// A message between tabs.
    #[derive(Clone, Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    pub enum TabMessage {
        /// From a follower: requests the events after `after`, the position that it holds.
        Join {
            /// The id of the tab that asks, unique among the tabs.
            tab: String,
            /// The tab's counter of its requests. The answer repeats it.
            question: u32,
            /// The position that the tab holds; `None` if it holds none and needs a state.
            after: Option<Position>,
            /// Why the tab asks. It counts only while the leader's stream is not open.
            asked: Asked,
        },
        /// From the leader to one tab: the events after the tab's position. After them the tab holds `at`.
        Joined {
            /// The id of the tab that is answered; the others ignore the message.
            tab: String,
            /// The number of the request that is answered; the tab ignores an answer to an earlier one.
            question: u32,
            /// The greeting of the leader's stream, adjusted to the position at which `frames` begin.
            hello: Hello,
            /// The events after the tab's position, oldest first. If its position is not in the ring, they begin with a
            /// state.
            frames: Vec<Frame>,
            /// The position of the leader; `None` if it holds none.
            at: Option<Position>,
        },
        /// From the leader to one tab: the tab's position is older than the leader's ring. The tab has to load the state.
        Reload {
            /// The id of the tab that is answered; the others ignore the message.
            tab: String,
            /// The number of the request that is answered; the tab ignores an answer to an earlier one.
            question: u32,
        },
        /// From the leader: an event.
        Event {
            /// The event. A follower that does not hold the position before it joins again.
            frame: Frame,
        },
        /// From the leader: its stream is open (again). Followers join.
        Up,
        /// From the leader: its stream is lost. `Up` follows once it is open again.
        Down,
    }
}

/// What the transport executes for the tab, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a message to the other tabs.
    Send(TabMessage),
    /// Open an event stream of this tab's own, at the position it holds.
    OpenStream,
    /// Close the event stream of this tab's own; the position stays.
    CloseStream,
    /// Call [`Tab::loaded`] as soon as the events that came with this state have been received too.
    FinishLoading,
    /// Clear the position, so that the stream begins with a state.
    ForgetPosition,
    /// Deliver a greeting to the page: the connection is open.
    Greet(Hello),
    /// Deliver an event as if it came from the server.
    Deliver(Frame),
    /// Set the position: the tab holds everything up to it.
    MoveTo(Position),
    /// Report to the state machine that the connection broke.
    Lost,
    /// If the state machine waits, try now, because the user asked for it.
    RetryNow,
    /// If the state machine waits and the server allows an attempt, try now, because the leader's stream is available or a
    /// page was opened.
    TryNow,
    /// Report to the state machine that another tab needs the connection.
    WaitedFor,
    /// Make the state machine start afresh.
    Restart,
}

/// The progress of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No connection is wanted, or the tab waits for its next attempt.
    Idle,
    /// It has sent a join request and waits for the answer.
    Joining,
    /// It has a stream of its own until it has received a state.
    Loading,
    /// It receives the events from the leader.
    Following,
}

/// One tab.
#[derive(Clone, Debug)]
pub struct Tab {
    /// Identifies it among the tabs.
    id: String,
    role: Role,
    stage: Stage,
    /// The greeting of the tab's own stream, while that is open.
    hello: Option<Hello>,
    /// The next event is a state, which does not depend on earlier events.
    expects_state: bool,
    ring: VecDeque<Frame>,
    unanswered: u32,
    /// The number of its last join request. An answer to an earlier one starts from a position that the tab may no longer
    /// hold, so it is ignored.
    question: u32,
    /// Another tab has joined since this one leads. Until then there is nobody to forward events to, and each post costs
    /// the page as much as the event itself.
    is_followed: bool,
}

impl Tab {
    /// A tab that wants no connection yet. `id` must be unique among the tabs of the browser.
    pub fn new(id: String) -> Self {
        Self {
            id,
            role: Role::Follower,
            stage: Stage::Idle,
            hello: None,
            expects_state: false,
            ring: VecDeque::new(),
            unanswered: 0,
            question: 0,
            is_followed: false,
        }
    }

    /// The role that the tab has after the last reaction; a new tab is a follower.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The state machine opens a connection.
    pub fn open(&mut self, held: Option<&Position>, asked: Asked) -> Vec<Action> {
        if self.role == Role::Leader {
            return vec![Action::OpenStream];
        }
        if self.unanswered >= UNANSWERED {
            self.role = Role::Alone;
            return vec![Action::OpenStream];
        }
        self.role = Role::Follower;
        self.unanswered += 1;
        self.ask(held, asked)
    }

    /// The state machine abandons the connection.
    pub fn abandon(&mut self) -> Vec<Action> {
        let had_stream = self.role != Role::Follower || self.stage == Stage::Loading;
        self.stage = Stage::Idle;
        let stood = self.hello.take().is_some();
        let mut actions = vec![];
        if had_stream {
            actions.push(Action::CloseStream);
        }
        if stood && self.role == Role::Leader {
            actions.push(Action::Send(TabMessage::Down));
        }
        actions
    }

    /// The tab has been granted the lock and becomes the leader.
    pub fn granted(&mut self) -> Vec<Action> {
        self.role = Role::Leader;
        self.unanswered = 0;
        self.is_followed = false;
        vec![Action::Restart]
    }

    /// The tab no longer wants the stream and has released the lock.
    pub fn resign(&mut self) {
        *self = Self {
            ring: std::mem::take(&mut self.ring),
            question: self.question,
            ..Self::new(std::mem::take(&mut self.id))
        };
    }

    /// The tab's own stream received its greeting.
    pub fn greeted(&mut self, hello: Hello) -> Vec<Action> {
        self.expects_state = !hello.recovered;
        self.hello = Some(hello);
        match self.role {
            // Followers then request what they miss. If a state follows, `Up` is sent after it.
            Role::Leader if !self.expects_state => vec![Action::Send(TabMessage::Up)],
            _ => vec![],
        }
    }

    /// The tab's own stream received an event, which the page has processed; `held` is the position after it.
    pub fn received(&mut self, mut frame: Frame, held: Option<&Position>) -> Vec<Action> {
        let expects_state = std::mem::take(&mut self.expects_state);
        if expects_state {
            frame.after = None;
            self.ring.clear();
        }
        self.keep(&frame);
        match self.role {
            Role::Follower if held.is_some() => vec![Action::FinishLoading],
            Role::Leader if expects_state => vec![Action::Send(TabMessage::Up)],
            Role::Leader => self.forward(frame),
            // The leader was heard while this stream was being opened. A leader sends no events until a tab has joined, so
            // the tab does not wait for one.
            Role::Alone if self.unanswered == 0 => {
                self.role = Role::Follower;
                self.stage = Stage::Loading;
                vec![Action::FinishLoading]
            }
            _ => vec![],
        }
    }

    /// The tab's own stream received an event that the page already held. It is forwarded, so that the other tabs see what
    /// the server does, but not stored, because no tab needs it.
    pub fn received_duplicate(&self, frame: Frame) -> Vec<Action> {
        match self.role {
            Role::Leader if !self.expects_state => self.forward(frame),
            _ => vec![],
        }
    }

    /// The state has been received. All later events come from the leader.
    pub fn loaded(&mut self, held: Option<&Position>) -> Vec<Action> {
        if self.role != Role::Follower || self.stage != Stage::Loading {
            return vec![];
        }
        self.hello = None;
        let mut actions = vec![Action::CloseStream];
        actions.extend(self.ask(held, Asked::ByItself));
        actions
    }

    /// A message from another tab was received; `held` is the position that this tab holds.
    pub fn handle(&mut self, message: TabMessage, held: Option<&Position>) -> Vec<Action> {
        match (message, self.role) {
            (
                TabMessage::Join {
                    tab,
                    question,
                    after,
                    asked,
                },
                Role::Leader,
            ) => {
                self.is_followed = true;
                self.answer(tab, question, after.as_ref(), asked, held)
            }
            (
                TabMessage::Joined {
                    tab,
                    question,
                    hello,
                    frames,
                    at,
                },
                Role::Follower,
            ) if self.awaits(&tab, question) => {
                self.unanswered = 0;
                self.stage = Stage::Following;
                // The frames begin with a state: stored events from before it do not lead up to it.
                if frames.first().is_some_and(|frame| frame.after.is_none()) {
                    self.ring.clear();
                }
                let mut held = held;
                for frame in &frames {
                    self.keep_received(frame, held);
                    held = frame.at.as_ref().or(held);
                }
                let mut actions = vec![Action::Greet(hello)];
                actions.extend(frames.into_iter().map(Action::Deliver));
                actions.extend(at.map(Action::MoveTo));
                actions
            }
            (TabMessage::Reload { tab, question }, Role::Follower)
                if self.awaits(&tab, question) =>
            {
                self.unanswered = 0;
                self.stage = Stage::Loading;
                vec![Action::ForgetPosition, Action::OpenStream]
            }
            (TabMessage::Event { frame }, Role::Follower) if self.stage == Stage::Following => {
                if !follows(&frame, held) {
                    return self.ask(held, Asked::ByItself);
                }
                self.keep_received(&frame, held);
                vec![Action::Deliver(frame)]
            }
            (TabMessage::Up, Role::Follower) => {
                // The leader is alive, so the next attempt asks it. A tab that opened a stream of its own instead would
                // keep it: a leader to which nobody has joined sends no events that would tell the tab.
                self.unanswered = 0;
                match self.stage {
                    Stage::Idle => vec![Action::TryNow],
                    Stage::Joining | Stage::Following => self.ask(held, Asked::ByItself),
                    Stage::Loading => vec![],
                }
            }
            // The leader that did not answer is alive after all.
            (TabMessage::Up | TabMessage::Event { .. }, Role::Alone) => {
                self.unanswered = 0;
                if self.hello.take().is_none() {
                    // It follows with its next attempt. An attempt in progress is completed first: `received` ends it.
                    return vec![Action::TryNow];
                }
                self.role = Role::Follower;
                let mut actions = vec![Action::CloseStream];
                actions.extend(self.ask(held, Asked::ByItself));
                actions
            }
            (TabMessage::Down, Role::Follower) => {
                self.unanswered = 0;
                match self.stage {
                    Stage::Joining | Stage::Following => vec![Action::Lost],
                    Stage::Idle | Stage::Loading => vec![],
                }
            }
            _ => vec![],
        }
    }

    /// Forwards an event to the other tabs, if there are any.
    fn forward(&self, frame: Frame) -> Vec<Action> {
        match self.is_followed {
            true => vec![Action::Send(TabMessage::Event { frame })],
            false => vec![],
        }
    }

    fn awaits(&self, tab: &str, question: u32) -> bool {
        self.stage == Stage::Joining && tab == self.id && question == self.question
    }

    fn ask(&mut self, held: Option<&Position>, asked: Asked) -> Vec<Action> {
        self.stage = Stage::Joining;
        self.question = self.question.wrapping_add(1);
        vec![Action::Send(TabMessage::Join {
            tab: self.id.clone(),
            question: self.question,
            after: held.cloned(),
            asked,
        })]
    }

    fn answer(
        &self,
        tab: String,
        question: u32,
        after: Option<&Position>,
        asked: Asked,
        held: Option<&Position>,
    ) -> Vec<Action> {
        let Some(hello) = self.hello.clone().filter(|_| !self.expects_state) else {
            // The leader's backoff, and the delay that the server asked for, apply to all tabs together.
            let urgency = match asked {
                Asked::ByPerson => Action::RetryNow,
                Asked::ByOpening => Action::TryNow,
                Asked::ByItself => Action::WaitedFor,
            };
            return vec![Action::Send(TabMessage::Down), urgency];
        };
        let from_state = self.ring.front().is_some_and(|first| first.after.is_none());
        let oldest = self.ring.front().map_or(held, |first| first.after.as_ref());
        let reaches = match (oldest, after) {
            (Some(oldest), Some(after)) => oldest <= after,
            // A ring that begins with a state covers every later position of the same history.
            (None, Some(after)) => {
                self.ring.front().and_then(|first| first.at.as_ref()) <= Some(after)
                    && held.is_some_and(|held| held.epoch == after.epoch)
            }
            _ => false,
        };
        let frames: Vec<Frame> = match (reaches, from_state) {
            (true, _) => {
                let newer = |frame: &&Frame| frame.at.as_ref() > after;
                self.ring.iter().filter(newer).cloned().collect()
            }
            (false, true) => self.ring.iter().cloned().collect(),
            (false, false) => return vec![Action::Send(TabMessage::Reload { tab, question })],
        };
        let from = if reaches {
            after
        } else {
            self.ring.front().and_then(|first| first.at.as_ref())
        };
        let hello = Hello {
            epoch: from.map_or(hello.epoch.clone(), |from| from.epoch.clone()),
            offset: from.map_or(hello.offset, |from| from.offset),
            recovered: reaches,
            replayed: if reaches { frames.len() } else { 0 },
            ..hello
        };
        let at = held.cloned();
        vec![Action::Send(TabMessage::Joined {
            tab,
            question,
            hello,
            frames,
            at,
        })]
    }

    /// Stores an event from the leader, unless the page already held it. A leader whose stream is behind this tab forwards
    /// such events too, but this tab never receives the events between them and its position: the ring would have a hole.
    fn keep_received(&mut self, frame: &Frame, held: Option<&Position>) {
        let news = frame.after.is_none() || frame.at.as_ref() > held;
        // If a stream begins with two states, both have the same position.
        let beside = frame.at == frame.after && frame.at.as_ref() == held;
        // The server may repeat its last event.
        let is_repeated = |last: &Frame| (&last.name, &last.at) == (&frame.name, &frame.at);
        if (news || beside) && !self.ring.back().is_some_and(is_repeated) {
            self.keep(frame);
        }
    }

    /// Stores an event in the ring, except heartbeats: a later heartbeat carries all that an earlier one does.
    fn keep(&mut self, frame: &Frame) {
        if frame.name == "heartbeat" {
            return;
        }
        self.ring.push_back(frame.clone());
        if self.ring.len() > RING {
            self.ring.pop_front();
        }
    }
}

/// Whether a tab that holds `held` misses no event if it accepts this one.
fn follows(frame: &Frame, held: Option<&Position>) -> bool {
    match (&frame.after, held) {
        (None, _) => true,
        (Some(after), Some(held)) => after <= held,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
