//! How many streams and sockets one address, or one user, may hold open.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The cap. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct KeyedSemaphore<K: Eq + Hash> {
    most: usize,
    /// A std mutex: it is held for one map operation.
    open: Arc<Mutex<HashMap<K, usize>>>,
}

/// A place taken under the cap; given back on drop.
#[derive(Debug)]
pub struct Permit<K: Eq + Hash = IpAddr> {
    cap: KeyedSemaphore<K>,
    holder: K,
}

impl<K: Clone + Eq + Hash> KeyedSemaphore<K> {
    /// `most` streams and sockets a holder; 0 means any number.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            open: Arc::default(),
        }
    }

    /// Takes a place, or `None` when all of the holder's are taken.
    pub fn enter(&self, holder: K) -> Option<Permit<K>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(holder.clone()).or_default();
        if self.most > 0 && *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Permit {
            cap: self.clone(),
            holder,
        })
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut open = self.cap.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_past_the_cap_is_refused_until_one_is_given_back() {
        let cap = KeyedSemaphore::new(2);
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = cap.enter(here).unwrap();
        let _second = cap.enter(here).unwrap();
        assert!(cap.enter(here).is_none());
        assert!(
            cap.enter(there).is_some(),
            "another address has its own places"
        );
        drop(first);
        assert!(cap.enter(here).is_some());
    }

    #[test]
    fn zero_means_no_cap_and_nothing_is_kept_of_who_left() {
        let cap = KeyedSemaphore::new(0);
        let places: Vec<_> = (0..1_000)
            .map(|_| cap.enter(IpAddr::from([10, 0, 0, 1])).unwrap())
            .collect();
        drop(places);
        assert!(cap.open.lock().unwrap().is_empty());
    }
}
