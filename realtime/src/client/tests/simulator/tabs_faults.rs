//! What goes wrong around the tabs of a browser.

use super::world::Random;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Publish,
    /// The server sends its newest event again.
    Repeat,
    /// The stream of a tab is cut.
    Cut,
    /// It delivers nothing more, and does not end.
    Dead,
    /// It delivers nothing for a time, then everything.
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
    /// The session ends, and with it all streams.
    Expire,
    /// The server refuses streams for a time.
    Refuse,
    Open,
    Close,
    Hide,
    /// The page of a tab is hidden into the back-forward cache for a time.
    Leave,
    Retry,
    SetClock,
    /// The browser freezes a tab for a time, most often the leader.
    Freeze,
    /// The computer sleeps.
    Sleep,
}

impl Fault {
    pub fn any(random: &mut Random, freezes: bool) -> Self {
        use Fault::*;
        const ALL: [Fault; 25] = [
            Publish,
            Publish,
            Publish,
            Publish,
            Publish,
            Repeat,
            Cut,
            Cut,
            Dead,
            Stall,
            Swallow,
            Offline,
            FalselyOffline,
            Drain,
            Drain,
            Kill,
            Kill,
            Expire,
            Refuse,
            Open,
            Close,
            Close,
            Hide,
            Leave,
            Retry,
        ];
        match random.between(0..=19) {
            0 => SetClock,
            1..=3 if freezes => Freeze,
            4 if freezes => Sleep,
            _ => ALL[random.index(ALL.len())],
        }
    }
}
