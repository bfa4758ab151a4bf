//! One room: its log, who is there, how far everybody has read. Pure: it is told what happens and says what it means.

use std::collections::{BTreeMap, HashMap, VecDeque};

use uuid::Uuid;

use super::message::{ChatMessage, ReadMark};
use crate::{
    realtime::position::{Epoch, Position},
    session::User,
};

/// Messages that a newcomer gets.
pub const LATEST: usize = 50;

/// A room in memory.
#[derive(Debug)]
pub struct Room {
    epoch: Epoch,
    head: u64,
    /// Offsets are consecutive; the oldest go when there are more than `capacity`.
    log: VecDeque<ChatMessage>,
    capacity: usize,
    /// Ids in the log: what makes a `send` idempotent.
    offsets: HashMap<Uuid, u64>,
    members: BTreeMap<Uuid, Member>,
    read: BTreeMap<Uuid, u64>,
}

#[derive(Debug)]
struct Member {
    user: User,
    /// Open sockets that joined. Zero for the few seconds in which a reload is no leave.
    tabs: usize,
    /// Counts the departures of the last tab, so that an old timer does not end a new stay.
    departures: u64,
}

/// What posting came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Posted {
    New(ChatMessage),
    /// The id stands in the log already.
    Known {
        offset: u64,
        at: u64,
    },
}

/// Where a member's subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub recovered: bool,
    /// Messages after this offset follow.
    pub after: u64,
    pub replayed: usize,
}

impl Room {
    pub fn new(capacity: usize) -> Self {
        Self {
            epoch: Epoch::random(),
            head: 0,
            log: VecDeque::new(),
            capacity: capacity.max(1),
            offsets: HashMap::new(),
            members: BTreeMap::new(),
            read: BTreeMap::new(),
        }
    }

    pub fn position(&self) -> Position {
        Position::new(self.epoch.clone(), self.head)
    }

    /// Adds a message, unless its id is known.
    pub fn post(&mut self, id: Uuid, from: User, text: String, at: u64) -> Posted {
        if let Some(known) = self
            .offsets
            .get(&id)
            .and_then(|offset| self.after(offset - 1).next())
        {
            return Posted::Known {
                offset: known.offset,
                at: known.at,
            };
        }
        self.head += 1;
        let message = ChatMessage {
            offset: self.head,
            id,
            from,
            text,
            at,
        };
        self.offsets.insert(id, self.head);
        self.log.push_back(message.clone());
        if self.log.len() > self.capacity
            && let Some(oldest) = self.log.pop_front()
        {
            self.offsets.remove(&oldest.id);
        }
        Posted::New(message)
    }

    /// Where a member who holds `after` begins: right there, when everything since is held; else at the latest few.
    pub fn start(&self, after: Option<&Position>) -> Start {
        let held_from = self.head - self.log.len() as u64;
        let known = after.filter(|after| {
            after.epoch == self.epoch && (held_from..=self.head).contains(&after.offset)
        });
        let offset = known.map_or(
            self.head.saturating_sub(LATEST as u64).max(held_from),
            |known| known.offset,
        );
        Start {
            recovered: known.is_some(),
            after: offset,
            replayed: (self.head - offset) as usize,
        }
    }

    /// Messages after an offset, oldest first.
    pub fn after(&self, offset: u64) -> impl Iterator<Item = &ChatMessage> {
        let first = self.head - self.log.len() as u64;
        self.log.iter().skip(offset.saturating_sub(first) as usize)
    }

    /// Up to `limit` messages before an offset, newest first, and whether there are older ones.
    pub fn before(&self, offset: u64, limit: usize) -> (Vec<ChatMessage>, bool) {
        let mut older = self
            .log
            .iter()
            .rev()
            .skip_while(|message| message.offset >= offset);
        let page = older.by_ref().take(limit).cloned().collect();
        (page, older.next().is_some())
    }

