//! Tests jobs: the start form, the stream up to its one terminal event, resuming, cancelling, restarts, files and
//! races.

use serde_json::Value;

use rand::{Rng, SeedableRng};

use crate::support::{Event, Guest, Server};

async fn start(server: &Server, guest: &Guest, steps: &str, step_ms: &str) -> String {
    let form = [
        ("kind", "countdown"),
        ("steps", steps),
        ("step_ms", step_ms),
    ];
    server.start_job(guest, &form).await
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

const TERMINAL: [&str; 3] = ["done", "failed", "cancelled"];

#[tokio::test]
async fn a_job_is_watched_to_its_one_end_and_then_the_stream_answers_204() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let id = start(&server, &guest, "5", "60").await;
    let path = format!("/api/jobs/{id}/events");
    let bearer = guest.bearer();
    let headers = [("authorization", bearer.as_str())];
    let events = server.stream(&path, &headers).await.rest().await;
    assert_eq!(names(&events)[..2], ["hello", "state"]);
    let done: Vec<u64> = events
        .iter()
        .filter(|event| event.name == "progress")
        .map(|event| event.data["done"].as_u64().unwrap())
        .collect();
    assert!(done.is_sorted() && done.last() == Some(&5), "{done:?}");
    let last = events.last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["result"]["steps"]),
        ("done", &5.into())
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| TERMINAL.contains(&event.name.as_str()))
            .count(),
        1
    );

    let end = last.id.clone().unwrap();
    let after = |id: String| {
        server
            .get(&path)
            .header("authorization", guest.bearer())
            .header("last-event-id", id)
            .send()
    };
    assert_eq!(after(end.clone()).await.unwrap().status(), 204);
    let future = format!("{}-999999", end.split_once('-').unwrap().0);
    assert_eq!(
        after(future).await.unwrap().status(),
        204,
        "after the end is at the end"
    );

    // A client that has not seen the end gets it, however late: after what it missed, or after the state if its
    // position is unknown.
    let missed = events.len() - 3;
    for (after_id, second) in [
        (None, "state"),
        (Some("foreign-1".to_owned()), "state"),
        (events[missed].id.clone(), "progress"),
    ] {
        let mut headers = headers.to_vec();
        headers.extend(after_id.as_deref().map(|id| ("last-event-id", id)));
        let again = server.stream(&path, &headers).await.rest().await;
        let names = names(&again);
        assert_eq!(
            (names[0], names[1], *names.last().unwrap()),
            ("hello", second, "done"),
            "{after_id:?}"
        );
        if second == "progress" {
            assert_eq!(again[1..], events[missed + 1..], "just what was missed");
        }
        assert_eq!(
            names.iter().filter(|name| TERMINAL.contains(name)).count(),
            1
        );
    }
}

#[tokio::test]
async fn a_watcher_that_is_cut_at_every_event_misses_nothing() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let id = start(&server, &guest, "12", "60").await;
    let (path, bearer) = (format!("/api/jobs/{id}/events"), guest.bearer());
    let (mut position, mut offsets) = (None::<String>, vec![]);
    loop {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(position.as_deref().map(|id| ("last-event-id", id)));
        let mut events = server.stream(&path, &headers).await;
        events.expect("hello").await;
        if position.is_none() {
            offsets.push(events.expect("state").await.offset());
        }
        let event = events.next().await.unwrap();
        position = event.id.clone();
        offsets.push(event.offset());
        if TERMINAL.contains(&event.name.as_str()) {
            break;
        }
    }
    let steps = offsets.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(steps, "a gap or a double: {offsets:?}");
}

#[tokio::test]
async fn a_watcher_that_resumes_never_sees_less_than_it_saw() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let id = start(&server, &guest, "30", "60").await;
    let (path, bearer) = (format!("/api/jobs/{id}/events"), guest.bearer());
    let headers = [("authorization", bearer.as_str())];
    let done = |event: &Event| event.data["done"].as_u64();
    let seen_up_to = async |events: &mut super::support::Events, wanted: u64| loop {
        let event = events.next().await.unwrap();
        if done(&event) >= Some(wanted) {
            return event;
        }
    };
    let mut one = server.stream(&path, &headers).await;
    let last_seen = seen_up_to(&mut one, 3).await;
    drop(one);
    // The job goes on; another client observes it.
    seen_up_to(&mut server.stream(&path, &headers).await, 10).await;
    let position = last_seen.id.as_deref().unwrap();
    let headers = [headers[0], ("last-event-id", position)];
    let resumed = server.stream(&path, &headers).await.rest().await;
    assert_eq!(resumed[0].data["recovered"], true);
    assert!(!names(&resumed).contains(&"state"), "{:?}", names(&resumed));
    let mut dones = vec![done(&last_seen).unwrap()];
    dones.extend(resumed.iter().filter_map(done));
    assert!(dones.len() > 10, "{dones:?}");
    assert!(dones.is_sorted(), "{dones:?}");
    assert_eq!(resumed.last().unwrap().name, "done");
}

