//! Tests the encoding with a separate parser, written from the standard (WHATWG HTML, 9.2.6), on input split at random
//! bytes.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{event_parser::EventParser, position::Epoch, server::frame::frame_json};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Sample {
    Text { text: String },
    Numbers { list: Vec<f64>, at: u64 },
}

/// What a browser dispatches.
#[derive(Clone, Debug, Default, PartialEq)]
struct Dispatched {
    event: String,
    data: String,
    last_event_id: String,
}

/// An event stream parser for bytes that arrive in arbitrary pieces.
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    after_carriage_return: bool,
    event: String,
    data: String,
    last_event_id: String,
    dispatched: Vec<Dispatched>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let ends_line = match byte {
                b'\n' if self.after_carriage_return => {
                    self.after_carriage_return = false;
                    continue;
                }
                b'\n' => true,
                b'\r' => {
                    self.after_carriage_return = true;
                    true
                }
                _ => false,
            };
            if !ends_line {
                self.after_carriage_return = false;
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).expect("valid UTF-8");
            self.take_line(&line);
        }
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            let (event, data) = (
                std::mem::take(&mut self.event),
                std::mem::take(&mut self.data),
            );
            if let Some(data) = data.strip_suffix('\n') {
                self.dispatched.push(Dispatched {
                    event,
                    data: data.into(),
                    last_event_id: self.last_event_id.clone(),
                });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.into(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.last_event_id = value.into(),
            _ => {}
        }
    }
}

/// Numbers that are exact in binary, so that the test does not depend on how a JSON parser rounds the last digit.
fn eighths() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(
        (-1_000_000_000..1_000_000_000_i32).prop_map(|number| f64::from(number) / 8.0),
        0..5,
    )
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        any::<String>().prop_map(|text| Sample::Text { text }),
        // Line ends of every kind break a naive encoder.
        "[\r\n\u{2028}: \u{0}a-z]{0,40}".prop_map(|text| Sample::Text { text }),
        (eighths(), any::<u64>()).prop_map(|(list, at)| Sample::Numbers { list, at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_event_split_anywhere_is_read_back_as_it_was(
        events in proptest::collection::vec((sample(), 0..1_u64 << 53), 1..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let epoch = Epoch::new("k3j9x0").unwrap();
        let mut bytes = b": comment\nretry: 2000\n\n".to_vec();
        let mut expected = vec![];
        for (event, offset) in &events {
            let position = Position::new(epoch.clone(), *offset);
            bytes.extend_from_slice(&frame(Some(&position), event));
            let name = if matches!(event, Sample::Text { .. }) { "text" } else { "numbers" };
            let data = serde_json::to_string(event).unwrap();
            expected.push(Dispatched { event: name.into(), data, last_event_id: position.to_string() });
        }
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.sort_unstable();
        let mut parser = Parser::default();
        let mut from = 0;
        for place in places {
            parser.feed(&bytes[from..place]);
            from = place;
        }
        parser.feed(&bytes[from..]);
        prop_assert_eq!(&parser.dispatched, &expected);
        for (dispatched, (event, _)) in parser.dispatched.iter().zip(&events) {
            prop_assert_eq!(&serde_json::from_str::<Sample>(&dispatched.data).unwrap(), event);
        }
    }
}

#[test]
fn an_event_without_a_position_has_no_id_line() {
    let bytes = frame(None, &Sample::Text { text: "x".into() });
    assert_eq!(
        bytes,
        "event: text\ndata: {\"type\":\"text\",\"text\":\"x\"}\n\n"
    );
}

#[test]
fn data_of_several_lines_is_read_back_as_one_text() {
    let position = Position::new(Epoch::new("k3j9x0").unwrap(), 7);
    let json = "{\"type\":\"text\",\n\r\n\"text\":\r\"x\"}";
    let bytes = frame_json(Some(&position), json);
    assert_eq!(
        bytes,
        "id: k3j9x0-7\nevent: text\ndata: {\"type\":\"text\",\ndata: \ndata: \ndata: \"text\":\ndata: \"x\"}\n\n"
    );
    let (mut browser, mut ours) = (Parser::default(), EventParser::default());
    browser.feed(&bytes);
    ours.feed(&bytes);
    let [dispatched] = &*browser.dispatched else {
        panic!("{:?}", browser.dispatched)
    };
    let event = ours.next_event().unwrap();
    assert_eq!(event.data, dispatched.data);
    assert_eq!(event.data, "{\"type\":\"text\",\n\n\n\"text\":\n\"x\"}");
    assert_eq!(ours.next_event(), None);
    let text = Sample::Text { text: "x".into() };
    assert_eq!(serde_json::from_str::<Sample>(&event.data).unwrap(), text);
}
