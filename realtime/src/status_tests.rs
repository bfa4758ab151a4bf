//! Tests of every transition of the state machine.

use proptest::prelude::*;

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

/// The actions after a stream has gone silent.
const SILENT: [Action; 2] = [Action::Abandon, Action::DropKept];

/// The machine with a clock. The random number is always 1.0, so every delay is the longest possible.
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

    /// Advances to the deadline and fires the timer. Returns the time waited and the actions.
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

    /// Why it waits.
    fn lost(&self) -> &LostReason {
        match self.machine.status() {
            ConnectionStatus::Waiting { reason, .. } => reason,
            other => panic!("not waiting but {other:?}"),
        }
    }

    fn stopped(&self) -> &StopReason {
        match self.machine.status() {
            ConnectionStatus::Stopped { reason } => reason,
            other => panic!("not stopped but {other:?}"),
        }
    }

    /// The time until the next attempt, while the browser reports no network.
    fn offline(&self) -> Option<f64> {
        match self.machine.status() {
            ConnectionStatus::Offline { retry_at } => Some(retry_at - self.now),
            _ => None,
        }
    }

    /// The number of the probe or renewal in progress.
    fn question(&self) -> u32 {
        self.machine.question
    }

    /// Feeds the result of the probe.
    fn probed(&mut self, status: u16, retry_after_ms: Option<u64>) -> Vec<Action> {
        let question = self.question();
        self.feed(probed(question, status, retry_after_ms))
    }

    /// Feeds the probe's result for a stream without a valid session.
    fn unauthorized(&mut self, reason: Option<&str>) -> Vec<Action> {
        let answer = Some(Answer {
            status: 401,
            reason: reason.map(str::to_owned),
            ..Answer::default()
        });
        let question = self.question();
        self.feed(Input::Probed { question, answer })
    }

    fn renewed(&mut self, renewal: Renewal) -> Vec<Action> {
        let question = self.question();
        self.feed(Input::SessionRenewed { question, renewal })
    }
}

const NOT_RENEWED: Renewal = Renewal::Failed {
    retry_after_ms: None,
};

fn requests_a_session(actions: &[Action]) -> bool {
    let is_renewal = |action: &Action| matches!(action, Action::RenewSession { .. });
    actions.iter().any(is_renewal)
}

fn closed(code: u16, reason: &str) -> Input {
    Input::SocketClosed {
        code,
        reason: reason.to_owned(),
    }
}

fn probed(question: u32, status: u16, retry_after_ms: Option<u64>) -> Input {
    let answer = Some(Answer {
        status,
        retry_after_ms,
        reason: None,
    });
    Input::Probed { question, answer }
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
    assert_eq!(*run.lost(), LostReason::NoAnswer);
}

