//! Tests of a driver with credentials, on a transport that opens nothing and on a paused clock.

use std::{future::pending, time::Duration};

use futures::channel::oneshot;

use super::{
    platform::{after, scripted::World, spawn},
    *,
};
use crate::{
    backoff::Backoff,
    close::{CloseCode, reason},
    status::{Liveness, LostReason},
};

/// Records the credential of each attempt that gets as far as opening.
struct Recorder {
    opened: Rc<RefCell<Vec<Credential>>>,
    opening: Option<Task>,
    pings: Rc<Cell<u32>>,
}

impl Transport for Recorder {
    fn open(&mut self, driver: &Driver) {
        let opened = self.opened.clone();
        self.opening = driver.authorize(move |_, credential| {
            opened.borrow_mut().extend(credential.cloned());
        });
    }

    fn abandon(&mut self) {
        self.opening = None;
    }

    fn ping(&mut self, _now: f64) {
        self.pings.set(self.pings.get() + 1);
    }

    fn url(&self) -> String {
        "/api/events".into()
    }
}

/// A connection whose attempts obtain the tickets 1, 2, 3 and so on, each with `obtain`.
struct Page {
    driver: Driver,
    connection: Connection,
    obtained: Rc<Cell<u32>>,
    opened: Rc<RefCell<Vec<Credential>>>,
    /// How often the session of the application was renewed.
    renewed: Rc<Cell<u32>>,
    pings: Rc<Cell<u32>>,
    _owner: Owner,
}

fn ticket(number: u32) -> Credential {
    Credential::Query {
        name: "ticket".into(),
        value: number.to_string(),
    }
}

