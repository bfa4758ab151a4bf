//! Who sends harmful updates, and how often. A document that was broken is made anew and the broken one is left in memory,
//! because there is no safe way to free it: whoever could break documents as often as they like could fill the memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Duration, Instant};

/// Harmful updates that an address may send within [`WINDOW`]. A mistake in somebody's client is not yet an attack.
const TOLERATED: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// Harmful updates by address. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Offenders(Arc<Mutex<HashMap<IpAddr, Vec<Instant>>>>);

impl Offenders {
    /// A harmful update came from here.
    pub fn done_by(&self, address: IpAddr) {
        let mut known = self.known();
        known.retain(|_, times| times.iter().any(is_recent));
        known.entry(address).or_default().push(Instant::now());
    }

    /// Whether there were too many lately.
    pub fn is_shut_out(&self, address: IpAddr) -> bool {
        let recent = |times: &Vec<Instant>| times.iter().filter(|time| is_recent(time)).count();
        self.known().get(&address).map_or(0, recent) > TOLERATED
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(time: &Instant) -> bool {
    time.elapsed() < WINDOW
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_goes_on_is_shut_out_for_a_while() {
        let harm = Offenders::default();
        let [one, other] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
        for _ in 0..TOLERATED {
            harm.done_by(one);
        }
        assert!(!harm.is_shut_out(one));
        harm.done_by(one);
        assert!(harm.is_shut_out(one));
        assert!(!harm.is_shut_out(other));
        tokio::time::advance(WINDOW).await;
        assert!(!harm.is_shut_out(one));
        harm.done_by(other);
        assert_eq!(harm.known().len(), 1, "nobody is remembered for ever");
    }
}
