//! What clients do: how many there are, in which rooms, and how much they write, read, come and go.

/// Rooms of one size.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    pub name: &'static str,
    pub size: Size,
    /// The part of all connections that is in such rooms.
    pub part: f64,
    /// Messages a second in each room.
    pub messages: f64,
}

#[derive(Clone, Copy, Debug)]
pub enum Size {
    Members(f64),
    /// A single room with everybody of this part.
    Everybody,
}

#[derive(Clone, Debug)]
pub struct Load {
    pub connections: f64,
    pub rooms: Vec<Rooms>,
    /// The part of the members who have the room in view, and send a read mark after each message.
    pub looking: f64,
    /// How long a member stays.
    pub stay_seconds: f64,
    /// Typing notices for each message.
    pub typing: f64,
    /// Ticks of prices a second, each in one message to all nodes.
    pub ticks: f64,
}

/// A page sends a read mark 300 ms after a message came into view (`src/chat/page/chat.rs`).
pub const MARKS_A_SECOND: f64 = 1.0 / 0.3;
/// A node saves the marks that moved once a second (`src/chat/server/rooms.rs`).
pub const SAVES_A_SECOND: f64 = 1.0;

impl Load {
    /// Everybody is in one room. Most rooms are small, and a twentieth of all people are in a single one.
    pub fn of(connections: f64) -> Self {
        let rooms = |name, size, part, messages| Rooms {
            name,
            size,
            part,
            messages,
        };
        Self {
            connections,
            rooms: vec![
                rooms("rooms of 10", Size::Members(10.0), 0.5, 0.1),
                rooms("rooms of 100", Size::Members(100.0), 0.3, 0.2),
                rooms("rooms of 1,000", Size::Members(1_000.0), 0.15, 0.5),
                rooms("the huge room", Size::Everybody, 0.05, 1.0),
            ],
            looking: 0.2,
            stay_seconds: 600.0,
            typing: 1.0,
            ticks: 2.0,
        }
    }

    /// The load of `make bench-cluster`: nobody reads, types, comes or goes.
    pub fn of_the_benchmark() -> Self {
        Self {
            connections: 240.0,
            rooms: vec![Rooms {
                name: "rooms of 60",
                size: Size::Members(60.0),
                part: 1.0,
                messages: 25.0,
            }],
            looking: 0.0,
            stay_seconds: f64::INFINITY,
            typing: 0.0,
            ticks: 0.0,
        }
    }

    pub fn size(&self, rooms: &Rooms) -> f64 {
        match rooms.size {
            Size::Members(members) => members,
            Size::Everybody => rooms.part * self.connections,
        }
    }

    /// How many rooms of a size there are.
    pub fn count(&self, rooms: &Rooms) -> f64 {
        rooms.part * self.connections / self.size(rooms)
    }
}
