//! Who is in a channel. Pure: arrivals, departures and the time go in, what is news comes out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::channel::Person;

/// The persons in a channel. Several sockets of one person count as one, and a reload does not count as a leave.
#[derive(Debug)]
pub struct Presence<P: Person> {
    /// A person has left this long after closing the last socket.
    grace: Duration,
    present: BTreeMap<P::Id, Present<P>>,
}

#[derive(Debug)]
struct Present<P> {
    person: P,
    /// Open sockets that joined. Zero during the grace time.
    sockets: usize,
    /// Counts the departures of the sockets, so that the ticket of an earlier departure does not end a new stay.
    departures: u64,
}

/// The departure of a person's last socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the person stays until the ticket is handed in"]
pub struct Ticket<I> {
    id: I,
    departure: u64,
    due: Instant,
}

impl<I> Ticket<I> {
    /// When to hand it in: the end of the grace time.
    pub fn due(&self) -> Instant {
        self.due
    }
}

impl<P: Person> Presence<P> {
    /// Nobody is present. A person has left `grace` after the last socket left.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            present: BTreeMap::new(),
        }
    }

    /// A socket of a person joined. Returns whether that is news: the person was not there, or has changed (a new name).
    pub fn enter(&mut self, person: &P) -> bool {
        match self.present.get_mut(&person.id()) {
            Some(present) => {
                present.sockets += 1;
                let news = present.person != *person;
                present.person = person.clone();
                news
            }
            None => {
                let present = Present {
                    person: person.clone(),
                    sockets: 1,
                    departures: 0,
                };
                self.present.insert(person.id(), present);
                true
            }
        }
    }

    /// A socket of a person left at `now`. If it was the last one, returns a ticket for [`Presence::leave_for_good`].
    pub fn leave(&mut self, id: &P::Id, now: Instant) -> Option<Ticket<P::Id>> {
        let present = self.present.get_mut(id)?;
        present.sockets = present.sockets.saturating_sub(1);
        present.departures += 1;
        let ticket = Ticket {
            id: id.clone(),
            departure: present.departures,
            due: now + self.grace,
        };
        (present.sockets == 0).then_some(ticket)
    }

    /// Removes and returns the person who left with this ticket, if its time is over at `now` and the person has not
    /// rejoined since.
    pub fn leave_for_good(&mut self, ticket: &Ticket<P::Id>, now: Instant) -> Option<P> {
        let present = self.present.get(&ticket.id)?;
        let is_gone = present.sockets == 0 && present.departures == ticket.departure;
        let gone = (is_gone && now >= ticket.due).then(|| self.present.remove(&ticket.id));
        gone.flatten().map(|present| present.person)
    }

    /// Whether a person is present, the grace time included.
    pub fn contains(&self, id: &P::Id) -> bool {
        self.present.contains_key(id)
    }

    /// Whether a person has a socket that joined. False during the grace time.
    pub fn is_connected(&self, id: &P::Id) -> bool {
        self.present
            .get(id)
            .is_some_and(|present| present.sockets > 0)
    }

    /// A person who is present, the grace time included.
    pub fn get(&self, id: &P::Id) -> Option<&P> {
        self.present.get(id).map(|present| &present.person)
    }

    /// The persons who have a socket that joined, ordered by id.
    pub fn connected(&self) -> impl Iterator<Item = &P> {
        let connected = self.present.values().filter(|present| present.sockets > 0);
        connected.map(|present| &present.person)
    }

    /// The persons, ordered by id.
    pub fn persons(&self) -> impl Iterator<Item = &P> {
        self.present.values().map(|present| &present.person)
    }

    /// How many persons are present.
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// Whether nobody is present.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[derive(Clone, Debug, PartialEq)]
    struct User(u8, &'static str);

    impl Person for User {
        type Id = u8;

        fn id(&self) -> u8 {
            self.0
        }
    }

    const ADA: User = User(1, "Ada");

    #[test]
    fn many_sockets_are_one_person_and_a_reload_is_no_leave() {
        let (mut presence, now) = (Presence::new(GRACE), Instant::now());
        assert!(presence.enter(&ADA));
        assert!(!presence.enter(&ADA), "a second socket is no news");
        assert_eq!(presence.leave(&1, now), None);
        let first = presence.leave(&1, now).unwrap();
        assert!(!presence.enter(&ADA), "back before the time: no news");
        let later = now + GRACE;
        assert_eq!(presence.leave_for_good(&first, later), None);
        let second = presence.leave(&1, later).unwrap();
        assert_eq!(
            presence.leave_for_good(&first, later + GRACE),
            None,
            "the first ticket does not end the second stay"
        );
        assert_eq!(second.due(), later + GRACE);
        assert_eq!(presence.leave_for_good(&second, later), None, "too early");
        assert!(presence.contains(&1));
        assert_eq!(presence.leave_for_good(&second, second.due()), Some(ADA));
        assert!(presence.is_empty());
        assert_eq!(presence.leave_for_good(&second, second.due()), None);
    }

    #[test]
    fn a_new_name_is_news() {
        let mut presence = Presence::new(GRACE);
        presence.enter(&ADA);
        assert!(presence.enter(&User(1, "Ada L.")));
        assert_eq!(presence.persons().next(), Some(&User(1, "Ada L.")));
        assert_eq!(presence.len(), 1);
    }

    #[test]
    fn a_departure_of_somebody_who_is_not_there_is_nothing() {
        let mut presence = Presence::<User>::new(GRACE);
        assert_eq!(presence.leave(&1, Instant::now()), None);
    }

    proptest! {
        /// What was announced equals who has a socket, or closed the last one less than the grace time ago.
        #[test]
        fn what_is_announced_is_who_is_there(
            steps in proptest::collection::vec((0..3_u8, 0..3_u8, 0..7_u64), 1..60),
        ) {
            let (mut presence, mut now) = (Presence::new(GRACE), Instant::now());
            let mut sockets = [0_u32; 3];
            let mut left = [None::<Instant>; 3];
            let (mut tickets, mut announced) = (vec![], std::collections::BTreeSet::new());
            for (step, id, seconds) in steps {
                let place = usize::from(id);
                match step {
                    0 => {
                        sockets[place] += 1;
                        prop_assert_eq!(presence.enter(&User(id, "")), announced.insert(id));
                    }
                    1 if sockets[place] > 0 => {
                        sockets[place] -= 1;
                        left[place] = Some(now);
                        let ticket = presence.leave(&id, now);
                        prop_assert_eq!(ticket.is_some(), sockets[place] == 0);
                        tickets.extend(ticket);
                    }
                    _ => now += Duration::from_secs(seconds),
                }
                // The timers fire late or in time, never early.
                tickets.retain(|ticket| {
                    if ticket.due() > now {
                        return true;
                    }
                    if let Some(gone) = presence.leave_for_good(ticket, now) {
                        announced.remove(&gone.id());
                    }
                    false
                });
                for id in 0..3_u8 {
                    let place = usize::from(id);
                    let lately = left[place].is_some_and(|left| now < left + GRACE);
                    let expected = sockets[place] > 0 || lately;
                    prop_assert_eq!(presence.contains(&id), expected);
                    prop_assert_eq!(announced.contains(&id), expected);
                }
            }
        }
    }
}