#[test]
fn a_stream_that_breaks_is_abandoned_at_once_and_retried_after_the_delay() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.feed(Input::StreamError), [Action::Abandon]);
    assert_eq!(run.waiting(), Some((1, 1_000.0)));
    assert_eq!(*run.lost(), LostReason::StreamBroke);
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
fn the_attempt_counter_is_reset_only_after_ten_seconds_open() {
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
fn a_stream_silent_for_two_and_a_half_heartbeats_is_dead() {
    let mut run = Run::open(STREAM);
    run.after(30_000.0).feed(Input::Frame);
    assert_eq!(run.fire(), (37_500.0, SILENT.to_vec()));
    assert!(run.waiting().is_some());
    assert_eq!(*run.lost(), LostReason::HeartbeatStopped);
}

#[test]
fn a_timer_that_fires_early_does_nothing() {
    let mut run = Run::open(STREAM);
    assert_eq!(run.after(37_499.0).feed(Input::Timer), []);
    assert_eq!(*run.machine.status(), ConnectionStatus::Open);
}

#[test]
fn a_socket_pings_at_every_interval_even_when_busy() {
    let mut run = Run::open(SOCKET);
    run.after(14_000.0).feed(Input::Frame);
    assert_eq!(run.fire(), (1_000.0, vec![Action::Ping]));
    run.after(10.0).feed(Input::Pong);
    assert_eq!(run.fire(), (14_990.0, vec![Action::Ping]));
}

#[test]
fn a_pong_five_seconds_overdue_ends_the_connection() {
    let mut run = Run::open(SOCKET);
    run.fire();
    assert_eq!(run.fire(), (5_000.0, vec![Action::Abandon]));
    assert!(run.waiting().is_some());
    assert_eq!(*run.lost(), LostReason::PongOverdue);
}

#[test]
fn a_late_pong_does_not_end_the_connection_while_frames_arrive() {
    let mut run = Run::open(SOCKET);
    run.fire();
    run.after(4_000.0).feed(Input::Frame);
    assert_eq!(run.after(4_000.0).feed(Input::Timer), []);
    assert_eq!(run.fire(), (1_000.0, vec![Action::Abandon]));
}

#[test]
fn a_refused_stream_is_probed() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    assert_eq!(
        run.feed(Input::StreamError),
        [Action::Abandon, Action::Probe { question: 1 }]
    );
    assert_eq!(
        run.feed(Input::StreamError),
        [],
        "an error after the probe began is the old one"
    );
    assert_eq!(run.probed(502, None), [Action::Abandon]);
    assert_eq!(run.waiting(), Some((1, 1_000.0)));
}

#[test]
fn the_status_of_the_probe_decides() {
    let outcome = |status| {
        let mut run = Run::new(STREAM);
        run.feed(Input::Wanted);
        run.feed(Input::StreamError);
        run.probed(status, None);
        run
    };
    assert_eq!(*outcome(204).machine.status(), ConnectionStatus::Closed);
    for (status, reason) in [
        (400, StopReason::BadRequest),
        (403, StopReason::Forbidden),
        (404, StopReason::AddressNotFound),
    ] {
        assert_eq!(*outcome(status).stopped(), reason, "{status}");
    }
    for (status, reason) in [
        (200, LostReason::RefusedButOpen),
        (429, LostReason::AskedToWait),
        (500, LostReason::UnexpectedStatus { status: 500 }),
        (503, LostReason::UnexpectedStatus { status: 503 }),
    ] {
        assert!(outcome(status).waiting().is_some(), "{status}");
        assert_eq!(*outcome(status).lost(), reason, "{status}");
    }
}

#[test]
fn a_probe_without_a_response_waits() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::StreamError);
    let question = run.question();
    let answer = None;
    run.feed(Input::Probed { question, answer });
    assert_eq!(run.waiting(), Some((1, 1_000.0)));
    assert_eq!(*run.lost(), LostReason::Unreachable);
}

#[test]
fn a_probe_that_never_answers_is_given_up() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::StreamError);
    assert_eq!(run.fire().0, 10_000.0);
    assert!(run.waiting().is_some());
    assert_eq!(
        run.probed(404, None),
        [],
        "an answer that comes later changes nothing"
    );
    assert!(run.waiting().is_some());
}

#[test]
fn retry_after_is_the_minimum_of_one_delay() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::StreamError);
    run.probed(429, Some(7_000));
    assert_eq!(run.fire(), (7_000.0, vec![Action::Open]));
    run.feed(Input::StreamError);
    run.probed(500, None);
    assert_eq!(run.fire().0, 2_000.0);
}

#[test]
fn an_expired_session_is_renewed_once() {
    for policy in [STREAM, SOCKET] {
        let mut run = Run::new(policy);
        // A socket learns the reason from its close code; a stream has to be probed.
        let refuse = |run: &mut Run| {
            if policy.liveness == Liveness::Ping {
                return run.feed(closed(4001, "expired"));
            }
            run.feed(Input::StreamError);
            run.unauthorized(Some("expired"))
        };
        run.feed(Input::Wanted);
        assert!(requests_a_session(&refuse(&mut run)));
        assert_eq!(run.renewed(Renewal::Renewed), [Action::Open]);
        refuse(&mut run);
        assert!(
            run.waiting().is_some(),
            "the second refusal waits instead of asking again"
        );
        assert_eq!(*run.lost(), LostReason::NewSessionRefused);
    }
}