#[tokio::test]
async fn any_number_of_watchers_see_the_same() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let id = start(&server, &guest, "4", "60").await;
    let bearer = guest.bearer();
    let watch = async || {
        let events = server
            .stream(
                &format!("/api/jobs/{id}/events"),
                &[("authorization", &bearer)],
            )
            .await;
        let events = events.rest().await;
        events.last().unwrap().id.clone()
    };
    let (one, two, three) = tokio::join!(watch(), watch(), watch());
    assert!(one.is_some() && one == two && two == three);
}

#[tokio::test]
async fn only_its_owner_cancels_a_job() {
    let server = Server::start().await;
    let (ada, bob) = (server.guest().await, server.guest().await);
    let id = start(&server, &ada, "1000", "10000").await;
    let cancel = |who: &Guest, id: &str| {
        server
            .post("/api/jobs/cancel", &[("id", id)])
            .header("authorization", who.bearer())
            .send()
    };
    let refused = cancel(&bob, &id).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(
        refused.json::<Value>().await.unwrap()["error"]
            .as_str()
            .unwrap()
            .contains("somebody else")
    );
    assert_eq!(cancel(&ada, "nonsense").await.unwrap().status(), 422);
    assert_eq!(
        cancel(&ada, "00000000-0000-0000-0000-000000000000")
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(cancel(&ada, &id).await.unwrap().status(), 200);
    let events = server
        .stream(
            &format!("/api/jobs/{id}/events"),
            &[("authorization", &bob.bearer())],
        )
        .await;
    assert_eq!(events.rest().await.last().unwrap().name, "cancelled");
    let view = server.json(&format!("/api/jobs/{id}"), Some(&bob)).await;
    assert_eq!(
        (&view["status"], &view["kind"]),
        (&"cancelled".into(), &"countdown".into())
    );
}

#[tokio::test]
async fn bad_fields_are_422_with_name_and_range() {
    let server = Server::start().await;
    let guest = server.guest().await;
    for (form, field, needle) in [
        (
            vec![("kind", "countdown"), ("steps", "0"), ("step_ms", "10")],
            "steps",
            "1 to 1000",
        ),
        (
            vec![("kind", "countdown"), ("steps", ""), ("step_ms", "10")],
            "steps",
            "1 to 1000",
        ),
        (
            vec![("kind", "countdown"), ("step_ms", "10")],
            "steps",
            "1 to 1000",
        ),
        (
            vec![("kind", "countdown"), ("steps", "3"), ("step_ms", "ten")],
            "step_ms",
            "10 to 10000",
        ),
        (
            vec![("kind", "magic"), ("steps", "3"), ("step_ms", "10")],
            "kind",
            "countdown",
        ),
        (vec![("steps", "3"), ("step_ms", "10")], "kind", "countdown"),
    ] {
        let response = server
            .post("/api/jobs/start", &form)
            .header("authorization", guest.bearer())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 422, "{form:?}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["field"], field);
        assert!(
            answer["error"].as_str().unwrap().contains(needle),
            "{answer}"
        );
        assert_eq!(
            answer.as_object().unwrap().len(),
            2,
            "nothing but error and field: {answer}"
        );
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_read_is_the_senders_fault() {
    let server = Server::start().await;
    let guest = server.guest().await;
    for body in [b"kind=\xff\xfe".to_vec(), vec![b'a'; 3 * 1_024 * 1_024]] {
        let request = server.post("/api/jobs/start", &[]);
        let request = request.header("authorization", guest.bearer()).body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        let answer: Value = response.json().await.unwrap();
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("cannot be read"), "{error}");
    }
}

#[tokio::test]
async fn a_browser_without_javascript_is_redirected_to_the_job_or_back_to_the_form() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let post = |steps: &'static str| {
        let form = [
            ("kind", "countdown"),
            ("steps", steps),
            ("step_ms", "10000"),
        ];
        let request = server
            .post("/api/jobs/start", &form)
            .header("cookie", guest.cookie())
            .header("accept", "text/html,*/*;q=0.8");
        request.header("referer", server.url("/progress")).send()
    };
    let started = post("3").await.unwrap();
    assert!(started.status().is_redirection());
    let page = started.headers()["location"].to_str().unwrap().to_owned();
    assert!(page.starts_with("/progress/"), "{page}");
    let shown = server
        .get(&page)
        .header("cookie", guest.cookie())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(shown.contains("0 of 3 steps") && shown.contains("http-equiv=\"refresh\""));

    let refused = post("0").await.unwrap();
    assert!(refused.status().is_redirection());
    let back = refused.headers()["location"]
        .to_str()
        .unwrap()
        .replace(&server.url(""), "");
    let shown = server
        .get(&back)
        .header("cookie", guest.cookie())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        shown.contains("The number of steps is a whole number from 1 to 1000."),
        "{back}"
    );
}

