//! Claims within one process: the first caller wins.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::bus::CLAIM_LIFETIME;

/// The claimed keys. A std mutex: it is held for map operations only, and a panic leaves the map intact.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<String, Instant>>);

impl Claims {
    /// Whether this is the first claim of a key within [`CLAIM_LIFETIME`].
    pub fn claim(&self, key: &str) -> bool {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let counts = |at: &Instant| now - *at < CLAIM_LIFETIME;
        if claims.len() == claims.capacity() {
            claims.retain(|_, at| counts(at));
        }
        if claims.get(key).is_some_and(counts) {
            return false;
        }
        claims.insert(key.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_claim_wins_for_as_long_as_it_counts() {
        let claims = Claims::default();
        assert!(claims.claim("a") && claims.claim("b"));
        assert!(!claims.claim("a"));
        tokio::time::advance(CLAIM_LIFETIME).await;
        assert!(claims.claim("a"));
    }
}
