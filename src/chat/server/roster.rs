//! One room as long as somebody is in it: who is there, who types, how far everybody has read. Pure: it is told what
//! happens and says what it means. The messages are in the log (`log.rs`).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::chat::message::ReadMark;
use crate::session::User;

/// A person types for this long after each `typing`.
const TYPING_LASTS: Duration = Duration::from_secs(5);
/// A person's `typing` is told to the others at most this often.
const TYPING_GAP: Duration = Duration::from_secs(2);
/// Read marks told to a newcomer: those of the members that are told, and beyond them the furthest, up to this many.
const MARKS: usize = 200;
/// Read marks of people who are not here that are kept, the furthest: every guest who ever looked in leaves one.
const MARKS_KEPT: usize = 10_000;
/// Members told to a newcomer: of a larger crowd this many, so that the answer always fits into a socket's queue.
const MEMBERS: usize = 2_000;

/// A room in memory.
#[derive(Debug, Default)]
pub struct Roster {
    members: BTreeMap<Uuid, Member>,
    read: BTreeMap<Uuid, u64>,
    /// Marks that moved since they were last saved.
    unsaved: BTreeSet<Uuid>,
    typing: HashMap<Uuid, Instant>,
}

#[derive(Debug)]
struct Member {
    user: User,
    /// Open sockets that joined. Zero for the few seconds in which a reload is no leave.
    tabs: usize,
    /// Counts the departures of the last tab, so that an old timer does not end a new stay.
    departures: u64,
}

impl Roster {
    /// A room with the read marks that were saved.
    pub fn new(read: impl IntoIterator<Item = (Uuid, u64)>) -> Self {
        Self {
            read: read.into_iter().collect(),
            ..Self::default()
        }
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

    /// A socket of a person went. When it was the last, a ticket for [`Roster::leave_for_good`].
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
    pub fn read(&mut self, user_id: Uuid, offset: u64, head: u64) -> Option<u64> {
        let offset = offset.min(head);
        let mark = self.read.entry(user_id).or_insert(0);
        (offset > *mark).then(|| {
            *mark = offset;
            self.unsaved.insert(user_id);
            offset
        })
    }

    /// How far a person has read.
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

    /// A mark could not be saved: the next [`Roster::take_unsaved`] has it again.
    pub fn unsaved(&mut self, user_id: Uuid) {
        self.unsaved.insert(user_id);
    }

    /// Whether a person's typing is news to the others by now.
    pub fn typing_is_news(&self, user_id: Uuid, now: Instant) -> bool {
        let since = self.typing.get(&user_id).map(|typed| now - *typed);
        since.is_none_or(|since| since >= TYPING_GAP)
    }

    pub fn types(&mut self, user_id: Uuid, now: Instant) {
        self.typing.retain(|_, typed| now - *typed < TYPING_LASTS);
        self.typing.insert(user_id, now);
    }

    /// What was typed was sent.
    pub fn typed(&mut self, user_id: Uuid) {
        self.typing.remove(&user_id);
    }

    /// Who types now.
    pub fn typists(&self, now: Instant) -> impl Iterator<Item = Uuid> {
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

    /// The marks of [`Roster::members`], and the furthest of those who are not here.
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

    /// Drops the marks beyond those that are kept, and says whose.
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

    /// How many people are here.
    pub fn headcount(&self) -> usize {
        self.members.len()
    }

    /// Whether nothing would be lost with it.
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

/// Leaves so many marks, the furthest ones, in no order; gives back the others.
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
        let (mut room, ada) = (Roster::default(), user("Ada"));
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
        assert!(room.is_idle());
    }

    #[test]
    fn a_new_name_is_news() {
        let (mut room, ada) = (Roster::default(), user("Ada"));
        room.enter(&ada);
        assert!(room.enter(&User {
            name: "Ada L.".into(),
            ..ada
        }));
        assert_eq!(room.members()[0].name, "Ada L.");
    }

    #[test]
    fn read_marks_only_grow_and_never_pass_the_head() {
        let (mut room, bob) = (Roster::default(), Uuid::new_v4());
        assert_eq!(room.read(bob, 4, 10), Some(4));
        assert_eq!(room.read(bob, 2, 10), None);
        assert_eq!(room.mark(bob), 4);
        assert_eq!(room.read(bob, 9_999, 10), Some(10));
        assert_eq!(room.read(bob, 10, 10), None);
    }

    #[test]
    fn a_mark_is_saved_once_however_often_it_moved() {
        let (mut room, bob) = (Roster::new([(Uuid::nil(), 3)]), Uuid::new_v4());
        for offset in 1..=5 {
            room.read(bob, offset, 10);
        }
        let saved = ReadMark {
            user_id: bob,
            offset: 5,
        };
        assert!(!room.is_idle());
        assert_eq!(room.take_unsaved(), [saved]);
        assert!(room.take_unsaved().is_empty() && room.is_idle());
        room.unsaved(bob);
        assert_eq!(room.take_unsaved(), [saved]);
    }

    #[test]
    fn newcomers_are_told_the_marks_that_matter() {
        let strangers = (0..1_000).map(|number| (Uuid::from_u128(number), number as u64));
        let (mut room, ada) = (Roster::new(strangers), user("Ada"));
        room.enter(&ada);
        room.read(ada.id, 1, 10);
        let marks = room.read_marks();
        assert_eq!(marks.len(), MARKS);
        assert_eq!(marks[0].user_id, ada.id);
        assert_eq!((marks[1].offset, marks[MARKS - 1].offset), (999, 801));
    }

    #[test]
    fn a_large_crowd_is_told_with_the_marks_of_those_who_are_named() {
        let mut room = Roster::default();
        for number in 0..MEMBERS + 100 {
            let user = User::new(Uuid::from_u128(number as u128), "Ada".into());
            room.enter(&user);
            room.read(user.id, 1, 10);
        }
        let named: Vec<_> = room.members().iter().map(|user| user.id).collect();
        let marks = room.read_marks();
        let marked: Vec<_> = marks.iter().map(|mark| mark.user_id).collect();
        assert_eq!((named.len(), marked), (MEMBERS, named));
    }

    #[test]
    fn of_those_who_are_gone_the_furthest_marks_are_kept() {
        let strangers = (1..=MARKS_KEPT as u64 + 10).map(|offset| (of_offset(offset), offset));
        let (mut room, ada) = (Roster::new(strangers), user("Ada"));
        room.enter(&ada);
        room.read(ada.id, 1, 1);
        let mut forgotten = room.forget_marks();
        forgotten.sort_unstable();
        assert_eq!(forgotten, (1..=10).map(of_offset).collect::<Vec<_>>());
        assert_eq!(room.mark(of_offset(10)), 0);
        assert_eq!((room.mark(of_offset(11)), room.mark(ada.id)), (11, 1));
        assert!(room.forget_marks().is_empty());
        // What was forgotten is not saved again.
        let saved: Vec<_> = room
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
    fn typing_is_told_now_and_then_and_expires() {
        let (mut room, ada, start) = (Roster::default(), Uuid::new_v4(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(room.typing_is_news(ada, start));
        room.types(ada, start);
        assert!(!room.typing_is_news(ada, after(1)));
        assert!(room.typing_is_news(ada, after(2)));
        assert_eq!(room.typists(after(4)).collect::<Vec<_>>(), [ada]);
        assert_eq!(room.typists(after(5)).count(), 0);
        room.types(ada, after(5));
        room.typed(ada);
        assert_eq!(room.typists(after(5)).count(), 0);
    }
}
