//! One stream for all tabs of a browser: what a tab does, and what tabs tell each other. Pure, like `status.rs`.
//!
//! Browsers open six HTTP/1.1 connections to a host for all tabs together; with a stream a tab, the seventh tab hangs. So
//! one tab, the *leader*, holds the stream and tells the others, the *followers*, every event as it came. Who leads is
//! whoever holds a lock of the browser, which it gives to the next tab when the leader goes, however it goes.
//!
//! No event is missed and none comes twice: each one carries the position before it. A follower that does not hold that
//! position has missed something, and *joins* again: it says what it holds, and the leader answers with what follows from
//! its ring. Every tab keeps such a ring, so that the next leader can answer at once.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{message::Hello, position::Position};

/// Events that a tab keeps for others: as many as a server replays.
pub const RING: usize = 1_000;
/// After so many questions in a row that nobody answered, a tab opens a stream of its own: the browser may have frozen the
/// leader, lock and all.
const UNANSWERED: u32 = 2;

/// What a tab is to the other tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It keeps a stream of its own: it was told to, or the browser has no locks here.
    Alone,
    /// It holds the stream for all.
    Leader,
    /// It hears what the leader tells.
    Follower,
}

/// An event as it came from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub name: String,
    pub data: String,
    pub at: Option<Position>,
    /// The position before it; `None` for a state that does not follow from anything.
    pub after: Option<Position>,
}

/// Why a tab asks for the stream: the leader hurries accordingly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Time has passed, or the leader said something.
    #[default]
    ByItself,
    /// The page was opened: the leader tries at once, unless the server wants no attempt yet.
    ByOpening,
    /// The person pressed "retry now".
    ByPerson,
}

/// What tabs tell each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Note {
    /// From a follower: I hold this.
    Join {
        tab: String,
        /// Counts up in a tab. The answer carries it, too.
        question: u32,
        after: Option<Position>,
        asked: Asked,
    },
    /// From the leader to one tab: this is what follows, and then you hold `at`.
    Joined {
        tab: String,
        question: u32,
        hello: Hello,
        frames: Vec<Frame>,
        at: Option<Position>,
    },
    /// From the leader to one tab: what you hold is too old for me. Load the state.
    Reload { tab: String, question: u32 },
    /// From the leader: an event.
    Event { frame: Frame },
    /// From the leader: my stream stands (again); join.
    Up,
    /// From the leader: my stream is gone. `Up` follows.
    Down,
}

/// What the tab does, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Tell(Note),
    /// Open an event stream of this tab's own, at the position it holds.
    OpenStream,
    CloseStream,
    /// Call [`Tab::loaded`] as soon as what came with this state is taken, too.
    FinishLoading,
    /// Forget the position, so that the stream begins with a state.
    ForgetPosition,
    /// Give a greeting to the page; the connection stands.
    Greet(Hello),
    /// Take an event as if it came from the server.
    Take(Frame),
    /// Everything up to here is held.
    MoveTo(Position),
    /// Tell the state machine that the connection broke.
    Lost,
    /// Tell the state machine to try now, if it waits: somebody asked for it.
    RetryNow,
    /// Tell the state machine to try now, if it waits and the server allows it: the leader's stream can be had, or a page
    /// was opened.
    TryNow,
    /// Tell the state machine that another tab waits.
    WaitedFor,
    /// Tell the state machine to begin anew.
    Restart,
}

/// Where a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not wanted, or waiting for its next attempt.
    Idle,
    /// It said what it holds and waits for the answer.
    Diagnosing,
    /// It has a stream of its own for as long as it takes to get a state.
    Loading,
    /// It hears the leader.
    Hearing,
}

/// One tab.
#[derive(Clone, Debug)]
pub struct Tab {
    /// Names it among the tabs.
    id: String,
    role: Role,
    stage: Stage,
    /// Of a tab with a stream: its greeting, while it stands.
    hello: Option<Hello>,
    /// The next event is a state that follows from nothing.
    anew: bool,
    ring: VecDeque<Frame>,
    unanswered: u32,
    /// The number of its last question. An answer to an earlier one follows from a position that may be forgotten since.
    question: u32,
}

