//! Every transition of the state machine.

use super::*;

const STREAM: Policy = Policy {
    backoff: Backoff::DEFAULT,
    liveness: Liveness::Heartbeat,
    max_attempts: None,
};
const SOCKET: Policy = Policy {
    liveness: Liveness::Ping,
    ..STREAM
};

/// What follows when a stream fell silent.
const SILENT: [Action; 2] = [Action::Abandon, Action::DropKept];

/// The machine with a clock; random is always 1.0, so delays are the longest.
struct Run {
    machine: Machine,
    now: f64,
}

impl Run {
    fn new(policy: Policy) -> Self {
        Self {
            machine: Machine::new(policy),
            now: 1_000_000.0,
        }
    }

    fn open(policy: Policy) -> Self {
        let mut run = Self::new(policy);
        assert_eq!(run.feed(Input::Wanted), [Action::Open]);
        run.feed(Input::TransportOpen);
        run.feed(Input::Greeted {
            heartbeat_ms: 15_000,
        });
        assert_eq!(*run.machine.status(), ConnectionStatus::Open);
        run
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        self.machine.step(input, self.now, 1.0)
    }

    fn after(&mut self, ms: f64) -> &mut Self {
        self.now += ms;
        self
    }

    /// Goes to the deadline and fires the timer; says how long that took.
    fn fire(&mut self) -> (f64, Vec<Action>) {
        let deadline = self.machine.deadline().expect("a timer is set");
        let waited = deadline - self.now;
        self.now = deadline;
        (waited, self.feed(Input::Timer))
    }

    fn waiting(&self) -> Option<(u32, f64)> {
        match self.machine.status() {
            ConnectionStatus::Waiting {
                attempt, retry_at, ..
            } => Some((*attempt, retry_at - self.now)),
            _ => None,
        }
    }

    fn stopped(&self) -> &str {
        match self.machine.status() {
            ConnectionStatus::Stopped { reason } => reason,
            other => panic!("not stopped but {other:?}"),
        }
    }
}

fn closed(code: u16, reason: &str) -> Input {
    Input::SocketClosed {
        code,
        reason: reason.to_owned(),
    }
}

fn probed(status: u16) -> Input {
    Input::Probed {
        status: Some(status),
        retry_after_ms: None,
    }
}

#[test]
fn a_wanted_connection_is_open_only_once_it_is_greeted() {
    let mut run = Run::new(STREAM);
    assert_eq!(*run.machine.status(), ConnectionStatus::Closed);
    assert_eq!(run.machine.deadline(), None);
    assert_eq!(run.feed(Input::Wanted), [Action::Open]);
    run.feed(Input::TransportOpen);
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Connecting { attempt: 0 }
    );
    run.feed(Input::Greeted {
        heartbeat_ms: 15_000,
    });
    assert_eq!(*run.machine.status(), ConnectionStatus::Open);
}

#[test]
fn an_attempt_without_a_greeting_fails_after_ten_seconds() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::TransportOpen);
    assert_eq!(run.fire(), (10_000.0, SILENT.to_vec()));
    assert_eq!(run.waiting(), Some((1, 1_000.0)));
}

#[test]
fn a_stream_that_breaks_is_abandoned_at_once_and_retried_after_the_delay() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.feed(Input::StreamError), [Action::Abandon]);
    assert_eq!(run.waiting(), Some((1, 1_000.0)));
    assert_eq!(run.fire(), (1_000.0, vec![Action::Open]));
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Connecting { attempt: 1 }
    );
}

#[test]
fn delays_double_up_to_the_cap_of_a_watched_page() {
    let mut run = Run::open(SOCKET);
    let mut delays = vec![];
    for _ in 0..5 {
        run.feed(closed(1006, ""));
        delays.push(run.fire().0);
    }
    assert_eq!(delays, [1_000.0, 2_000.0, 4_000.0, 5_000.0, 5_000.0]);
}

#[test]
fn a_hidden_page_waits_longer() {
    let mut run = Run::open(SOCKET);
    run.feed(Input::Visible(false));
    let mut delays = vec![];
    for _ in 0..6 {
        run.feed(closed(1006, ""));
        delays.push(run.fire().0);
    }
    assert_eq!(
        delays,
        [1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0, 30_000.0]
    );
}

