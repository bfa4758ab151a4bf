//! How a pointer moves between two places that it was seen at. Pure.

/// A place on the board in parts of its width and height.
pub type Place = (f32, f32);

/// A pointer glides for as long as it took to hear of its new place, at least a tick and never so long that it lags behind, in
/// milliseconds.
const SHORTEST_MS: f64 = 33.0;
const LONGEST_MS: f64 = 120.0;

/// A way from where a pointer is shown to where it was seen last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glide {
    from: Place,
    to: Place,
    began: f64,
    lasts: f64,
}

impl Glide {
    /// Rests at a place.
    pub fn rest(at: Place, now: f64) -> Self {
        Self {
            from: at,
            to: at,
            began: now,
            lasts: 0.0,
        }
    }

    /// Goes on to a new place from wherever it is shown now.
    pub fn aim(self, to: Place, now: f64) -> Self {
        Self {
            from: self.place(now),
            to,
            began: now,
            lasts: (now - self.began).clamp(SHORTEST_MS, LONGEST_MS),
        }
    }

    /// Where it is shown.
    pub fn place(self, now: f64) -> Place {
        let left = self.left(now);
        let between = |from: f32, to: f32| to + (from - to) * left;
        (
            between(self.from.0, self.to.0),
            between(self.from.1, self.to.1),
        )
    }

    /// How far it is shown from where it was seen last.
    pub fn behind(self, now: f64) -> Place {
        let (x, y) = self.place(now);
        (x - self.to.0, y - self.to.1)
    }

    pub fn is_over(self, now: f64) -> bool {
        self.left(now) == 0.0
    }

    /// 1 at the beginning, 0 at the end.
    fn left(self, now: f64) -> f32 {
        if self.lasts == 0.0 {
            return 0.0;
        }
        // A clock that was set back begins it anew rather than ending it never.
        (1.0 - (now - self.began) / self.lasts).clamp(0.0, 1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_glides_from_where_it_is_shown_and_arrives() {
        let glide = Glide::rest((0.0, 1.0), 0.0).aim((1.0, 0.0), 100.0);
        assert_eq!(glide.place(100.0), (0.0, 1.0));
        assert_eq!(glide.place(150.0), (0.5, 0.5));
        assert_eq!(glide.behind(150.0), (-0.5, 0.5));
        assert!(!glide.is_over(199.0) && glide.is_over(200.0));
        // A new place in the middle of the way: no jump.
        let again = glide.aim((0.5, 1.0), 150.0);
        assert_eq!(again.place(150.0), (0.5, 0.5));
        assert_eq!(again.place(200.0), (0.5, 1.0));
    }

    #[test]
    fn neither_a_burst_nor_a_rest_makes_it_jump_or_lag() {
        let rested = Glide::rest((0.0, 0.0), 0.0).aim((1.0, 1.0), 60_000.0);
        assert!(rested.is_over(60_000.0 + LONGEST_MS));
        let burst = rested.aim((0.5, 0.5), 60_000.0);
        assert!(!burst.is_over(60_030.0) && burst.is_over(60_000.0 + SHORTEST_MS));
    }
}
