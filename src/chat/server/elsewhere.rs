//! Who is in the rooms at the other nodes of a cluster. Pure: announcements and the time go in, news come out.
//!
//! Each node announces its own people: at once when one arrives or leaves, all of them every [`RENEW_EVERY`], and that it
//! ends when it shuts down. Announcements are volatile. A lost arrival is repaired by the next renewal, and a lost
//! departure, as well as the death of a node, by `FORGOTTEN_AFTER`.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::session::User;

/// How often a node announces all of its people.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A person whom no node has announced for this long is gone: two renewals may be lost.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Most people in one announcement, so that it is far smaller than NATS allows.
pub const ANNOUNCED: usize = 500;

/// What nodes tell each other about rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Announcement {
    /// These people are in the room at this node; others may be too.
    Here {
        node: Uuid,
        room: String,
        users: Vec<User>,
    },
    /// A person left the room at this node.
    Left {
        node: Uuid,
        room: String,
        user_id: Uuid,
    },
    /// A node shuts down: all its people leave.
    Gone { node: Uuid },
    /// A node has started, and does not know yet who is where.
    Started,
    /// A person has read up to an offset.
    Read {
        room: String,
        user_id: Uuid,
        offset: u64,
    },
}

/// The volatile subject of announcements.
pub const SUBJECT: &str = "chat/announcements";

/// A change of who is in a room at other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub room: String,
    pub what: Moved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// A person came, or has another name by now.
    Came(User),
    Left(Uuid),
}

/// The people at other nodes.
#[derive(Debug, Default)]
pub struct Elsewhere(HashMap<String, BTreeMap<Uuid, Present>>);

#[derive(Debug)]
struct Present {
    user: User,
    /// The nodes at which the person is, and when each of them last said so.
    nodes: BTreeMap<Uuid, Instant>,
}

impl Elsewhere {
    /// These people are in a room at a node.
    pub fn here(&mut self, node: Uuid, room: &str, users: Vec<User>, now: Instant) -> Vec<News> {
        let present = self.0.entry(room.to_owned()).or_default();
        let mut news = vec![];
        for user in users {
            let known = present.get(&user.id).map(|present| &present.user);
            if known != Some(&user) {
                news.push(News {
                    room: room.to_owned(),
                    what: Moved::Came(user.clone()),
                });
            }
            let person = present.entry(user.id).or_insert_with(|| Present {
                user: user.clone(),
                nodes: BTreeMap::new(),
            });
            person.user = user;
            person.nodes.insert(node, now);
        }
        news
    }

    /// A person left a room at a node.
    pub fn left(&mut self, node: Uuid, room: &str, user_id: Uuid) -> Vec<News> {
        self.remove(|at, in_room, user, _| at == node && in_room == room && user == user_id)
    }

    /// A node shut down.
    pub fn gone(&mut self, node: Uuid) -> Vec<News> {
        self.remove(|at, _, _, _| at == node)
    }

    /// Forgets whom no node has announced for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<News> {
        self.remove(|_, _, _, heard| now - heard >= FORGOTTEN_AFTER)
    }

    /// The people in a room.
    pub fn in_room(&self, room: &str) -> impl Iterator<Item = &User> {
        let present = self.0.get(room).into_iter().flat_map(BTreeMap::values);
        present.map(|present| &present.user)
    }

    /// The rooms that have people.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Removes the stays that `is_over` names, and the people who have no other.
    fn remove(&mut self, is_over: impl Fn(Uuid, &str, Uuid, Instant) -> bool) -> Vec<News> {
        let mut news = vec![];
        self.0.retain(|room, present| {
            present.retain(|id, person| {
                person
                    .nodes
                    .retain(|node, heard| !is_over(*node, room, *id, *heard));
                let stays = !person.nodes.is_empty();
                if !stays {
                    news.push(News {
                        room: room.clone(),
                        what: Moved::Left(*id),
                    });
                }
                stays
            });
            !present.is_empty()
        });
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "lobby";

    fn user(number: u128, name: &str) -> User {
        User::new(Uuid::from_u128(number), name.into())
    }

    fn came(user: &User) -> News {
        News {
            room: ROOM.into(),
            what: Moved::Came(user.clone()),
        }
    }

    fn left(user: &User) -> News {
        News {
            room: ROOM.into(),
            what: Moved::Left(user.id),
        }
    }

    fn names(elsewhere: &Elsewhere) -> Vec<&str> {
        elsewhere
            .in_room(ROOM)
            .map(|user| user.name.as_str())
            .collect()
    }

    #[test]
    fn a_person_at_two_nodes_is_one_and_leaves_with_the_last() {
        let (mut elsewhere, now) = (Elsewhere::default(), Instant::now());
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        let ada = user(1, "Ada");
        let mut here = |node, users| elsewhere.here(node, ROOM, users, now);
        assert_eq!(here(one, vec![ada.clone()]), [came(&ada)]);
        assert_eq!(here(two, vec![ada.clone()]), []);
        assert_eq!(elsewhere.left(one, ROOM, ada.id), []);
        assert_eq!(elsewhere.left(two, "other", ada.id), []);
        assert_eq!(names(&elsewhere), ["Ada"]);
        assert_eq!(elsewhere.left(two, ROOM, ada.id), [left(&ada)]);
        assert_eq!(elsewhere.left(two, ROOM, ada.id), []);
        assert_eq!(elsewhere.rooms().count(), 0);
    }

    #[test]
    fn a_new_name_is_news() {
        let (mut elsewhere, now) = (Elsewhere::default(), Instant::now());
        let node = Uuid::new_v4();
        let (ada, countess) = (user(1, "Ada"), user(1, "Countess"));
        elsewhere.here(node, ROOM, vec![ada], now);
        let news = elsewhere.here(node, ROOM, vec![countess.clone()], now);
        assert_eq!(news, [came(&countess)]);
        assert_eq!(names(&elsewhere), ["Countess"]);
    }

    #[test]
    fn the_people_of_a_node_leave_with_it_or_when_it_is_silent() {
        let (mut elsewhere, start) = (Elsewhere::default(), Instant::now());
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        let (ada, bob, eve) = (user(1, "Ada"), user(2, "Bob"), user(3, "Eve"));
        elsewhere.here(one, ROOM, vec![ada.clone(), bob.clone()], start);
        elsewhere.here(two, ROOM, vec![bob.clone(), eve.clone()], start);
        assert_eq!(elsewhere.gone(one), [left(&ada)]);
        let renewed = start + RENEW_EVERY;
        elsewhere.here(two, ROOM, vec![bob.clone()], renewed);
        assert_eq!(elsewhere.expire(start + FORGOTTEN_AFTER), [left(&eve)]);
        assert_eq!(names(&elsewhere), ["Bob"]);
        assert_eq!(elsewhere.expire(renewed + FORGOTTEN_AFTER), [left(&bob)]);
    }
}