impl Tab {
    pub fn new(id: String) -> Self {
        Self {
            id,
            role: Role::Follower,
            stage: Stage::Idle,
            hello: None,
            anew: false,
            ring: VecDeque::new(),
            unanswered: 0,
            question: 0,
        }
    }

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

    /// The state machine lets go of a connection.
    pub fn abandon(&mut self) -> Vec<Action> {
        let had_stream = self.role != Role::Follower || self.stage == Stage::Loading;
        self.stage = Stage::Idle;
        let stood = self.hello.take().is_some();
        let mut actions = vec![];
        if had_stream {
            actions.push(Action::CloseStream);
        }
        if stood && self.role == Role::Leader {
            actions.push(Action::Tell(Note::Down));
        }
        actions
    }

    /// The lock is this tab's: it leads from here.
    pub fn granted(&mut self) -> Vec<Action> {
        self.role = Role::Leader;
        self.unanswered = 0;
        vec![Action::Restart]
    }

    /// The tab does not want the stream any more and has given the lock back.
    pub fn resign(&mut self) {
        *self = Self {
            ring: std::mem::take(&mut self.ring),
            question: self.question,
            ..Self::new(std::mem::take(&mut self.id))
        };
    }

    /// This tab's own stream was greeted.
    pub fn greeted(&mut self, hello: Hello) -> Vec<Action> {
        self.anew = !hello.recovered;
        self.hello = Some(hello);
        match self.role {
            // Whoever hears it asks for what is missing. After a state, once it is there.
            Role::Leader if !self.anew => vec![Action::Tell(Note::Up)],
            _ => vec![],
        }
    }

    /// This tab's own stream brought an event, which the page has; `held` is the position after it.
    pub fn took(&mut self, mut frame: Frame, held: Option<&Position>) -> Vec<Action> {
        let anew = std::mem::take(&mut self.anew);
        if anew {
            frame.after = None;
            self.ring.clear();
        }
        self.keep(&frame);
        match self.role {
            Role::Follower if held.is_some() => vec![Action::FinishLoading],
            Role::Leader if anew => vec![Action::Tell(Note::Up)],
            Role::Leader => vec![Action::Tell(Note::Event { frame })],
            _ => vec![],
        }
    }

    /// This tab's own stream brought an event that the page held already. It is told on, so that the others see what the
    /// server does, but not kept: nobody needs it.
    pub fn took_again(&self, frame: Frame) -> Vec<Action> {
        match self.role {
            Role::Leader if !self.anew => vec![Action::Tell(Note::Event { frame })],
            _ => vec![],
        }
    }

    /// The state is there: from here on the leader tells the rest.
    pub fn loaded(&mut self, held: Option<&Position>) -> Vec<Action> {
        if self.role != Role::Follower || self.stage != Stage::Loading {
            return vec![];
        }
        self.hello = None;
        let mut actions = vec![Action::CloseStream];
        actions.extend(self.ask(held, Asked::ByItself));
        actions
    }