#[tokio::test]
async fn unknown_jobs_are_404_in_json_and_as_a_page() {
    let server = Server::start().await;
    let guest = server.guest().await;
    for path in [
        "/api/jobs/00000000-0000-0000-0000-000000000000",
        "/api/jobs/nonsense/events",
        "/api/jobs/nonsense",
    ] {
        let response = server
            .get(path)
            .header("authorization", guest.bearer())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(response.json::<Value>().await.unwrap()["error"].is_string());
    }
    for path in [
        "/progress/00000000-0000-0000-0000-000000000000",
        "/progress/nonsense",
    ] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(
            response
                .text()
                .await
                .unwrap()
                .contains("There is no job under this address")
        );
    }
}

#[tokio::test]
async fn more_jobs_than_may_wait_are_429_with_a_sentence() {
    let server = Server::with(|settings| settings.progress.max_jobs = 1).await;
    let guest = server.guest().await;
    for _ in 0..65 {
        start(&server, &guest, "1000", "10000").await;
    }
    let form = [("kind", "countdown"), ("steps", "1"), ("step_ms", "10")];
    let response = server
        .post("/api/jobs/start", &form)
        .header("authorization", guest.bearer())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    let answer: Value = response.json().await.unwrap();
    assert!(answer["error"].as_str().unwrap().contains("wait"));
}

#[tokio::test]
async fn a_watcher_cut_fifty_times_at_random_misses_nothing_and_sees_one_end() {
    const CUTS: usize = 50;
    let server = Server::start().await;
    let guest = server.guest().await;
    // Longer than any machine takes for the cuts; it is cancelled after them.
    let id = start(&server, &guest, "1000", "50").await;
    let (path, bearer) = (format!("/api/jobs/{id}/events"), guest.bearer());
    let mut random = rand::rngs::StdRng::seed_from_u64(50);
    // Collects every event by its offset: no offset twice, none skipped.
    let (mut position, mut seen, mut cuts) = (None::<String>, vec![], 0);
    let mut statuses = vec![];
    'watching: loop {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(position.as_deref().map(|id| ("last-event-id", id)));
        let mut events = server.stream(&path, &headers).await;
        // Cut sometimes before the state, sometimes in the middle of the replay.
        let cut_after = match cuts {
            CUTS => {
                let cancel = server.post("/api/jobs/cancel", &[("id", &id)]);
                let cancelled = cancel.header("authorization", &bearer).send().await;
                assert_eq!(cancelled.unwrap().status(), 200);
                usize::MAX
            }
            _ => random.random_range(1..=6),
        };
        for _ in 0..cut_after {
            let event = events.next().await.expect("the stream ends with an end");
            statuses.extend(event.data["status"].as_str().map(str::to_owned));
            let first_state = event.name == "state" && position.is_none();
            let change = event.name == "progress" || TERMINAL.contains(&event.name.as_str());
            if first_state || change {
                seen.push(event.offset());
                position = event.id.clone();
            }
            if TERMINAL.contains(&event.name.as_str()) {
                assert_eq!(event.name, "cancelled");
                break 'watching;
            }
        }
        cuts += 1;
    }
    assert_eq!(cuts, CUTS, "the job was longer than its cuts");
    assert!(
        seen.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "a gap or a double: {seen:?}"
    );
    assert!(statuses.contains(&"running".to_owned()));
    let after_the_end = server
        .get(&path)
        .header("authorization", &bearer)
        .header("last-event-id", position.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(after_the_end.status(), 204);
}

#[tokio::test]
async fn a_finished_job_and_an_interrupted_one_survive_a_restart() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let done = start(&server, &guest, "3", "10").await;
    let bearer = guest.bearer();
    let headers = [("authorization", bearer.as_str())];
    let before = server
        .stream(&format!("/api/jobs/{done}/events"), &headers)
        .await
        .rest()
        .await;
    let running = start(&server, &guest, "1000", "10000").await;
    let server = server.restart().await;
    let path = |id: &str| format!("/api/jobs/{id}/events");
    let end = before.last().unwrap();

    // A client that saw the end is still at the end.
    let again = server
        .get(&path(&done))
        .header("authorization", &bearer)
        .header("last-event-id", end.id.as_deref().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 204);
    // A client that did not gets the end and nothing else, after the state if its position cannot be resumed.
    let events = server.stream(&path(&done), &headers).await.rest().await;
    assert_eq!(names(&events), ["hello", "state", "done"]);
    assert_eq!(events[1].data["status"], "done");
    assert_eq!(events[2], *end);
    let last_before = &before[before.len() - 2];
    let resumed = [
        headers[0],
        ("last-event-id", last_before.id.as_deref().unwrap()),
    ];
    let events = server.stream(&path(&done), &resumed).await.rest().await;
    assert_eq!(names(&events), ["hello", "done"]);
    assert_eq!(events[1], *end);
    let events = server.stream(&path(&running), &headers).await.rest().await;
    assert_eq!(names(&events), ["hello", "state", "failed"]);
    let error = events[2].data["error"].as_str().unwrap();
    assert!(error.contains("server restarted"), "{error}");

    let mine = server.json("/api/jobs", Some(&guest)).await;
    let ids: Vec<&str> = mine
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [running.as_str(), done.as_str()], "newest first");
}
