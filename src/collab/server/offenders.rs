//! Counts harmful updates by address. A broken document is loaded again, and the broken one is leaked, because there is
//! no safe way to free it. Without a bound, an attacker could fill the memory by breaking documents.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Duration, Instant};

/// The number of harmful updates that an address may send within [`WINDOW`]. A bug in a client is not yet an attack.
const TOLERATED: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// Harmful updates by address. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Offenders(Arc<Mutex<HashMap<IpAddr, Vec<Instant>>>>);

impl Offenders {
    /// Records a harmful update from this address.
    pub fn record(&self, address: IpAddr) {
        let mut known = self.known();
        known.retain(|_, times| times.iter().any(is_recent));
        known.entry(address).or_default().push(Instant::now());
    }

    /// Whether this address sent too many recently.
    pub fn is_blocked(&self, address: IpAddr) -> bool {
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
    async fn an_address_that_goes_on_is_blocked_for_a_while() {
        let offenders = Offenders::default();
        let [one, other] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
        for _ in 0..TOLERATED {
            offenders.record(one);
        }
        assert!(!offenders.is_blocked(one));
        offenders.record(one);
        assert!(offenders.is_blocked(one));
        assert!(!offenders.is_blocked(other));
        tokio::time::advance(WINDOW).await;
        assert!(!offenders.is_blocked(one));
        offenders.record(other);
        assert_eq!(offenders.known().len(), 1, "nobody is remembered for ever");
    }
}
