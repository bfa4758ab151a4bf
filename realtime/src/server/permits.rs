//! Limits the streams and sockets that one address, or one user, may hold open.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// A semaphore with a count for each key. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct KeyedSemaphore<K: Eq + Hash> {
    max_per_key: usize,
    /// A std mutex: it is held for one map operation.
    open: Arc<Mutex<HashMap<K, usize>>>,
}

/// A permit for one stream or socket; released on drop.
#[derive(Debug)]
pub struct Permit<K: Eq + Hash = IpAddr> {
    semaphore: KeyedSemaphore<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> KeyedSemaphore<K> {
    /// Allows `max_per_key` streams and sockets for each key; 0 means no limit.
    pub fn new(max_per_key: usize) -> Self {
        Self {
            max_per_key,
            open: Arc::default(),
        }
    }

    /// Acquires a permit; `None` when the key already has all of its permits.
    pub fn enter(&self, key: K) -> Option<Permit<K>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.clone()).or_default();
        if self.max_per_key > 0 && *count >= self.max_per_key {
            return None;
        }
        *count += 1;
        Some(Permit {
            semaphore: self.clone(),
            key,
        })
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut open = self
            .semaphore
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_over_the_limit_is_refused_until_one_is_released() {
        let semaphore = KeyedSemaphore::new(2);
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = semaphore.enter(here).unwrap();
        let _second = semaphore.enter(here).unwrap();
        assert!(semaphore.enter(here).is_none());
        assert!(
            semaphore.enter(there).is_some(),
            "another address has its own permits"
        );
        drop(first);
        assert!(semaphore.enter(here).is_some());
    }

    #[test]
    fn zero_means_no_limit_and_released_keys_are_not_kept() {
        let semaphore = KeyedSemaphore::new(0);
        let permits: Vec<_> = (0..1_000)
            .map(|_| semaphore.enter(IpAddr::from([10, 0, 0, 1])).unwrap())
            .collect();
        drop(permits);
        assert!(semaphore.open.lock().unwrap().is_empty());
    }
}
