//! The roster of an open room: its members, who is typing, and how far each user has read.
//!
//! Pure: events and the time go in, consequences come out. The messages are in the log (`log.rs`).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{chat::message::ReadMark, session::User};

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
#[derive(Debug, Default)]
pub struct Roster {
    members: BTreeMap<Uuid, Member>,
    read: BTreeMap<Uuid, u64>,
    /// Users whose mark moved since it was last saved.
    unsaved: BTreeSet<Uuid>,
    typing: HashMap<Uuid, Instant>,
}

#[derive(Debug)]
struct Member {
    user: User,
    /// Open sockets that joined. Zero for the few seconds in which a reload does not count as a leave.
    tabs: usize,
    /// Counts the departures of the tabs, so that the timer of an earlier departure does not end a new stay.
    departures: u64,
}

impl Roster {
    /// A roster with the saved read marks.
    pub fn new(read: impl IntoIterator<Item = (Uuid, u64)>) -> Self {
        Self {
            read: read.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A socket of a user joined. Returns whether the user is new in the room, or has a new name.
    pub fn enter(&mut self, user: &User) -> bool {
        let member = self.members.entry(user.id).or_insert_with(|| Member {
            // An empty name differs from any user's, so that the first tab counts as new.
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

    /// A socket of a user left. If it was the user's last, returns a ticket for [`Roster::leave_for_good`].
    pub fn leave(&mut self, user_id: Uuid) -> Option<u64> {
        let member = self.members.get_mut(&user_id)?;
        member.tabs = member.tabs.saturating_sub(1);
        member.departures += 1;
        (member.tabs == 0).then_some(member.departures)
    }

    /// Removes the user who left with this ticket, unless the user has rejoined since. Returns whether the user was
    /// removed.
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

    /// The user's message has arrived, which ends the typing.
    pub fn clear_typing(&mut self, user_id: Uuid) {
        self.typing.remove(&user_id);
    }

    /// The users who are typing at `now`.
    pub fn typing_users(&self, now: Instant) -> impl Iterator<Item = Uuid> {
        let fresh = move |(_, typed): &(&Uuid, &Instant)| now - **typed < TYPING_LASTS;
        self.typing
            .iter()
            .filter(fresh)
            .map(|(user_id, _)| *user_id)
    }

    pub fn members(&self) -> Vec<User> {
        self.members
            .values()
            .take(MEMBERS)
            .map(|member| member.user.clone())
            .collect()
    }

    /// The marks of [`Roster::members`], and the furthest marks of absent users.
    pub fn read_marks(&self) -> Vec<ReadMark> {
        let members = self.members.keys().take(MEMBERS);
        let marks = members.filter(|user_id| self.read.contains_key(user_id));
        let mut marks: Vec<_> = marks.map(|user_id| self.read_mark(*user_id)).collect();
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

    /// How many users are in the room.
    pub fn headcount(&self) -> usize {
        self.members.len()
    }

    /// Whether nothing is lost when the roster is dropped.
    pub fn is_idle(&self) -> bool {
        self.members.is_empty() && self.unsaved.is_empty()
    }

    fn marks_of_the_absent(&self) -> Vec<ReadMark> {
        let absent = |user_id: &&Uuid| !self.members.contains_key(*user_id);
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
    fn many_tabs_are_one_person_and_a_reload_is_no_leave() {
        let (mut roster, ada) = (Roster::default(), user("Ada"));
        assert!(roster.enter(&ada));
        assert!(!roster.enter(&ada), "a second tab is no news");
        assert_eq!(roster.leave(ada.id), None);
        let ticket = roster.leave(ada.id).unwrap();
        assert!(!roster.enter(&ada), "back before the timer: no news");
        assert!(!roster.leave_for_good(ada.id, ticket));
        let later = roster.leave(ada.id).unwrap();
        assert!(
            !roster.leave_for_good(ada.id, ticket),
            "the first timer does not end the second stay"
        );
        assert!(roster.leave_for_good(ada.id, later));
        assert!(roster.is_idle());
    }

    #[test]
    fn a_new_name_is_news() {
        let (mut roster, ada) = (Roster::default(), user("Ada"));
        roster.enter(&ada);
        assert!(roster.enter(&User {
            name: "Ada L.".into(),
            ..ada
        }));
        assert_eq!(roster.members()[0].name, "Ada L.");
    }

    #[test]
    fn read_marks_only_grow_and_never_pass_the_head() {
        let (mut roster, bob) = (Roster::default(), Uuid::new_v4());
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
        roster.enter(&ada);
        roster.read(ada.id, 1, 10);
        let marks = roster.read_marks();
        assert_eq!(marks.len(), MARKS);
        assert_eq!(marks[0].user_id, ada.id);
        assert_eq!((marks[1].offset, marks[MARKS - 1].offset), (999, 801));
    }

    #[test]
    fn of_a_large_room_the_listed_members_are_sent_with_their_marks() {
        let mut roster = Roster::default();
        for number in 0..MEMBERS + 100 {
            let user = User::new(Uuid::from_u128(number as u128), "Ada".into());
            roster.enter(&user);
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
        roster.enter(&ada);
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

    fn of_offset(offset: u64) -> Uuid {
        Uuid::from_u128(offset.into())
    }

    #[test]
    fn typing_is_broadcast_at_intervals_and_expires() {
        let (mut roster, ada, start) = (Roster::default(), Uuid::new_v4(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(roster.typing_is_due(ada, start));
        roster.set_typing(ada, start);
        assert!(!roster.typing_is_due(ada, after(1)));
        assert!(roster.typing_is_due(ada, after(2)));
        assert_eq!(roster.typing_users(after(4)).collect::<Vec<_>>(), [ada]);
        assert_eq!(roster.typing_users(after(5)).count(), 0);
        roster.set_typing(ada, after(5));
        roster.clear_typing(ada);
        assert_eq!(roster.typing_users(after(5)).count(), 0);
    }
}
