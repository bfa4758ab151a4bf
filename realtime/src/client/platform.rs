//! The clock, the random numbers and the timers of the browser. In the kit's unit tests they are those of tokio, so that a driver
//! runs natively and on a paused clock.

#[cfg(not(test))]
pub(super) use browser::{Timer, now, random};
#[cfg(test)]
pub(super) use native::{Timer, now, random};

#[cfg(not(test))]
mod browser {
    use gloo_timers::callback::Timeout;

    /// A timer. Dropping it cancels it.
    pub struct Timer(Timeout);

    impl Timer {
        pub fn new(wait_ms: u32, callback: impl FnOnce() + 'static) -> Self {
            Self(Timeout::new(wait_ms, callback))
        }

        /// Lets the timer run although nothing holds it.
        pub fn forget(self) {
            self.0.forget();
        }
    }

    /// The current time in Unix milliseconds. The monotonic clock would not do: it stops while a laptop sleeps, but connections
    /// time out nevertheless.
    pub fn now() -> f64 {
        js_sys::Date::now()
    }

    /// A random number from 0.0 up to but not including 1.0.
    pub fn random() -> f64 {
        js_sys::Math::random()
    }
}

#[cfg(test)]
mod native {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use crate::client::task::Task;

    pub struct Timer(Task);

    impl Timer {
        pub fn new(wait_ms: u32, callback: impl FnOnce() + 'static) -> Self {
            Self(Task::spawn(async move {
                sleep(Duration::from_millis(wait_ms.into())).await;
                callback();
            }))
        }

        pub fn forget(self) {
            std::mem::forget(self.0);
        }
    }

    thread_local! {
        static STARTED: Instant = Instant::now();
    }

    /// Milliseconds since the thread first asked.
    pub fn now() -> f64 {
        STARTED.with(|started| started.elapsed().as_secs_f64() * 1_000.0)
    }

    pub fn random() -> f64 {
        0.5
    }
}