impl Page {
    fn new<F>(obtain: impl Fn(u32) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Credential, String>> + 'static,
    {
        Self::with(Liveness::Ping, obtain)
    }

    fn with<F>(liveness: Liveness, obtain: impl Fn(u32) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Credential, String>> + 'static,
    {
        let owner = Owner::new();
        let (obtained, opened, renewed) = (Rc::default(), Rc::default(), Rc::default());
        let pings = Rc::<Cell<u32>>::default();
        let (count, renewals) = (Rc::clone(&obtained), SendWrapper::new(Rc::clone(&renewed)));
        let credentials = Credentials::new(move || {
            let count: &Cell<u32> = &count;
            count.set(count.get() + 1);
            obtain(count.get())
        });
        let transport = Box::new(Recorder {
            opened: Rc::clone(&opened),
            opening: None,
            pings: pings.clone(),
        });
        let policy = Policy {
            backoff: Backoff::DEFAULT,
            liveness,
            max_attempts: None,
        };
        let (driver, connection) = owner.with(|| {
            ClientConfig::default()
                .renew_session_with(move || {
                    let renewals: &Cell<u32> = &renewals;
                    renewals.set(renewals.get() + 1);
                    async { Renewal::Renewed }
                })
                .provide();
            let signals = Signals::new();
            let driver = signals.driver(policy, Some(credentials), transport);
            (driver, signals.connection())
        });
        driver.feed(Input::Wanted);
        Self {
            driver,
            connection,
            obtained,
            opened,
            renewed,
            pings,
            _owner: owner,
        }
    }

    fn status(&self) -> ConnectionStatus {
        self.connection.status.get_untracked()
    }

    /// Why the connection waits for its next attempt; `None` if it does not wait.
    fn waits_because(&self) -> Option<LostReason> {
        match self.status() {
            ConnectionStatus::Waiting { reason, .. } => Some(reason),
            _ => None,
        }
    }

    fn closed(&self, code: CloseCode, reason: &str) {
        let (code, reason) = (code.code(), reason.to_owned());
        self.driver.feed(Input::SocketClosed { code, reason });
    }

    fn greeted(&self) {
        let heartbeat_ms = 3_600_000;
        self.driver.feed(Input::Greeted { heartbeat_ms });
    }
}

/// Runs `test` where tasks of the thread run, on a clock that advances whenever all of them wait.
fn run(test: impl Future<Output = ()> + 'static) {
    let world = World::begin();
    let ended = Rc::new(Cell::new(false));
    let ends = ended.clone();
    spawn(Box::pin(async move {
        test.await;
        ends.set(true);
    }));
    while !ended.get() {
        world.advance(1);
    }
    World::end();
}

/// Lets every task run that can run without the clock.
async fn settle() {
    sleep(Duration::ZERO).await;
}

async fn sleep(time: Duration) {
    let (wake, woken) = oneshot::channel();
    after(time.as_millis() as u32, move || {
        let _ = wake.send(());
    });
    let _ = woken.await;
}

async fn obtain(number: u32) -> Result<Credential, String> {
    Ok(ticket(number))
}

#[test]
fn each_attempt_obtains_a_credential_of_its_own() {
    run(async {
        let page = Page::new(obtain);
        settle().await;
        assert_eq!(*page.opened.borrow(), [ticket(1)]);
        page.greeted();
        page.closed(CloseCode::ServerError, "");
        assert!(page.waits_because().is_some());
        assert_eq!(
            page.obtained.get(),
            1,
            "none is obtained before its attempt"
        );
        sleep(Duration::from_secs(2)).await;
        assert_eq!(*page.opened.borrow(), [ticket(1), ticket(2)]);
        assert_eq!(page.renewed.get(), 0);
    });
}

#[test]
fn a_refusal_that_a_new_session_would_mend_obtains_the_next_credential_at_once_and_only_once() {
    run(async {
        let page = Page::new(obtain);
        settle().await;
        page.closed(CloseCode::Session, reason::EXPIRED);
        settle().await;
        assert_eq!(*page.opened.borrow(), [ticket(1), ticket(2)]);
        page.closed(CloseCode::Session, reason::EXPIRED);
        settle().await;
        assert_eq!(page.obtained.get(), 2, "the third attempt waits");
        assert!(page.waits_because().is_some());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(*page.opened.borrow(), [ticket(1), ticket(2), ticket(3)]);
        assert_eq!(page.renewed.get(), 0, "credentials replace the session");
    });
}

#[test]
fn an_error_is_the_reason_why_the_connection_waits() {
    run(async {
        let page = Page::new(async |number| match number {
            1 => Err("The ticket office is closed.".to_owned()),
            _ => Ok(ticket(number)),
        });
        settle().await;
        let error = "The ticket office is closed.".to_owned();
        let failed = LostReason::CredentialsFailed { error };
        assert_eq!(page.waits_because(), Some(failed));
        assert_eq!(*page.opened.borrow(), []);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(*page.opened.borrow(), [ticket(2)]);
    });
}

#[test]
fn a_credential_that_does_not_arrive_within_ten_seconds_is_a_failed_attempt() {
    run(async {
        let page = Page::new(async |number| match number {
            1 => pending().await,
            _ => Ok(ticket(number)),
        });
        sleep(Duration::from_millis(9_900)).await;
        let connecting = ConnectionStatus::Connecting { attempt: 0 };
        assert_eq!(page.status(), connecting);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(page.waits_because(), Some(LostReason::NoAnswer));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(*page.opened.borrow(), [ticket(2)]);
    });
}

#[test]
fn a_credential_that_arrives_after_its_attempt_was_abandoned_opens_nothing() {
    run(async {
        let page = Page::new(async |number| {
            sleep(Duration::from_secs(1)).await;
            Ok(ticket(number))
        });
        settle().await;
        assert_eq!(page.obtained.get(), 1);
        page.driver.feed(Input::Unwanted);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(*page.opened.borrow(), []);
        assert_eq!(page.status(), ConnectionStatus::Closed);
        page.driver.feed(Input::Wanted);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(*page.opened.borrow(), [ticket(2)]);
    });
}

#[test]
fn frames_leave_the_timer_as_it_is_and_silence_is_noticed_all_the_same() {
    let world = World::begin();
    let page = Page::with(Liveness::Heartbeat, obtain);
    world.settle();
    let heartbeat_ms = 10_000;
    page.driver.feed(Input::Greeted { heartbeat_ms });
    let timers = world.timers();
    assert_eq!(timers.len(), 1);
    for _ in 0..20 {
        world.advance(1_000);
        page.driver.feed(Input::Frame);
    }
    assert_eq!(world.timers(), timers);
    // Two and a half heartbeats after the last frame, which is long after the timer of the beginning.
    world.advance(24_999);
    assert_eq!(page.status(), ConnectionStatus::Open);
    world.advance(1);
    assert_eq!(page.waits_because(), Some(LostReason::HeartbeatStopped));
    World::end();
}

#[test]
fn a_ping_that_is_overdue_after_a_sleep_goes_out_with_the_next_frame() {
    let world = World::begin();
    let page = Page::new(obtain);
    world.settle();
    let heartbeat_ms = 30_000;
    page.driver.feed(Input::Greeted { heartbeat_ms });
    world.advance(1_000);
    world.sleep(44_000);
    assert_eq!(page.pings.get(), 0, "timers stood still");
    page.driver.feed(Input::Frame);
    world.advance(0);
    assert_eq!(page.pings.get(), 1);
    World::end();
}