#[test]
fn the_counter_falls_back_only_after_ten_seconds_of_standing() {
    let mut run = Run::open(SOCKET);
    let delay_after_standing = |run: &mut Run, ms: f64| {
        run.after(ms).feed(closed(1006, ""));
        let (delay, _) = run.fire();
        run.feed(Input::Greeted {
            heartbeat_ms: 30_000,
        });
        delay
    };
    assert_eq!(delay_after_standing(&mut run, 0.0), 1_000.0);
    assert_eq!(delay_after_standing(&mut run, 9_999.0), 2_000.0);
    assert_eq!(delay_after_standing(&mut run, 9_999.0), 4_000.0);
    assert_eq!(delay_after_standing(&mut run, 10_000.0), 1_000.0);
}

#[test]
fn a_stream_silent_for_two_and_a_half_beats_is_dead() {
    let mut run = Run::open(STREAM);
    run.after(30_000.0).feed(Input::Frame);
    assert_eq!(run.fire(), (37_500.0, SILENT.to_vec()));
    assert!(run.waiting().is_some());
}

#[test]
fn a_timer_that_fires_early_does_nothing() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.after(37_499.0).feed(Input::Timer), []);
    assert_eq!(*run.machine.status(), ConnectionStatus::Open);
}

#[test]
fn a_socket_pings_every_interval_however_busy_it_is() {
    let mut run = Run::open(SOCKET);
    run.after(14_000.0).feed(Input::Frame);
    assert_eq!(run.fire(), (1_000.0, vec![Action::Ping]));
    run.after(10.0).feed(Input::Pong);
    assert_eq!(run.fire(), (14_990.0, vec![Action::Ping]));
}

#[test]
fn a_pong_five_seconds_overdue_is_death() {
    let mut run = Run::open(SOCKET);
    run.fire();
    assert_eq!(run.fire(), (5_000.0, vec![Action::Abandon]));
    assert!(run.waiting().is_some());
}

#[test]
fn a_pong_behind_a_backlog_is_no_death_while_frames_arrive() {
    let mut run = Run::open(SOCKET);
    run.fire();
    run.after(4_000.0).feed(Input::Frame);
    assert_eq!(run.after(4_000.0).feed(Input::Timer), []);
    assert_eq!(run.fire(), (1_000.0, vec![Action::Abandon]));
}

#[test]
fn a_refused_stream_is_asked_why() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    assert_eq!(
        run.feed(Input::StreamError),
        [Action::Abandon, Action::Probe]
    );
    assert_eq!(
        run.feed(Input::StreamError),
        [],
        "an error after the probe began is the old one"
    );
    assert_eq!(run.feed(probed(502)), [Action::Abandon]);
    assert_eq!(run.waiting(), Some((1, 1_000.0)));
}

#[test]
fn what_the_probe_found_decides() {
    let outcome = |status| {
        let mut run = Run::new(STREAM);
        run.feed(Input::Wanted);
        run.feed(Input::StreamError);
        run.feed(probed(status));
        run
    };
    assert_eq!(*outcome(204).machine.status(), ConnectionStatus::Closed);
    for status in [400, 403, 404] {
        assert!(!outcome(status).stopped().is_empty());
    }
    for status in [200, 429, 500, 503] {
        assert!(outcome(status).waiting().is_some(), "{status}");
    }
}

#[test]
fn a_probe_that_never_answers_is_given_up() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::StreamError);
    assert_eq!(run.fire().0, 10_000.0);
    assert!(run.waiting().is_some());
    assert_eq!(
        run.feed(probed(404)),
        [],
        "an answer that comes later changes nothing"
    );
    assert!(run.waiting().is_some());
}

#[test]
fn retry_after_is_the_floor_of_one_delay() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::StreamError);
    run.feed(Input::Probed {
        status: Some(429),
        retry_after_ms: Some(7_000),
    });
    assert_eq!(run.fire(), (7_000.0, vec![Action::Open]));
    run.feed(Input::StreamError);
    run.feed(probed(500));
    assert_eq!(run.fire().0, 2_000.0);
}

#[test]
fn an_expired_session_is_renewed_once() {
    for (policy, expired) in [(STREAM, probed(401)), (SOCKET, closed(4001, "expired"))] {
        let mut run = Run::new(policy);
        // A socket is told by its close; a stream has to be asked.
        let refuse = |run: &mut Run| {
            if policy.liveness == Liveness::Heartbeat {
                run.feed(Input::StreamError);
            }
            run.feed(expired.clone())
        };
        run.feed(Input::Wanted);
        assert!(refuse(&mut run).contains(&Action::RenewSession));
        assert_eq!(run.feed(Input::SessionRenewed(true)), [Action::Open]);
        refuse(&mut run);
        assert!(
            run.waiting().is_some(),
            "the second refusal waits instead of asking again"
        );
    }
}

