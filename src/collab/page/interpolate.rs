//! Moves a pointer smoothly between two received positions. Pure.

/// A position on the board, in fractions of its width and height.
pub type Position = (f32, f32);

/// A pointer moves for as long as the time between its last two positions, but at least a tick and never so long that
/// it lags behind. In milliseconds.
const SHORTEST_MS: f64 = 33.0;
const LONGEST_MS: f64 = 120.0;

/// A movement from the displayed position to the newest received one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interpolation {
    from: Position,
    to: Position,
    started: f64,
    duration: f64,
}

impl Interpolation {
    /// A pointer that rests at a position.
    pub fn rest(at: Position, now: f64) -> Self {
        Self {
            from: at,
            to: at,
            started: now,
            duration: 0.0,
        }
    }

    /// Starts a movement from the currently displayed position to a new one.
    pub fn move_to(self, to: Position, now: f64) -> Self {
        Self {
            from: self.position(now),
            to,
            started: now,
            duration: (now - self.started).clamp(SHORTEST_MS, LONGEST_MS),
        }
    }

    /// The position at which the pointer is drawn.
    pub fn position(self, now: f64) -> Position {
        let remaining = self.remaining(now);
        let between = |from: f32, to: f32| to + (from - to) * remaining;
        (
            between(self.from.0, self.to.0),
            between(self.from.1, self.to.1),
        )
    }

    /// The offset of the drawn position from the received one.
    pub fn behind(self, now: f64) -> Position {
        let (x, y) = self.position(now);
        (x - self.to.0, y - self.to.1)
    }

    pub fn is_over(self, now: f64) -> bool {
        self.remaining(now) == 0.0
    }

    /// The remaining part: 1 at the beginning, 0 at the end.
    fn remaining(self, now: f64) -> f32 {
        if self.duration == 0.0 {
            return 0.0;
        }
        // If the clock was set back, the pointer waits at the start of the movement instead of being drawn beyond it.
        (1.0 - (now - self.started) / self.duration).clamp(0.0, 1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_glides_from_where_it_is_shown_and_arrives() {
        let interpolation = Interpolation::rest((0.0, 1.0), 0.0).move_to((1.0, 0.0), 100.0);
        assert_eq!(interpolation.position(100.0), (0.0, 1.0));
        assert_eq!(interpolation.position(150.0), (0.5, 0.5));
        assert_eq!(interpolation.behind(150.0), (-0.5, 0.5));
        assert!(!interpolation.is_over(199.0) && interpolation.is_over(200.0));
        // A new position in the middle of the movement: no jump.
        let again = interpolation.move_to((0.5, 1.0), 150.0);
        assert_eq!(again.position(150.0), (0.5, 0.5));
        assert_eq!(again.position(200.0), (0.5, 1.0));
    }

    #[test]
    fn neither_a_burst_nor_a_rest_makes_it_jump_or_lag() {
        let rested = Interpolation::rest((0.0, 0.0), 0.0).move_to((1.0, 1.0), 60_000.0);
        assert!(rested.is_over(60_000.0 + LONGEST_MS));
        let burst = rested.move_to((0.5, 0.5), 60_000.0);
        assert!(!burst.is_over(60_030.0) && burst.is_over(60_000.0 + SHORTEST_MS));
    }
}