    /// Another tab said something; `held` is the position this tab holds.
    pub fn hear(&mut self, note: Note, held: Option<&Position>) -> Vec<Action> {
        match (note, self.role) {
            (
                Note::Join {
                    tab,
                    question,
                    after,
                    asked,
                },
                Role::Leader,
            ) => self.answer(tab, question, after.as_ref(), asked, held),
            (
                Note::Joined {
                    tab,
                    question,
                    hello,
                    frames,
                    at,
                },
                Role::Follower,
            ) if self.awaits(&tab, question) => {
                self.unanswered = 0;
                self.stage = Stage::Hearing;
                // From a state on: what was kept before it does not lead there.
                if frames.first().is_some_and(|frame| frame.after.is_none()) {
                    self.ring.clear();
                }
                let mut held = held;
                for frame in &frames {
                    self.keep_told(frame, held);
                    held = frame.at.as_ref().or(held);
                }
                let mut actions = vec![Action::Greet(hello)];
                actions.extend(frames.into_iter().map(Action::Take));
                actions.extend(at.map(Action::MoveTo));
                actions
            }
            (Note::Reload { tab, question }, Role::Follower) if self.awaits(&tab, question) => {
                self.unanswered = 0;
                self.stage = Stage::Loading;
                vec![Action::ForgetPosition, Action::OpenStream]
            }
            (Note::Event { frame }, Role::Follower) if self.stage == Stage::Hearing => {
                if !follows(&frame, held) {
                    return self.ask(held, Asked::ByItself);
                }
                self.keep_told(&frame, held);
                vec![Action::Take(frame)]
            }
            (Note::Up, Role::Follower) => match self.stage {
                Stage::Idle => vec![Action::TryNow],
                Stage::Diagnosing | Stage::Hearing => self.ask(held, Asked::ByItself),
                Stage::Loading => vec![],
            },
            // The leader that did not answer lives after all.
            (Note::Up | Note::Event { .. }, Role::Alone) => {
                self.unanswered = 0;
                if self.hello.take().is_none() {
                    // It follows with its next attempt; one that is under way stands first.
                    return vec![Action::TryNow];
                }
                self.role = Role::Follower;
                let mut actions = vec![Action::CloseStream];
                actions.extend(self.ask(held, Asked::ByItself));
                actions
            }
            (Note::Down, Role::Follower) => {
                self.unanswered = 0;
                match self.stage {
                    Stage::Diagnosing | Stage::Hearing => vec![Action::Lost],
                    Stage::Idle | Stage::Loading => vec![],
                }
            }
            _ => vec![],
        }
    }

    fn awaits(&self, tab: &str, question: u32) -> bool {
        self.stage == Stage::Diagnosing && tab == self.id && question == self.question
    }

    fn ask(&mut self, held: Option<&Position>, asked: Asked) -> Vec<Action> {
        self.stage = Stage::Diagnosing;
        self.question = self.question.wrapping_add(1);
        vec![Action::Tell(Note::Join {
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
        let Some(hello) = self.hello.clone().filter(|_| !self.anew) else {
            // Backoff, and the delay that the server asked for, hold for all tabs together: they are the leader's.
            let hurry = match asked {
                Asked::ByPerson => Action::RetryNow,
                Asked::ByOpening => Action::TryNow,
                Asked::ByItself => Action::WaitedFor,
            };
            return vec![Action::Tell(Note::Down), hurry];
        };
        let from_state = self.ring.front().is_some_and(|first| first.after.is_none());
        let oldest = self.ring.front().map_or(held, |first| first.after.as_ref());
        let reaches = match (oldest, after) {
            (Some(oldest), Some(after)) => oldest <= after,
            // From a state on every position of its history is reached; a later one of the same history, too.
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
            (false, false) => return vec![Action::Tell(Note::Reload { tab, question })],
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
        vec![Action::Tell(Note::Joined {
            tab,
            question,
            hello,
            frames,
            at,
        })]
    }

    /// Keeps what the leader told unless the page held it: a leader whose stream is behind tells it all the same, and what
    /// follows up to the position held this tab never hears. The ring would have a hole there.
    fn keep_told(&mut self, frame: &Frame, held: Option<&Position>) {
        let news = frame.after.is_none() || frame.at.as_ref() > held;
        // Of two states that a stream begins with, the second has the position of the first.
        let beside = frame.at == frame.after && frame.at.as_ref() == held;
        // The server may send its last event once more.
        let again = |last: &Frame| (&last.name, &last.at) == (&frame.name, &frame.at);
        if (news || beside) && !self.ring.back().is_some_and(again) {
            self.keep(frame);
        }
    }

    /// Heartbeats are not kept: they say nothing that a later one does not say.
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

/// Whether a tab that holds `held` misses nothing when it takes this event.
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