#[test]
fn a_session_that_cannot_be_renewed_waits() {
    let mut run = Run::open(SOCKET);
    for _ in 0..3 {
        assert!(
            run.feed(closed(4001, "expired"))
                .contains(&Action::RenewSession)
        );
        run.feed(Input::SessionRenewed(false));
        assert!(run.waiting().is_some());
        // And asks again the next time: the request may have been lost on the way.
        assert_eq!(run.fire().1, [Action::Open]);
    }
}

#[test]
fn who_is_waited_for_waits_as_if_somebody_looked_and_no_shorter_than_the_server_asked() {
    let mut run = Run::open(STREAM);
    run.feed(Input::Visible(false));
    for _ in 0..8 {
        run.feed(Input::StreamError);
        run.fire();
        run.feed(Input::TransportOpen);
    }
    run.feed(Input::StreamError);
    let (_, hidden) = run.waiting().unwrap();
    assert_eq!(run.feed(Input::WaitedFor), []);
    let (attempt, looked_at) = run.waiting().unwrap();
    assert!(looked_at < hidden, "{looked_at} {hidden}");
    assert!(attempt > 8, "it goes on counting");
    // Its own timer is late, as in the background: the next one who waits wakes it.
    run.after(looked_at);
    assert_eq!(run.feed(Input::WaitedFor), [Action::Open]);

    // What can be had is tried at once, and what fails then waits longer than before.
    run.feed(Input::TransportOpen);
    run.feed(Input::StreamError);
    assert_eq!(run.feed(Input::Reachable), [Action::Open]);
    run.feed(Input::TransportOpen);
    run.feed(Input::StreamError);
    assert!(run.waiting().unwrap().0 > attempt);

    let mut run = Run::open(STREAM);
    run.feed(Input::Drain { retry_ms: 4_000 });
    run.feed(Input::StreamError);
    assert_eq!(run.feed(Input::WaitedFor), []);
    assert!(run.waiting().unwrap().1 >= 4_000.0);
}

#[test]
fn stop_codes_stop_and_say_why() {
    for (code, reason) in [
        (1008, ""),
        (1009, ""),
        (4001, "signed_out"),
        (4001, "none"),
        (4003, ""),
        (4004, ""),
    ] {
        let mut run = Run::open(SOCKET);
        assert_eq!(run.feed(closed(code, reason)), [Action::Abandon]);
        assert!(run.stopped().ends_with('.'), "{code}");
        assert_eq!(run.machine.deadline(), None);
    }
}

#[test]
fn a_normal_close_stays_closed() {
    let mut run = Run::open(SOCKET);
    run.feed(closed(1000, ""));
    assert_eq!(*run.machine.status(), ConnectionStatus::Closed);
}

#[test]
fn an_unknown_protocol_reloads_the_page() {
    let mut run = Run::open(SOCKET);
    assert_eq!(
        run.feed(closed(4010, "")),
        [Action::Abandon, Action::Reload]
    );
    assert!(run.stopped().contains("older"));
}

#[test]
fn a_drain_sets_the_floor_of_the_first_delay_only() {
    let mut run = Run::open(SOCKET);
    run.feed(Input::Drain { retry_ms: 4_321 });
    run.feed(closed(1012, ""));
    assert_eq!(run.fire().0, 4_321.0);
    run.feed(closed(1006, ""));
    assert_eq!(run.fire().0, 2_000.0);
}

#[test]
fn a_finished_stream_never_comes_back() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.feed(Input::Finished), [Action::Abandon]);
    for input in [
        Input::StreamError,
        Input::Online(true),
        Input::Visible(true),
        Input::PageShown,
        Input::Timer,
    ] {
        assert_eq!(run.feed(input), []);
        assert_eq!(*run.machine.status(), ConnectionStatus::Closed);
    }
}

#[test]
fn no_attempt_is_spent_while_offline() {
    let mut run = Run::open(STREAM);
    run.feed(Input::Online(false));
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Open,
        "an open connection may well live on"
    );
    run.feed(Input::StreamError);
    assert_eq!(*run.machine.status(), ConnectionStatus::Offline);
    assert_eq!(run.machine.deadline(), None);
    assert_eq!(
        run.after(60_000.0).feed(Input::Online(true)),
        [Action::Open]
    );
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Connecting { attempt: 0 }
    );
}

#[test]
fn going_offline_while_waiting_stops_the_countdown() {
    let mut run = Run::open(STREAM);
    run.feed(Input::StreamError);
    run.feed(Input::Online(false));
    assert_eq!(*run.machine.status(), ConnectionStatus::Offline);
    assert_eq!(run.feed(Input::Visible(true)), [], "still no network");
}

