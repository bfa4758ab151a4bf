use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::{runtime::Builder, time::advance};
use uuid::Uuid;

use super::{super::tests::take, *};
use crate::{
    channel::{ChannelContract, Entry},
    client::{
        channel::{Applied, ChannelList},
        outbox::Outbox,
    },
    contract::{Refusal, SocketContract},
    position::Position,
};

type Event = ChannelEvent<Said>;

/// Who said which number.
type Said = (String, u64);

#[derive(Clone, PartialEq)]
struct Wall;

impl SocketContract for Wall {
    const NAME: &'static str = "wall";
    const ROUTE: &'static str = "/api/wall";
    const SUBPROTOCOL: &'static str = "wall.v1";
    type Welcome = ();
    type Command = ChannelCommand<u64>;
    type Event = Event;
}

type Handler = MemorySocket<Wall, Box<dyn FnMut(u64) -> Result<Said, SocketError> + Send>>;

fn connect(channels: &MemoryChannels<Wall>, person: &str, bytes: usize) -> (Handler, OutQueue) {
    let (queue, name) = (OutQueue::new(bytes), person.to_owned());
    let compose = move |number| Ok((name.clone(), number));
    let handler = channels.handler(
        queue.clone(),
        person.to_owned(),
        Box::new(compose) as Box<_>,
    );
    (handler, queue)
}

fn events(queue: &OutQueue) -> Vec<Event> {
    let (events, _) = take(queue);
    let decode = |event| serde_json::from_value(event).unwrap();
    events.into_iter().map(decode).collect()
}