    /// Messages that contain all words of the query, whatever the case, newest first.
    pub fn search(&self, query: &str, limit: usize) -> Vec<ChatMessage> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let matches = |message: &&ChatMessage| {
            let text = message.text.to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        self.log
            .iter()
            .rev()
            .filter(matches)
            .take(limit)
            .cloned()
            .collect()
    }

    /// A socket of a person came. Says whether the person is new here (or has a new name).
    pub fn enter(&mut self, user: &User) -> bool {
        let member = self.members.entry(user.id).or_insert_with(|| Member {
            // Differs from any user, so that the first tab counts as news.
            user: User {
                name: String::new(),
                ..user.clone()
            },
            tabs: 0,
            departures: 0,
        });
        member.tabs += 1;
        let news = member.user != *user;
        member.user = user.clone();
        news
    }

    /// A socket of a person went. When it was the last, a ticket for [`Room::leave_for_good`].
    pub fn leave(&mut self, user_id: Uuid) -> Option<u64> {
        let member = self.members.get_mut(&user_id)?;
        member.tabs = member.tabs.saturating_sub(1);
        member.departures += 1;
        (member.tabs == 0).then_some(member.departures)
    }

    /// The person who left with this ticket did not come back. Says whether that is so.
    pub fn leave_for_good(&mut self, user_id: Uuid, ticket: u64) -> bool {
        let gone = self
            .members
            .get(&user_id)
            .is_some_and(|member| member.tabs == 0 && member.departures == ticket);
        if gone {
            self.members.remove(&user_id);
        }
        gone
    }

    /// Moves a read mark. It only grows and never passes the head; the new mark, when it moved.
    pub fn read(&mut self, user_id: Uuid, offset: u64) -> Option<u64> {
        let offset = offset.min(self.head);
        let mark = self.read.entry(user_id).or_insert(0);
        (offset > *mark).then(|| {
            *mark = offset;
            offset
        })
    }

    /// Messages of others after a person's read mark.
    pub fn unread(&self, user_id: Uuid) -> usize {
        let mark = self.read.get(&user_id).copied().unwrap_or(0);
        self.after(mark)
            .filter(|message| message.from.id != user_id)
            .count()
    }

    pub fn members(&self) -> Vec<User> {
        self.members
            .values()
            .map(|member| member.user.clone())
            .collect()
    }

    pub fn read_marks(&self) -> Vec<ReadMark> {
        self.read
            .iter()
            .map(|(user_id, offset)| ReadMark {
                user_id: *user_id,
                offset: *offset,
            })
            .collect()
    }

    /// Whether nothing would be lost with it.
    pub fn is_empty(&self) -> bool {
        self.head == 0 && self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User::new(Uuid::new_v4(), name.into())
    }

    fn room_with(count: usize, capacity: usize) -> (Room, User) {
        let (mut room, ada) = (Room::new(capacity), user("Ada"));
        for number in 1..=count {
            room.post(Uuid::new_v4(), ada.clone(), format!("message {number}"), 0);
        }
        (room, ada)
    }

    fn offsets(start: &Start, room: &Room) -> Vec<u64> {
        room.after(start.after)
            .map(|message| message.offset)
            .collect()
    }

    #[test]
    fn the_same_id_is_stored_once() {
        let (mut room, ada) = room_with(0, 10);
        let id = Uuid::new_v4();
        assert!(
            matches!(room.post(id, ada.clone(), "hello".into(), 5), Posted::New(message) if message.offset == 1)
        );
        room.post(Uuid::new_v4(), ada.clone(), "other".into(), 6);
        assert_eq!(
            room.post(id, ada, "hello".into(), 7),
            Posted::Known { offset: 1, at: 5 }
        );
        assert_eq!(room.position().offset, 2);
    }

