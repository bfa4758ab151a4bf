//! The roster of an open room: its members, who is typing, and how far each user has read.
//!
//! Pure: events and the time go in, consequences come out. The messages are in the log (`log.rs`).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    chat::message::{Posted, ReadMark},
    session::User,
};
use realtime::{
    channel::{Entry, Person},
    server::channel::{ChannelState, Presence, Ticket},
};

/// A user has left this long after closing the last tab, so that a reload is not a leave.
const LEAVE_AFTER: Duration = Duration::from_secs(5);
/// A user counts as typing for this long after each `typing`.
const TYPING_LASTS: Duration = Duration::from_secs(5);
/// A user's `typing` is broadcast at most once in this time.
const TYPING_GAP: Duration = Duration::from_secs(2);
/// Read marks in `joined`: those of all members in `joined`, then the furthest of absent users, up to this many in all.
const MARKS: usize = 200;
/// Most read marks of absent users that are kept, the furthest ones: every guest that ever visited leaves one.
const MARKS_KEPT: usize = 10_000;
/// Most members in `joined`, so that the answer always fits into a socket's queue.
const MEMBERS: usize = 2_000;

/// The roster of one room.
#[derive(Debug)]
pub struct Roster {
    /// Who is in the room at this node.
    presence: Presence<User>,
    /// Who is in the room at other nodes. The same person may be here too.
    elsewhere: BTreeMap<Uuid, User>,
    read: BTreeMap<Uuid, u64>,
    /// Users whose mark moved since it was last saved.
    unsaved: BTreeSet<Uuid>,
    typing: HashMap<Uuid, Instant>,
}

impl Person for User {
    type Id = Uuid;

    fn id(&self) -> Uuid {
        self.id
    }
}

impl ChannelState<Posted> for Roster {
    /// A message ends the typing of its author.
    fn delivered(&mut self, entry: &Entry<Posted>) {
        self.typing.remove(&entry.message.from.id);
    }
}

impl Roster {
    /// A roster with the saved read marks.
    pub fn new(read: impl IntoIterator<Item = (Uuid, u64)>) -> Self {
        Self {
            presence: Presence::new(LEAVE_AFTER),
            elsewhere: BTreeMap::new(),
            read: read.into_iter().collect(),
            unsaved: BTreeSet::new(),
            typing: HashMap::new(),
        }
    }

    /// A socket of a user joined. Returns whether that is news to this node, and whether it is in the room.
    pub fn enter(&mut self, user: &User) -> (bool, bool) {
        let shown = self.shown(user.id).cloned();
        let is_news = self.presence.enter(user);
        (is_news, self.shown(user.id) != shown.as_ref())
    }

    /// A socket of a user left. If it was the last one here, returns a ticket for [`Roster::leave_for_good`], and the user if
    /// the room shows another name from now on: that of another node.
    pub fn leave(&mut self, user_id: Uuid, now: Instant) -> (Option<Ticket<Uuid>>, Option<User>) {
        let before = self.shown(user_id).cloned();
        let ticket = self.presence.leave(&user_id, now);
        let shown = self.shown(user_id).cloned();
        (ticket, shown.filter(|shown| Some(shown) != before.as_ref()))
    }

    /// Removes the user who left with this ticket. `None` if the user rejoined; else whether the user is gone from the room.
    pub fn leave_for_good(&mut self, ticket: &Ticket<Uuid>) -> Option<bool> {
        let gone = self.presence.leave_for_good(ticket, ticket.due())?;
        Some(!self.elsewhere.contains_key(&gone.id))
    }

    /// A user is in the room at another node. Returns whether that is news in the room.
    pub fn came_elsewhere(&mut self, user: &User) -> bool {
        let shown = self.shown(user.id).cloned();
        self.elsewhere.insert(user.id, user.clone());
        self.shown(user.id) != shown.as_ref()
    }

    /// A user left the room at the last of the other nodes. Returns whether the user is gone from the room.
    pub fn left_elsewhere(&mut self, user_id: Uuid) -> bool {
        self.elsewhere.remove(&user_id).is_some() && !self.presence.contains(&user_id)
    }

    /// The users with open sockets at this node.
    pub fn own(&self) -> impl Iterator<Item = &User> {
        self.presence.connected()
    }