#[test]
fn wanted_while_offline_opens_when_the_network_is_back() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Online(false));
    assert_eq!(run.feed(Input::Wanted), []);
    assert_eq!(*run.machine.status(), ConnectionStatus::Offline);
    assert_eq!(run.feed(Input::Online(true)), [Action::Open]);
}

#[test]
fn a_page_that_becomes_visible_tries_at_once() {
    let mut run = Run::open(STREAM);
    run.feed(Input::StreamError);
    run.feed(Input::Visible(false));
    assert_eq!(run.feed(Input::Visible(true)), [Action::Open]);
}

#[test]
fn a_page_that_becomes_visible_notices_a_death_the_timer_slept_through() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.after(600_000.0).feed(Input::Visible(true)), SILENT);
    assert!(run.waiting().is_some());
}

#[test]
fn a_socket_is_pinged_when_the_page_becomes_visible() {
    let mut run = Run::open(SOCKET);
    assert_eq!(
        run.after(2_000.0).feed(Input::Visible(true)),
        [Action::Ping]
    );
    assert_eq!(run.feed(Input::Visible(true)), [], "one ping at a time");
}

#[test]
fn a_page_put_away_closes_and_opens_again_when_shown() {
    let mut run = Run::open(SOCKET);
    assert_eq!(run.feed(Input::PageHidden), [Action::Abandon]);
    assert_eq!(*run.machine.status(), ConnectionStatus::Closed);
    assert_eq!(run.feed(Input::PageShown), [Action::Open]);
}

#[test]
fn a_manual_close_stays_closed_whatever_the_page_does() {
    let mut run = Run::open(SOCKET);
    assert_eq!(run.feed(Input::Unwanted), [Action::Abandon]);
    for input in [
        Input::PageHidden,
        Input::PageShown,
        Input::Online(true),
        Input::Visible(true),
    ] {
        assert_eq!(run.feed(input), []);
    }
    assert_eq!(*run.machine.status(), ConnectionStatus::Closed);
}

#[test]
fn retry_now_opens_at_once_from_wherever_it_waits() {
    let mut run = Run::open(SOCKET);
    run.feed(closed(1006, ""));
    assert_eq!(run.feed(Input::RetryNow), [Action::Open]);
    run.feed(closed(4003, ""));
    assert_eq!(
        run.feed(Input::RetryNow),
        [Action::Open],
        "also after a stop"
    );
    assert_eq!(
        run.feed(Input::RetryNow),
        [],
        "not while an attempt is under way"
    );
}

#[test]
fn a_cut_is_a_loss_like_any_other() {
    for policy in [STREAM, SOCKET] {
        let mut run = Run::open(policy);
        assert_eq!(run.feed(Input::Cut), [Action::Abandon]);
        assert_eq!(run.waiting(), Some((1, 1_000.0)));
        assert_eq!(run.feed(Input::Cut), [], "there is nothing left to cut");
        assert_eq!(run.waiting(), Some((1, 1_000.0)));
        assert_eq!(run.fire().1, [Action::Open]);
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    const HOUR: f64 = 3_600_000.0;
    let mut run = Run::open(SOCKET);
    run.feed(closed(1006, ""));
    let delay = run.waiting().unwrap().1;
    assert_eq!(run.after(delay - HOUR).feed(Input::Timer), []);
    assert_eq!(run.waiting().unwrap().1, delay);
    assert_eq!(run.fire(), (delay, vec![Action::Open]));
    for policy in [STREAM, SOCKET] {
        let mut run = Run::open(policy);
        let silence = run.machine.deadline().unwrap() - run.now;
        run.after(-HOUR).feed(Input::Timer);
        assert_eq!(run.machine.deadline().unwrap() - run.now, silence);
    }
}

#[test]
fn a_bounded_number_of_attempts_ends_in_words() {
    let mut run = Run::new(Policy {
        max_attempts: Some(2),
        ..SOCKET
    });
    run.feed(Input::Wanted);
    for _ in 0..2 {
        run.feed(closed(1006, ""));
        run.fire();
    }
    run.feed(closed(1006, ""));
    assert_eq!(
        run.stopped(),
        "Gave up after 2 attempts: the socket closed with 1006."
    );
    assert_eq!(
        run.feed(Input::RetryNow),
        [Action::Open],
        "\"try again\" starts over"
    );
}

#[test]
fn another_contract_replaces_the_connection() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.feed(Input::Wanted), [Action::Abandon, Action::Open]);
}