    #[test]
    fn a_member_who_comes_back_gets_exactly_what_was_missed() {
        let (room, _) = room_with(100, 1_000);
        let start = room.start(Some(&Position {
            offset: 97,
            ..room.position()
        }));
        assert_eq!((start.recovered, start.replayed), (true, 3));
        assert_eq!(offsets(&start, &room), [98, 99, 100]);
        let nothing = room.start(Some(&room.position()));
        assert_eq!((nothing.recovered, nothing.replayed), (true, 0));
    }

    #[test]
    fn whoever_cannot_be_caught_up_gets_the_latest_and_is_told() {
        let (room, _) = room_with(100, 60);
        let foreign = Position::new(Epoch::random(), 99);
        let future = Position {
            offset: 101,
            ..room.position()
        };
        let forgotten = Position {
            offset: 39,
            ..room.position()
        };
        for after in [None, Some(&foreign), Some(&future), Some(&forgotten)] {
            let start = room.start(after);
            assert_eq!(
                (start.recovered, start.replayed),
                (false, LATEST),
                "{after:?}"
            );
            assert_eq!(offsets(&start, &room), (51..=100).collect::<Vec<_>>());
        }
        let oldest = Position {
            offset: 40,
            ..room.position()
        };
        assert!(
            room.start(Some(&oldest)).recovered,
            "everything after it is still held"
        );
    }

    #[test]
    fn history_pages_backwards() {
        let (room, _) = room_with(10, 100);
        let (page, more) = room.before(6, 3);
        assert_eq!(
            page.iter()
                .map(|message| message.offset)
                .collect::<Vec<_>>(),
            [5, 4, 3]
        );
        assert!(more);
        let (page, more) = room.before(3, 10);
        assert_eq!((page.len(), more), (2, false));
        assert_eq!(room.before(u64::MAX, 100).0.len(), 10);
    }

    #[test]
    fn many_tabs_are_one_person_and_a_reload_is_no_leave() {
        let (mut room, ada) = room_with(0, 10);
        assert!(room.enter(&ada));
        assert!(!room.enter(&ada), "a second tab is no news");
        assert_eq!(room.leave(ada.id), None);
        let ticket = room.leave(ada.id).unwrap();
        assert!(!room.enter(&ada), "back before the timer: no news");
        assert!(!room.leave_for_good(ada.id, ticket));
        let later = room.leave(ada.id).unwrap();
        assert!(
            !room.leave_for_good(ada.id, ticket),
            "the first timer does not end the second stay"
        );
        assert!(room.leave_for_good(ada.id, later));
        assert!(room.is_empty());
    }

    #[test]
    fn a_new_name_is_news() {
        let (mut room, ada) = room_with(0, 10);
        room.enter(&ada);
        assert!(room.enter(&User {
            name: "Ada L.".into(),
            ..ada
        }));
        assert_eq!(room.members()[0].name, "Ada L.");
    }

    #[test]
    fn read_marks_only_grow_and_never_pass_the_head() {
        let (mut room, ada) = room_with(10, 100);
        let bob = user("Bob");
        assert_eq!(room.unread(bob.id), 10);
        assert_eq!(room.unread(ada.id), 0, "one's own messages are read");
        assert_eq!(room.read(bob.id, 4), Some(4));
        assert_eq!(room.read(bob.id, 2), None);
        assert_eq!(room.unread(bob.id), 6);
        assert_eq!(room.read(bob.id, 9_999), Some(10));
        assert_eq!(room.read(bob.id, 10), None);
    }

    #[test]
    fn search_finds_all_words_whatever_the_case() {
        let (mut room, ada) = room_with(0, 100);
        for text in ["Hello World", "hello there", "WORLD peace"] {
            room.post(Uuid::new_v4(), ada.clone(), text.into(), 0);
        }
        let texts = |query| {
            room.search(query, 10)
                .into_iter()
                .map(|message| message.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts("world"), ["WORLD peace", "Hello World"]);
        assert_eq!(texts("HELLO world"), ["Hello World"]);
        assert!(texts("absent").is_empty());
    }
}
