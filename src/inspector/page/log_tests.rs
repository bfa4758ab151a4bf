//! Tests of the log: bounds, counters, repetitions, and how frames are shown.

use super::*;

fn event(name: &str, data: &str, id: &str) -> TraceEvent {
    TraceEvent::Frame(Frame {
        direction: Direction::In,
        payload: Payload::Event {
            name: name.into(),
            data: data.into(),
            id: id.into(),
        },
    })
}

fn text(direction: Direction, text: &str) -> TraceEvent {
    TraceEvent::Frame(Frame {
        direction,
        payload: Payload::Text(text.into()),
    })
}

fn log(trace_events: impl IntoIterator<Item = TraceEvent>) -> Log {
    let mut log = Log::default();
    for (number, trace_event) in trace_events.into_iter().enumerate() {
        log.record(trace_event, 1_000.0 + number as f64);
    }
    log
}

#[test]
fn frames_are_bounded_in_number_and_all_are_counted() {
    let log = log((0..MAX_ENTRIES + 20).map(|number| event("price", "{}", &format!("e-{number}"))));
    let kept = log.newest(None, usize::MAX);
    assert_eq!(kept.len(), MAX_ENTRIES);
    assert_eq!(kept[0].number, MAX_ENTRIES as u64 + 20, "the newest first");
    assert_eq!(log.counters.frames_in, MAX_ENTRIES as u64 + 20);
    assert_eq!(log.kinds(), [("price".to_owned(), MAX_ENTRIES as u64 + 20)]);
}

#[test]
fn frames_are_bounded_in_bytes_but_the_newest_stays() {
    let large = "x".repeat(MAX_BYTES / 2);
    let kept = log((0..5).map(|_| text(Direction::In, &large))).newest(None, 10);
    assert_eq!(kept.len(), 2);
    let huge = "x".repeat(2 * MAX_BYTES);
    let log = log([text(Direction::In, "{}"), text(Direction::In, &huge)]);
    assert_eq!(log.newest(None, 10).len(), 1);
    assert_eq!(log.bytes, huge.len());
}

#[test]
fn the_counters_hold_payload_overhead_heartbeats_and_round_trips() {
    let ping = r#"{"type":"ping","at":1000}"#;
    let pong = r#"{"type":"pong","at":1000,"server_at":0,"connections":1}"#;
    let log = log([text(Direction::Out, ping), text(Direction::In, pong)]);
    let counters = &log.counters;
    assert_eq!((counters.frames_in, counters.frames_out), (1, 1));
    assert_eq!(counters.payload_bytes, (ping.len() + pong.len()) as u64);
    assert_eq!(counters.overhead_bytes, 6 + 2, "the client masks");
    assert_eq!(counters.heartbeats, 1);
    assert_eq!(counters.round_trips, [1.0]);
}

#[test]
fn a_command_that_was_not_sent_is_counted_but_is_no_frame() {
    let log = log([TraceEvent::Unsent(Payload::Text("{}".into()))]);
    assert_eq!((log.counters.unsent, log.counters.frames_out), (1, 0));
    assert!(log.newest(None, 10).is_empty());
}

#[test]
fn reconnects_and_what_they_recovered_are_counted() {
    let hello = |recovered: bool, replayed: u64| {
        let data = format!(r#"{{"type":"hello","recovered":{recovered},"replayed":{replayed}}}"#);
        event("hello", &data, "")
    };
    let open = || TraceEvent::Status(ConnectionStatus::Open);
    let log = log([
        hello(false, 0),
        open(),
        TraceEvent::Status(ConnectionStatus::Offline { retry_at: 0.0 }),
        hello(true, 7),
        open(),
    ]);
    assert_eq!((log.counters.reconnects, log.counters.recovered), (1, 7));
}

#[test]
fn a_skipped_frame_has_its_reason_and_a_view_keeps_what_it_shows() {
    let mut log = log([event("price", "{}", "e-1")]);
    let shown = log.newest(None, 1);
    log.record(text(Direction::Out, "{}"), 0.0);
    log.record(TraceEvent::Dropped(DropReason::Duplicate), 0.0);
    assert_eq!(
        log.newest(Some("price"), 1)[0].skipped,
        Some(DropReason::Duplicate)
    );
    assert_eq!(shown[0].skipped, None);
    assert_eq!(log.counters.duplicates, 1);
}

#[test]
fn a_repeated_frame_is_recognised() {
    let one = || event("price", r#"{"price":1}"#, "e-1");
    assert!(!log([one()]).repeats());
    assert!(!log([one(), event("price", r#"{"price":1}"#, "e-2")]).repeats());
    assert!(log([one(), event("heartbeat", "{}", "e-2"), one()]).repeats());
}

#[test]
fn frames_that_may_well_be_sent_twice_are_no_repetition() {
    let typing = || {
        text(
            Direction::In,
            r#"{"type":"typing","room":"lobby","user_id":"7"}"#,
        )
    };
    assert!(!log([typing(), typing()]).repeats());
    let message = || {
        text(
            Direction::In,
            r#"{"type":"message","room":"lobby","offset":7}"#,
        )
    };
    assert!(log([message(), typing(), message()]).repeats());
    let heartbeat = || event("heartbeat", "{}", "e-1");
    assert!(!log([heartbeat(), heartbeat()]).repeats());
}

#[test]
fn kinds_filter_and_text_without_a_tag_has_one_too() {
    let log = log([
        event("price", "{}", "e-1"),
        text(Direction::In, "no JSON"),
        event("hello", "{}", ""),
    ]);
    assert_eq!(log.newest(Some("price"), 10).len(), 1);
    assert_eq!(log.newest(Some("text"), 10)[0].line(), "no JSON");
}

#[test]
fn bytes_are_shown_in_hexadecimal() {
    assert_eq!(hexadecimal(&[0, 1, 255], 24), "00 01 ff");
    assert_eq!(hexadecimal(&[7; 20], 17).lines().count(), 3);
    assert!(hexadecimal(&[7; 20], 17).ends_with("… 3 more bytes"));
}

#[test]
fn data_of_several_lines_is_shown_on_one_line_and_whole_as_it_was_sent() {
    let data = "{\"type\":\"note\",\n\"text\":\"x\"}";
    let log = log([event("note", data, "e-1")]);
    let entry = log.newest(None, 1).remove(0);
    assert_eq!(entry.line(), "{\"type\":\"note\", \"text\":\"x\"}");
    assert_eq!(
        entry.whole(),
        "id: e-1\nevent: note\ndata: {\"type\":\"note\",\ndata: \"text\":\"x\"}\n"
    );
    assert_eq!(
        log.counters.overhead_bytes as usize,
        overhead_of("note", data, "e-1")
    );
}