fn people(queue: &OutQueue) -> Vec<String> {
    let word = |event| match event {
        ChannelEvent::Joined { members, .. } => format!("joined {}", members.join(" ")),
        ChannelEvent::MemberJoined { member, .. } => format!("+{member}"),
        ChannelEvent::MemberLeft { member, .. } => format!("-{member}"),
        event => panic!("{event:?}"),
    };
    events(queue).into_iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn a_person_with_several_sockets_joins_and_leaves_once() {
    let channels = MemoryChannels::new(10);
    let (mut bob, queue) = connect(&channels, "Bob", 10_000);
    bob.command(Wall::join("a", None)).await.unwrap();
    let (mut first, _first) = connect(&channels, "Ada", 10_000);
    first.command(Wall::join("a", None)).await.unwrap();
    first.command(Wall::join("a", None)).await.unwrap();
    let (mut second, seen) = connect(&channels, "Ada", 10_000);
    second.command(Wall::join("a", None)).await.unwrap();
    assert_eq!(people(&queue), ["joined Bob", "+Ada"]);
    assert_eq!(people(&seen), ["joined Ada Bob"]);
    drop(first);
    second.command(Wall::leave("a")).await.unwrap();
    advance(LEAVE_AFTER / 2).await;
    // A reload.
    let (mut third, _third) = connect(&channels, "Ada", 10_000);
    third.command(Wall::join("a", None)).await.unwrap();
    advance(2 * LEAVE_AFTER).await;
    tokio::task::yield_now().await;
    assert!(people(&queue).is_empty());
    drop(third);
    tokio::time::sleep(LEAVE_AFTER + Duration::from_millis(10)).await;
    assert_eq!(people(&queue), ["-Ada"]);
}

#[tokio::test]
async fn names_and_their_number_are_bounded() {
    let mut channels = MemoryChannels::<Wall>::new(10).names(|name| name != "no");
    channels.most = 2;
    let (mut socket, queue) = connect(&channels, "Ada", 10_000);
    for name in ["", "no", &"x".repeat(65)] {
        let refused = socket.command(Wall::join(name, None)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidField);
    }
    for name in ["a", "b"] {
        socket.command(Wall::join(name, None)).await.unwrap();
    }
    let refused = socket.command(Wall::join("c", None)).await.unwrap_err();
    assert_eq!(refused.code, TOO_MANY_CHANNELS);
    assert!(socket.command(Wall::leave("c")).await.is_err());
    // A channel without members makes room; its history is lost, and the next one says so.
    let epoch = channels.channel("a").unwrap().start(None, 1).await.unwrap();
    let position = Position::new(epoch.joined.epoch, 0);
    socket.command(Wall::leave("a")).await.unwrap();
    let presence = channels.channel("a").unwrap();
    presence.change(|presence, _| *presence = Presence::new(LEAVE_AFTER));
    socket.command(Wall::join("c", None)).await.unwrap();
    socket.command(Wall::leave("b")).await.unwrap();
    let presence = channels.channel("b").unwrap();
    presence.change(|presence, _| *presence = Presence::new(LEAVE_AFTER));
    take(&queue);
    let again = Wall::join("a", Some(position));
    socket.command(again).await.unwrap();
    let [ChannelEvent::Joined { joined, .. }] = &*events(&queue) else {
        panic!("no answer");
    };
    assert!(!joined.recovered);
}

#[tokio::test]
async fn the_id_of_another_person_is_refused() {
    let channels = MemoryChannels::<Wall>::new(10).senders(|stored, sent| stored.0 == sent.0);
    let id = Uuid::new_v4();
    for (person, is_taken) in [("Ada", true), ("Ada", true), ("Bob", false)] {
        let (mut socket, _queue) = connect(&channels, person, 10_000);
        socket.command(Wall::join("a", None)).await.unwrap();
        let sent = socket.command(Wall::send("a", id, 1)).await;
        assert_eq!(sent.is_ok(), is_taken, "{person}");
    }
}

/// A page with its two channels.
struct Page {
    person: String,
    list: ChannelList<Wall>,
    outbox: Outbox<ChannelCommand<u64>>,
    held: BTreeMap<String, Vec<Entry<Said>>>,
    sent: u64,
    socket: Option<(Handler, OutQueue)>,
}

const CHANNELS: [&str; 2] = ["a", "b"];
/// Bytes of a queue: some messages.
const QUEUE: usize = 3_000;

impl Page {
    fn new(person: &str) -> Self {
        let mut list = ChannelList::default();
        CHANNELS.iter().for_each(|name| list.add(name, None));
        Self {
            person: person.to_owned(),
            list,
            outbox: Outbox::default(),
            held: BTreeMap::new(),
            sent: 0,
            socket: None,
        }
    }

    fn say(&mut self, channel: &str) {
        let id = Uuid::new_v4();
        self.sent += 1;
        let command = Wall::send(channel, id, self.sent);
        self.outbox.push(id, channel, command).unwrap();
    }

    fn cut(&mut self) {
        self.socket = None;
        self.list.lost();
        self.outbox.lost();
    }

    /// Sends one command that is due.
    async fn send(&mut self, channels: &MemoryChannels<Wall>) {
        let bytes = QUEUE;
        let socket = &mut self.socket;
        let (handler, _) = socket.get_or_insert_with(|| connect(channels, &self.person, bytes));
        let joins = self.list.joins_due("b", 0.0).into_iter();
        for command in joins.chain(self.outbox.take_next(0.0)) {
            if let Err(error) = handler.command(command).await {
                assert_eq!(Refusal::of(&error.code), Refusal::Keep, "{error:?}");
            }
        }
    }

    async fn fill(&mut self) {
        if let Some((handler, queue)) = &mut self.socket
            && handler.has_backlog()
            && !queue.is_closing()
        {
            handler.fill().await;
        }
    }

    fn receive(&mut self) {
        let Some((_, queue)) = &self.socket else {
            return;
        };
        let (events, close) = take(queue);
        for event in events {
            let event: Event = serde_json::from_value(event).unwrap();
            let (name, _) = Wall::meaning(&event).unwrap();
            match self.list.apply(&event) {
                Applied::Joined { recovered } => {
                    self.outbox.ready(name);
                    if !recovered {
                        self.held.remove(name);
                    }
                }
                Applied::New => {
                    let name = name.to_owned();
                    if let ChannelEvent::Message { entry, .. } = event {
                        self.held.entry(name).or_default().push(entry);
                    }
                }
                Applied::Acknowledged { id, .. } => {
                    self.outbox.remove(id);
                }
                Applied::Other => {}
                fault => panic!("{fault:?}"),
            }
        }
        if let Some(code) = close {
            assert_eq!(code, 4100);
            self.cut();
        }
    }

    fn is_settled(&self) -> bool {
        let backlog = |socket: &(Handler, OutQueue)| socket.0.has_backlog();
        self.outbox.waiting() == 0
            && CHANNELS.iter().all(|name| self.list.is_ready(name))
            && !self.socket.as_ref().is_none_or(backlog)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Say(usize, usize),
    Send(usize),
    Fill(usize),
    Receive(usize),
    Cut(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = || 0..3_usize;
    let step = prop_oneof![
        4 => (page(), 0..2_usize).prop_map(|(page, channel)| Step::Say(page, channel)),
        6 => page().prop_map(Step::Send),
        3 => page().prop_map(Step::Fill),
        3 => page().prop_map(Step::Receive),
        1 => page().prop_map(Step::Cut),
    ];
    proptest::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Pages with outboxes, real sockets' handlers, and a log that is too small for all messages in half of the cases.
    #[test]
    fn every_page_ends_with_the_same_messages(steps in steps(), is_small in any::<bool>()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async move {
            let channels = MemoryChannels::new(if is_small { 6 } else { 1_000 });
            let mut pages = ["Ada", "Bob", "Cy"].map(Page::new);
            for step in steps {
                match step {
                    Step::Say(page, channel) => pages[page].say(CHANNELS[channel]),
                    Step::Send(page) => pages[page].send(&channels).await,
                    Step::Fill(page) => pages[page].fill().await,
                    Step::Receive(page) => pages[page].receive(),
                    Step::Cut(page) => pages[page].cut(),
                }
            }
            for _ in 0..500 {
                for page in &mut pages {
                    page.send(&channels).await;
                    page.fill().await;
                    page.receive();
                }
                if pages.iter().all(Page::is_settled) {
                    break;
                }
            }
            for page in &mut pages {
                page.receive();
                assert!(page.is_settled(), "{} lacks something", page.person);
            }
            for name in CHANNELS {
                let channel = channels.channel(name).unwrap();
                let log = crate::server::channel::Log::head(channel.log()).await.unwrap();
                let stored = crate::server::channel::Log::read(channel.log(), log.floor, 1_000);
                let stored = stored.await.unwrap();
                for page in &pages {
                    let held = page.held.get(name).cloned().unwrap_or_default();
                    let offsets: Vec<_> = held.iter().map(|entry| entry.offset).collect();
                    let is_whole = offsets.is_sorted_by(|one, next| one + 1 == *next);
                    assert!(is_whole, "{offsets:?}");
                    let shared = held.len().min(stored.len());
                    assert_eq!(held[held.len() - shared..], stored[stored.len() - shared..]);
                    assert_eq!(offsets.last().copied().unwrap_or(log.head), log.head);
                }
                if !is_small {
                    for page in &pages {
                        let own = stored.iter().filter(|entry| entry.message.0 == page.person);
                        let own: Vec<_> = own.map(|entry| entry.message.1).collect();
                        assert!(own.is_sorted_by(|one, next| one < next), "{own:?}");
                    }
                    let count: usize = CHANNELS
                        .iter()
                        .map(|name| channels.channel(name).unwrap().delivered() as usize)
                        .sum();
                    assert_eq!(count as u64, pages.iter().map(|page| page.sent).sum::<u64>());
                }
            }
        });
    }
}
