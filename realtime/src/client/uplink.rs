//! Bounds what a socket hands to the browser: `WebSocket.send` accepts any number of bytes and keeps those that the network
//! does not take. Pure.

use super::outbox::Outbox;

/// The default limit in bytes.
pub(super) const LIMIT_BYTES: u32 = 64 * 1024;
/// The time after which a full uplink is examined again, in milliseconds. The browser has no event for a drained buffer.
const EXAMINE_AGAIN_MS: f64 = 100.0;

/// What to do with the outbox.
#[derive(Debug, PartialEq)]
pub(super) enum Next<C> {
    /// Send this command and ask again.
    Send(C),
    /// Ask again at this time (Unix milliseconds).
    WaitUntil(f64),
    /// Nothing waits for a time.
    Idle,
}

/// Whether something may be sent while the browser holds `buffered` unsent bytes. One message may exceed the limit.
pub(super) fn has_room(buffered: u32, limit: u32) -> bool {
    buffered <= limit
}

/// Takes the next command from the outbox, unless the uplink has no room: then the command stays in it.
pub(super) fn next<C: Clone>(outbox: &mut Outbox<C>, has_room: bool, now: f64) -> Next<C> {
    if !has_room && outbox.is_due(now) {
        return Next::WaitUntil(now + EXAMINE_AGAIN_MS);
    }
    match outbox.take_next(now) {
        Some(command) => Next::Send(command),
        None => outbox.due_at(now).map_or(Next::Idle, Next::WaitUntil),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn outbox() -> Outbox<u32> {
        let mut outbox = Outbox::default();
        for number in 1..=3 {
            let id = Uuid::from_u128(number.into());
            outbox.push(id, "lobby", number).expect("there is room");
        }
        outbox
    }

    #[test]
    fn the_limit_itself_is_not_above_it() {
        assert!(has_room(0, 0) && has_room(LIMIT_BYTES, LIMIT_BYTES));
        assert!(!has_room(1, 0) && !has_room(LIMIT_BYTES + 1, LIMIT_BYTES));
    }

    #[test]
    fn commands_stay_in_the_outbox_while_the_uplink_is_full_and_keep_their_order() {
        let mut outbox = outbox();
        outbox.ready("lobby");
        assert_eq!(next(&mut outbox, true, 0.0), Next::Send(1));
        for now in [0.0, 100.0] {
            assert_eq!(next(&mut outbox, false, now), Next::WaitUntil(now + 100.0));
        }
        assert_eq!(outbox.waiting(), 3);
        assert_eq!(next(&mut outbox, true, 200.0), Next::Send(2));
        assert_eq!(next(&mut outbox, true, 200.0), Next::Send(3));
        assert_eq!(next(&mut outbox, true, 200.0), Next::Idle);
        assert_eq!(next(&mut outbox, false, 200.0), Next::Idle);
    }

    #[test]
    fn nothing_is_examined_again_for_commands_that_could_not_be_sent_anyway() {
        let mut outbox = outbox();
        // The key is not ready.
        assert_eq!(next(&mut outbox, false, 0.0), Next::Idle);
        outbox.ready("lobby");
        outbox.take_next(0.0);
        outbox.refused(Uuid::from_u128(1), 0.0, 5_000.0, true);
        // The server asked to wait.
        assert_eq!(next(&mut outbox, false, 0.0), Next::WaitUntil(5_000.0));
        assert_eq!(next(&mut outbox, true, 5_000.0), Next::Send(1));
        // One command at a time.
        assert_eq!(next(&mut outbox, true, 5_000.0), Next::WaitUntil(10_000.0));
    }
}