    /// A user as the room shows it: as at this node, unless the user has left here and is elsewhere, perhaps under another
    /// name.
    fn shown(&self, user_id: Uuid) -> Option<&User> {
        let (here, elsewhere) = (self.presence.get(&user_id), self.elsewhere.get(&user_id));
        match self.presence.is_connected(&user_id) {
            true => here,
            false => elsewhere.or(here),
        }
    }

    /// How many users are in the room.
    pub fn headcount(&self) -> usize {
        self.everybody().count()
    }

    /// The users in the room at any node, each once.
    fn everybody(&self) -> impl Iterator<Item = &User> {
        let here = self.presence.persons().map(|user| user.id);
        let others = self.elsewhere.keys().copied();
        let others = others.filter(|user_id| !self.presence.contains(user_id));
        here.chain(others).filter_map(|user_id| self.shown(user_id))
    }

    /// A user has read up to an offset at another node, which saves the mark. Returns the new mark if it moved.
    pub fn read_elsewhere(&mut self, user_id: Uuid, offset: u64) -> Option<u64> {
        let mark = self.read.entry(user_id).or_insert(0);
        (offset > *mark).then(|| {
            *mark = offset;
            offset
        })
    }

    /// Moves a read mark, which only grows and never passes the head. Returns the new mark if it moved.
    pub fn read(&mut self, user_id: Uuid, offset: u64, head: u64) -> Option<u64> {
        let offset = offset.min(head);
        let mark = self.read.entry(user_id).or_insert(0);
        (offset > *mark).then(|| {
            *mark = offset;
            self.unsaved.insert(user_id);
            offset
        })
    }

    /// The offset up to which a user has read.
    pub fn mark(&self, user_id: Uuid) -> u64 {
        self.read.get(&user_id).copied().unwrap_or(0)
    }

    /// The marks that moved since the last call, each once however often it moved.
    pub fn take_unsaved(&mut self) -> Vec<ReadMark> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved
            .into_iter()
            .map(|user_id| self.read_mark(user_id))
            .collect()
    }

    /// A mark could not be saved: the next [`Roster::take_unsaved`] returns it again.
    pub fn set_unsaved(&mut self, user_id: Uuid) {
        self.unsaved.insert(user_id);
    }

    /// Whether a user's typing is to be broadcast at `now`: the last broadcast is at least `TYPING_GAP` ago.
    pub fn typing_is_due(&self, user_id: Uuid, now: Instant) -> bool {
        let since = self.typing.get(&user_id).map(|typed| now - *typed);
        since.is_none_or(|since| since >= TYPING_GAP)
    }

    pub fn set_typing(&mut self, user_id: Uuid, now: Instant) {
        self.typing.retain(|_, typed| now - *typed < TYPING_LASTS);
        self.typing.insert(user_id, now);
    }

    /// The users who are typing at `now`.
    pub fn typing_users(&self, now: Instant) -> impl Iterator<Item = Uuid> {
        let fresh = move |(_, typed): &(&Uuid, &Instant)| now - **typed < TYPING_LASTS;
        self.typing
            .iter()
            .filter(fresh)
            .map(|(user_id, _)| *user_id)
    }

    /// The members, up to a number that fits into an answer.
    pub fn members(&self) -> Vec<User> {
        self.everybody().take(MEMBERS).cloned().collect()
    }

    /// The marks of [`Roster::members`], and the furthest marks of absent users.
    pub fn read_marks(&self) -> Vec<ReadMark> {
        let members = self.everybody().take(MEMBERS);
        let marks = members.filter(|user| self.read.contains_key(&user.id));
        let mut marks: Vec<_> = marks.map(|user| self.read_mark(user.id)).collect();
        let room_for = MARKS.saturating_sub(marks.len());
        let mut others = self.marks_of_the_absent();
        split_off_after_the_furthest(&mut others, room_for);
        others.sort_unstable_by_key(|mark| Reverse(mark.offset));
        marks.extend(others);
        marks
    }

    /// Drops the marks beyond the limit and returns their users.
    pub fn forget_marks(&mut self) -> Vec<Uuid> {
        if self.read.len() <= MARKS_KEPT {
            return vec![];
        }
        let mut kept = self.marks_of_the_absent();
        let forgotten = split_off_after_the_furthest(&mut kept, MARKS_KEPT);
        let forgotten: Vec<_> = forgotten.iter().map(|mark| mark.user_id).collect();
        for user_id in &forgotten {
            self.read.remove(user_id);
            self.unsaved.remove(user_id);
        }
        forgotten
    }

    /// Whether nothing is lost when the roster is dropped.
    pub fn is_idle(&self) -> bool {
        self.presence.is_empty() && self.unsaved.is_empty()
    }

    fn marks_of_the_absent(&self) -> Vec<ReadMark> {
        let absent = |user_id: &&Uuid| {
            !self.presence.contains(user_id) && !self.elsewhere.contains_key(user_id)
        };
        let absent = self.read.keys().filter(absent);
        absent.map(|user_id| self.read_mark(*user_id)).collect()
    }

    fn read_mark(&self, user_id: Uuid) -> ReadMark {
        ReadMark {
            user_id,
            offset: self.mark(user_id),
        }
    }
}