#[test]
fn a_session_that_cannot_be_renewed_waits() {
    let mut run = Run::open(SOCKET);
    for _ in 0..3 {
        assert!(requests_a_session(&run.feed(closed(4001, "expired"))));
        run.renewed(NOT_RENEWED);
        assert!(run.waiting().is_some());
        assert_eq!(*run.lost(), LostReason::RenewalFailed);
        // It requests a session again the next time, because the request may have been lost.
        assert_eq!(run.fire().1, [Action::Open]);
    }
}

#[test]
fn a_tab_that_others_need_waits_like_a_visible_one_but_respects_the_servers_delay() {
    let mut run = Run::open(STREAM);
    run.feed(Input::Visible(false));
    for _ in 0..8 {
        run.feed(Input::StreamError);
        run.fire();
        run.feed(Input::TransportOpen);
    }
    run.feed(Input::StreamError);
    let (_, as_hidden) = run.waiting().unwrap();
    assert_eq!(run.feed(Input::WaitedFor), []);
    let (attempt, as_visible) = run.waiting().unwrap();
    assert!(as_visible < as_hidden, "{as_visible} {as_hidden}");
    assert!(attempt > 8, "it goes on counting");
    // Its own timer is late, as in a background tab: the next `WaitedFor` starts the attempt.
    run.after(as_visible);
    assert_eq!(run.feed(Input::WaitedFor), [Action::Open]);

    // `Reachable` tries at once, and a failure after that waits longer than before.
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
fn stop_codes_stop_with_a_reason() {
    for (code, reason, expected) in [
        (1002, "", StopReason::ProtocolError),
        (1003, "", StopReason::UnsupportedData),
        (1007, "", StopReason::InvalidUtf8),
        (1008, "", StopReason::PolicyViolation),
        (1009, "", StopReason::TooBig),
        (4001, "signed_out", StopReason::SignedOut),
        (4001, "none", StopReason::NoSession),
        (4003, "", StopReason::Forbidden),
        (4004, "", StopReason::NotFound),
        (4000, "", StopReason::ClosedByServer { code: 4000 }),
        (4099, "", StopReason::ClosedByServer { code: 4099 }),
    ] {
        let mut run = Run::open(SOCKET);
        assert_eq!(run.feed(closed(code, reason)), [Action::Abandon]);
        assert_eq!(*run.stopped(), expected, "{code}");
        assert!(run.stopped().to_string().ends_with('.'), "{code}");
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
    assert_eq!(*run.stopped(), StopReason::OutdatedPage);
}

#[test]
fn a_drain_sets_the_minimum_of_the_first_delay_only() {
    let mut run = Run::open(SOCKET);
    run.feed(Input::Drain { retry_ms: 4_321 });
    run.feed(closed(1012, ""));
    assert_eq!(run.fire().0, 4_321.0);
    run.feed(closed(1006, ""));
    assert_eq!(run.fire().0, 2_000.0);
}

#[test]
fn a_finished_stream_never_reconnects() {
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
fn while_the_browser_reports_no_network_one_attempt_is_made_every_thirty_seconds() {
    let mut run = Run::open(STREAM);
    run.feed(Input::Online(false));
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Open,
        "an open connection may well live on"
    );
    run.feed(Input::StreamError);
    for _ in 0..3 {
        assert_eq!(run.offline(), Some(30_000.0));
        assert_eq!(run.fire(), (30_000.0, vec![Action::Open]));
        // Probed as always: the browser's report may be wrong and the server reachable.
        run.feed(Input::StreamError);
        let question = run.question();
        let answer = None;
        run.feed(Input::Probed { question, answer });
    }
    assert_eq!(
        run.after(10_000.0).feed(Input::Online(true)),
        [Action::Open]
    );
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Connecting { attempt: 0 }
    );
}

#[test]
fn a_wrong_report_of_no_network_does_not_prevent_connecting() {
    for policy in [STREAM, SOCKET] {
        let mut run = Run::new(policy);
        run.feed(Input::Online(false));
        assert_eq!(run.feed(Input::Wanted), [Action::Open], "the first load");
        run.feed(Input::Greeted {
            heartbeat_ms: 15_000,
        });
        assert_eq!(*run.machine.status(), ConnectionStatus::Open);
        run.feed(Input::Cut);
        assert_eq!(run.offline(), Some(30_000.0));
        for input in [Input::Online(false), Input::Visible(true), Input::PageShown] {
            assert_eq!(run.feed(input), [], "as rarely, whoever looks");
        }
        assert_eq!(run.offline(), Some(30_000.0));
        assert_eq!(run.feed(Input::RetryNow), [Action::Open], "try again");
        run.feed(Input::Cut);
        run.feed(Input::PageHidden);
        assert_eq!(run.feed(Input::PageShown), [Action::Open], "shown again");
        run.feed(Input::Cut);
        assert_eq!(run.feed(Input::Reachable), [Action::Open], "it is there");
    }
}

#[test]
fn a_report_of_no_network_while_waiting_makes_the_wait_longer() {
    let mut run = Run::open(STREAM);
    run.feed(Input::StreamError);
    run.feed(Input::Online(false));
    assert_eq!(run.offline(), Some(30_000.0));
    // A timer that did not fire in a hidden tab is made up for.
    assert_eq!(run.after(29_999.0).feed(Input::Visible(true)), []);
    assert_eq!(run.after(1.0).feed(Input::Visible(true)), [Action::Open]);
}

#[test]
fn the_result_of_an_earlier_request_changes_nothing() {
    // During a deploy, the old server answers 404 to a probe that was given up long ago.
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    run.feed(Input::StreamError);
    let earlier = run.question();
    run.fire();
    run.fire();
    run.feed(Input::StreamError);
    assert_ne!(run.question(), earlier);
    assert_eq!(run.feed(probed(earlier, 404, None)), []);
    assert_eq!(
        *run.machine.status(),
        ConnectionStatus::Connecting { attempt: 1 }
    );
    assert_eq!(run.probed(502, None), [Action::Abandon]);
    assert!(run.waiting().is_some());

    // A renewal that was given up, while another one is in progress.
    let mut run = Run::open(SOCKET);
    run.feed(closed(4001, "expired"));
    let question = run.question();
    run.fire();
    run.fire();
    run.feed(closed(4001, "expired"));
    for renewal in [Renewal::Renewed, Renewal::SignedOut, NOT_RENEWED] {
        assert_eq!(run.feed(Input::SessionRenewed { question, renewal }), []);
    }
    assert_eq!(run.renewed(Renewal::Renewed), [Action::Open]);
}

#[test]
fn the_result_of_an_abandoned_renewal_changes_nothing() {
    let mut run = Run::open(SOCKET);
    run.feed(closed(4001, "expired"));
    run.fire();
    assert_eq!(run.renewed(Renewal::Renewed), [], "it was given up");
    assert!(run.waiting().is_some());
}

/// Every input that makes a waiting connection try at once, except the user's.
fn hurries() -> [Input; 5] {
    [
        Input::Visible(true),
        Input::Online(true),
        Input::PageShown,
        Input::Reachable,
        Input::WaitedFor,
    ]
}

#[test]
fn only_the_user_can_retry_before_the_time_that_the_server_set() {
    let refused = || {
        let mut run = Run::new(STREAM);
        run.feed(Input::Wanted);
        run.feed(Input::StreamError);
        run.probed(503, Some(7_000));
        run
    };
    let drained = || {
        let mut run = Run::open(SOCKET);
        run.feed(Input::Drain { retry_ms: 7_000 });
        run.feed(closed(1012, ""));
        run
    };
    for begin in [refused, drained] {
        let mut run = begin();
        for hurry in hurries() {
            assert_eq!(run.feed(hurry.clone()), [], "{hurry:?}");
            assert_eq!(run.waiting().unwrap().1, 7_000.0, "{hurry:?}");
            assert_eq!(*run.lost(), LostReason::AskedToWait, "{hurry:?}");
        }
        // The network goes away and comes back: not all clients of an office may reconnect at once.
        run.feed(Input::Online(false));
        assert_eq!(run.offline(), Some(30_000.0));
        assert_eq!(run.feed(Input::Online(true)), []);
        assert_eq!(run.waiting().unwrap().1, 7_000.0);
        // The page is hidden and shown again.
        run.feed(Input::PageHidden);
        assert_eq!(run.feed(Input::PageShown), []);
        assert_eq!(run.fire(), (7_000.0, vec![Action::Open]));

        let mut run = begin();
        assert_eq!(run.feed(Input::Wanted), [], "another filter");
        assert_eq!(run.feed(Input::RetryNow), [Action::Open]);
        // A failure after that waits for the rest of the delay.
        run.after(100.0).feed(Input::Cut);
        assert_eq!(run.fire(), (6_900.0, vec![Action::Open]));
    }
}

#[test]
fn the_delay_that_a_server_sets_is_capped() {
    for absurd in [u64::MAX, 1_000_000_000_000] {
        let mut run = Run::new(STREAM);
        run.feed(Input::Wanted);
        run.feed(Input::StreamError);
        run.probed(429, Some(absurd));
        assert_eq!(run.fire(), (600_000.0, vec![Action::Open]));
        let mut run = Run::open(SOCKET);
        run.feed(Input::Drain { retry_ms: absurd });
        run.feed(closed(1012, ""));
        assert_eq!(run.fire(), (600_000.0, vec![Action::Open]));
    }
}

#[test]
fn a_greeting_cancels_the_servers_delay() {
    let mut run = Run::open(SOCKET);
    run.feed(Input::Drain { retry_ms: 60_000 });
    run.feed(closed(1012, ""));
    run.feed(Input::RetryNow);
    run.feed(Input::Greeted {
        heartbeat_ms: 30_000,
    });
    run.after(20_000.0).feed(closed(1006, ""));
    assert_eq!(run.fire().0, 1_000.0);
}

#[test]
fn the_reason_of_a_401_stops_or_renews() {
    let refused = |reason| {
        let mut run = Run::new(STREAM);
        run.feed(Input::Wanted);
        run.feed(Input::StreamError);
        let actions = run.unauthorized(reason);
        (run, actions)
    };
    for (reason, expected) in [
        ("signed_out", StopReason::SignedOut),
        ("none", StopReason::NoSession),
    ] {
        let (run, actions) = refused(Some(reason));
        assert_eq!(actions, [Action::Abandon], "{reason}");
        assert_eq!(*run.stopped(), expected);
        let mut socket = Run::open(SOCKET);
        socket.feed(closed(4001, reason));
        assert_eq!(run.machine.status(), socket.machine.status(), "{reason}");
    }
    for reason in [Some("expired"), None] {
        let (mut run, actions) = refused(reason);
        assert!(requests_a_session(&actions), "{reason:?}");
        // The user has signed out in another tab meanwhile.
        run.renewed(Renewal::SignedOut);
        assert_eq!(*run.stopped(), StopReason::SignedOut);
    }
}

#[test]
fn a_renewal_respects_retry_after() {
    let mut run = Run::open(SOCKET);
    run.feed(closed(4001, "expired"));
    run.renewed(Renewal::Failed {
        retry_after_ms: Some(9_000),
    });
    assert_eq!(run.fire(), (9_000.0, vec![Action::Open]));
}

#[test]
fn a_page_that_becomes_visible_tries_at_once() {
    let mut run = Run::open(STREAM);
    run.feed(Input::StreamError);
    run.feed(Input::Visible(false));
    assert_eq!(run.feed(Input::Visible(true)), [Action::Open]);
}

#[test]
fn a_page_that_becomes_visible_detects_a_death_that_its_timer_missed() {
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
fn a_hidden_page_closes_and_opens_again_when_shown() {
    let mut run = Run::open(SOCKET);
    assert_eq!(run.feed(Input::PageHidden), [Action::Abandon]);
    assert_eq!(*run.machine.status(), ConnectionStatus::Closed);
    // A browser may report it twice.
    assert_eq!(run.feed(Input::PageHidden), []);
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
fn retry_now_opens_at_once_after_a_wait_or_a_stop() {
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
fn a_cut_is_handled_like_any_lost_connection() {
    for policy in [STREAM, SOCKET] {
        let mut run = Run::open(policy);
        assert_eq!(run.feed(Input::Cut), [Action::Abandon]);
        assert_eq!(run.waiting(), Some((1, 1_000.0)));
        assert_eq!(*run.lost(), LostReason::Cut);
        assert_eq!(run.feed(Input::Cut), [], "there is nothing left to cut");
        assert_eq!(run.waiting(), Some((1, 1_000.0)));
        assert_eq!(run.fire().1, [Action::Open]);
    }
}

#[test]
fn setting_the_clock_back_makes_no_wait_longer() {
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
fn a_bounded_number_of_attempts_ends_with_the_last_failure() {
    let mut run = Run::new(Policy {
        max_attempts: Some(2),
        ..SOCKET
    });
    run.feed(Input::Wanted);
    let last = LostReason::SocketClosed {
        code: 1006,
        reason: String::new(),
    };
    for _ in 0..2 {
        run.feed(closed(1006, ""));
        assert_eq!(*run.lost(), last);
        run.fire();
    }
    run.feed(closed(1006, ""));
    assert_eq!(*run.stopped(), StopReason::GaveUp { attempts: 2, last });
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

#[test]
fn obtaining_a_credential_and_opening_the_connection_have_ten_seconds_each() {
    let mut run = Run::new(STREAM);
    run.feed(Input::Wanted);
    let connecting = ConnectionStatus::Connecting { attempt: 0 };
    assert_eq!(run.after(9_000.0).feed(Input::Authorized), []);
    assert_eq!(*run.machine.status(), connecting);
    assert_eq!(run.fire(), (10_000.0, SILENT.to_vec()));
    assert_eq!(run.waiting(), Some((1, 1_000.0)));

    let mut never_obtained = Run::new(STREAM);
    never_obtained.feed(Input::Wanted);
    assert_eq!(never_obtained.fire(), (10_000.0, SILENT.to_vec()));
    assert_eq!(never_obtained.waiting(), Some((1, 1_000.0)));
}

#[test]
fn an_attempt_without_a_credential_fails_with_its_error() {
    let unauthorized = || Input::Unauthorized {
        error: "no ticket".into(),
    };
    let mut run = Run::new(SOCKET);
    assert_eq!(run.feed(unauthorized()), [], "no attempt is in progress");
    run.feed(Input::Wanted);
    assert_eq!(run.feed(unauthorized()), [Action::Abandon]);
    let ConnectionStatus::Waiting { reason, .. } = run.machine.status() else {
        panic!("it waits");
    };
    let error = "no ticket".into();
    assert_eq!(*reason, LostReason::CredentialsFailed { error });
    assert_eq!(run.feed(unauthorized()), []);
}

/// Any input that a browser, a server, another tab or a user may cause.
fn any_input() -> impl Strategy<Value = Input> {
    let status = prop_oneof![Just(200), Just(401), Just(429), Just(502), Just(503)];
    let wait_ms = || proptest::option::of(0..100_000_u64);
    let answer =
        proptest::option::of(
            (status, wait_ms()).prop_map(|(status, retry_after_ms)| Answer {
                status,
                retry_after_ms,
                reason: None,
            }),
        );
    let renewal = prop_oneof![
        Just(Renewal::Renewed),
        wait_ms().prop_map(|retry_after_ms| Renewal::Failed { retry_after_ms }),
    ];
    let code = prop_oneof![Just((1006, "")), Just((1012, "")), Just((4001, "expired"))];
    // 0 stands for the current request; results for other numbers are late.
    prop_oneof![
        prop_oneof![
            Just(Input::Wanted),
            Just(Input::Unwanted),
            Just(Input::Authorized),
            Just(Input::Unauthorized { error: "no".into() }),
            Just(Input::TransportOpen),
            Just(Input::Frame),
            Just(Input::Pong),
            Just(Input::StreamError),
            Just(Input::PageHidden),
            Just(Input::PageShown),
            Just(Input::Timer),
            Just(Input::RetryNow),
            Just(Input::Reachable),
            Just(Input::WaitedFor),
            Just(Input::Cut),
        ],
        Just(Input::Greeted {
            heartbeat_ms: 15_000
        }),
        (0..100_000_u64).prop_map(|retry_ms| Input::Drain { retry_ms }),
        code.prop_map(|(code, reason)| closed(code, reason)),
        (0..4_u32, answer).prop_map(|(question, answer)| Input::Probed { question, answer }),
        (0..4_u32, renewal)
            .prop_map(|(question, renewal)| Input::SessionRenewed { question, renewal }),
        any::<bool>().prop_map(Input::Online),
        any::<bool>().prop_map(Input::Visible),
    ]
}

proptest! {
    /// A separate model keeps the delay that the server set: the latest value holds until the next greeting.
    #[test]
    fn no_attempt_starts_before_the_time_that_the_server_set(
        inputs in proptest::collection::vec((any_input(), 0..20_000_u32, 0.0..1.0), 1..200),
        sockets: bool,
    ) {
        let mut machine = Machine::new(if sockets { SOCKET } else { STREAM });
        let (mut now, mut allowed_at) = (1_000_000.0, 0.0);
        for (input, ms, random) in inputs {
            now += f64::from(ms);
            let input = match input {
                Input::Probed { question: 0, answer } => Input::Probed { question: machine.question, answer },
                Input::SessionRenewed { question: 0, renewal } => Input::SessionRenewed { question: machine.question, renewal },
                input => input,
            };
            let attempted = matches!(machine.phase, Phase::Attempt { .. });
            let delay_set = match &input {
                Input::Drain { retry_ms } => Some(*retry_ms),
                Input::Probed { question, answer: Some(answer) } if machine.awaits(*question) => answer.retry_after_ms,
                Input::SessionRenewed { question, renewal: Renewal::Failed { retry_after_ms } } if machine.awaits(*question) => *retry_after_ms,
                _ => None,
            };
            let actions = machine.step(input.clone(), now, random);
            if let Some(wait_ms) = delay_set {
                allowed_at = now + wait_ms as f64;
            }
            if attempted && matches!(input, Input::Greeted { .. }) {
                allowed_at = 0.0;
            }
            if actions.contains(&Action::Open) && input != Input::RetryNow {
                prop_assert!(now >= allowed_at, "{input:?} opened {} ms too early", allowed_at - now);
            }
            // No wait is forgotten: every state other than closed and stopped has a deadline.
            let wanted = !matches!(machine.status(), ConnectionStatus::Closed | ConnectionStatus::Stopped { .. });
            prop_assert_eq!(machine.deadline().is_some(), wanted);
        }
    }
}
