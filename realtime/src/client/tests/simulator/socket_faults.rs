//! What goes wrong around a socket.

use super::world::Random;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Others send messages.
    Others,
    Cut,
    /// The connection delivers nothing more, and does not close.
    Dead,
    /// The connection delivers nothing for a time, then everything.
    Stall,
    /// The network swallows everything for a time.
    Swallow,
    /// There is no network for a time, and the browser knows.
    Offline,
    /// The browser believes for a time that there is no network.
    FalselyOffline,
    Drain,
    /// The server ends without a word.
    Kill,
    /// The server closes all sockets for a reason that a client comes back from.
    Close,
    Expire,
    /// The server refuses commands for a time.
    Refuse,
    Truncate,
    ForgetJoins,
    Skip,
    Repeat,
    /// The browser's buffer is full for a time.
    Full,
    /// The computer or the page sleeps.
    Sleep,
    SetClock,
    Hide,
    /// The page is hidden into the back-forward cache for a time.
    Leave,
    Retry,
    Reconnect,
}

impl Fault {
    pub fn any(random: &mut Random) -> Self {
        use Fault::*;
        const ALL: [Fault; 32] = [
            Others,
            Others,
            Others,
            Others,
            Others,
            Others,
            Cut,
            Cut,
            Cut,
            Dead,
            Dead,
            Stall,
            Swallow,
            Offline,
            FalselyOffline,
            Drain,
            Drain,
            Kill,
            Kill,
            Close,
            Expire,
            Refuse,
            Refuse,
            Truncate,
            ForgetJoins,
            Skip,
            Repeat,
            Full,
            Sleep,
            SetClock,
            Hide,
            Leave,
        ];
        match random.between(0..=19) {
            0 => Retry,
            1 => Reconnect,
            _ => ALL[random.index(ALL.len())],
        }
    }
}