/// Keeps the `count` furthest marks, in no order; returns the others.
fn split_off_after_the_furthest(marks: &mut Vec<ReadMark>, count: usize) -> Vec<ReadMark> {
    if count >= marks.len() {
        return vec![];
    }
    marks.select_nth_unstable_by_key(count, |mark| Reverse(mark.offset));
    marks.split_off(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User::new(Uuid::new_v4(), name.into())
    }

    #[test]
    fn read_marks_only_grow_and_never_pass_the_head() {
        let (mut roster, bob) = (Roster::new([]), Uuid::new_v4());
        assert_eq!(roster.read(bob, 4, 10), Some(4));
        assert_eq!(roster.read(bob, 2, 10), None);
        assert_eq!(roster.mark(bob), 4);
        assert_eq!(roster.read(bob, 9_999, 10), Some(10));
        assert_eq!(roster.read(bob, 10, 10), None);
    }

    #[test]
    fn a_mark_is_saved_once_however_often_it_moved() {
        let (mut roster, bob) = (Roster::new([(Uuid::nil(), 3)]), Uuid::new_v4());
        for offset in 1..=5 {
            roster.read(bob, offset, 10);
        }
        let saved = ReadMark {
            user_id: bob,
            offset: 5,
        };
        assert!(!roster.is_idle());
        assert_eq!(roster.take_unsaved(), [saved]);
        assert!(roster.take_unsaved().is_empty() && roster.is_idle());
        roster.set_unsaved(bob);
        assert_eq!(roster.take_unsaved(), [saved]);
    }

    #[test]
    fn a_newcomer_gets_the_marks_of_members_and_the_furthest_others() {
        let strangers = (0..1_000).map(|number| (Uuid::from_u128(number), number as u64));
        let (mut roster, ada) = (Roster::new(strangers), user("Ada"));
        roster.presence.enter(&ada);
        roster.read(ada.id, 1, 10);
        let marks = roster.read_marks();
        assert_eq!(marks.len(), MARKS);
        assert_eq!(marks[0].user_id, ada.id);
        assert_eq!((marks[1].offset, marks[MARKS - 1].offset), (999, 801));
    }

    #[test]
    fn of_a_large_room_the_listed_members_are_sent_with_their_marks() {
        let mut roster = Roster::new([]);
        for number in 0..MEMBERS + 100 {
            let user = User::new(Uuid::from_u128(number as u128), "Ada".into());
            roster.presence.enter(&user);
            roster.read(user.id, 1, 10);
        }
        let named: Vec<_> = roster.members().iter().map(|user| user.id).collect();
        let marks = roster.read_marks();
        let marked: Vec<_> = marks.iter().map(|mark| mark.user_id).collect();
        assert_eq!((named.len(), marked), (MEMBERS, named));
    }

    #[test]
    fn of_absent_users_the_furthest_marks_are_kept() {
        let strangers = (1..=MARKS_KEPT as u64 + 10).map(|offset| (of_offset(offset), offset));
        let (mut roster, ada) = (Roster::new(strangers), user("Ada"));
        roster.presence.enter(&ada);
        roster.read(ada.id, 1, 1);
        let mut forgotten = roster.forget_marks();
        forgotten.sort_unstable();
        assert_eq!(forgotten, (1..=10).map(of_offset).collect::<Vec<_>>());
        assert_eq!(roster.mark(of_offset(10)), 0);
        assert_eq!((roster.mark(of_offset(11)), roster.mark(ada.id)), (11, 1));
        assert!(roster.forget_marks().is_empty());
        // Marks that were dropped are not saved again.
        let saved: Vec<_> = roster
            .take_unsaved()
            .iter()
            .map(|mark| mark.user_id)
            .collect();
        assert_eq!(saved, [ada.id]);
    }

    #[test]
    fn a_user_who_comes_to_another_node_under_a_new_name_is_shown_under_it() {
        let now = Instant::now();
        let (ada, countess) = (user("Ada"), "Countess".to_owned());
        let countess = User::new(ada.id, countess);
        let names = |roster: &Roster| -> Vec<String> {
            roster.members().into_iter().map(|user| user.name).collect()
        };
        // The old socket here is closed before the new one elsewhere is announced, or after it.
        for closed_first in [true, false] {
            let mut roster = Roster::new([]);
            assert_eq!(roster.enter(&ada), (true, true));
            let mut news = vec![];
            let close = |roster: &mut Roster, news: &mut Vec<User>| {
                let (ticket, renamed) = roster.leave(ada.id, now);
                news.extend(renamed);
                ticket
            };
            let mut ticket = None;
            if closed_first {
                ticket = close(&mut roster, &mut news);
            }
            if roster.came_elsewhere(&countess) {
                news.push(countess.clone());
            }
            if !closed_first {
                ticket = close(&mut roster, &mut news);
            }
            assert_eq!(news, std::slice::from_ref(&countess), "{closed_first}");
            assert_eq!(
                (names(&roster), roster.headcount()),
                (vec!["Countess".into()], 1)
            );
            assert_eq!(roster.own().count(), 0, "nobody announces the old name");
            assert_eq!(roster.leave_for_good(&ticket.unwrap()), Some(false));
            assert!(roster.left_elsewhere(ada.id));
            assert_eq!(roster.headcount(), 0);
        }
        // She comes here under the new name, while the other node still says the old one.
        let mut roster = Roster::new([]);
        assert!(roster.came_elsewhere(&ada));
        assert_eq!(roster.enter(&countess), (true, true));
        assert!(!roster.came_elsewhere(&ada));
        assert_eq!(names(&roster), ["Countess"]);
        assert!(!roster.left_elsewhere(ada.id));
    }

    #[test]
    fn a_user_at_two_nodes_leaves_the_room_with_the_last() {
        let (mut roster, now) = (Roster::new([]), Instant::now());
        let ada = user("Ada");
        assert!(roster.came_elsewhere(&ada));
        assert_eq!(roster.enter(&ada), (true, false), "the room knows her");
        let (ticket, renamed) = roster.leave(ada.id, now);
        assert_eq!(renamed, None);
        assert_eq!(roster.leave_for_good(&ticket.unwrap()), Some(false));
        assert!(roster.left_elsewhere(ada.id));
        roster.enter(&ada);
        let (ticket, _) = roster.leave(ada.id, now);
        assert_eq!(roster.leave_for_good(&ticket.unwrap()), Some(true));
    }

    fn message_of(author: Uuid) -> Entry<Posted> {
        Entry {
            offset: 1,
            id: Uuid::nil().into(),
            at: 0,
            message: Posted {
                from: User::new(author, "Ada".into()),
                text: "hello".into(),
            },
        }
    }

    fn of_offset(offset: u64) -> Uuid {
        Uuid::from_u128(offset.into())
    }

    #[test]
    fn typing_is_broadcast_at_intervals_and_expires() {
        let (mut roster, ada, start) = (Roster::new([]), Uuid::new_v4(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(roster.typing_is_due(ada, start));
        roster.set_typing(ada, start);
        assert!(!roster.typing_is_due(ada, after(1)));
        assert!(roster.typing_is_due(ada, after(2)));
        assert_eq!(roster.typing_users(after(4)).collect::<Vec<_>>(), [ada]);
        assert_eq!(roster.typing_users(after(5)).count(), 0);
        roster.set_typing(ada, after(5));
        roster.delivered(&message_of(ada));
        assert_eq!(roster.typing_users(after(5)).count(), 0);
    }
}
