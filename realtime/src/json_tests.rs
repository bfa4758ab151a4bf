use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::VariantNames;

use super::*;

/// A type with everything that serde's data model and JSON have in common.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Everything {
    yes: bool,
    small: i8,
    large: u64,
    ratio: f64,
    letter: char,
    text: String,
    maybe: Option<u32>,
    nothing: (),
    pair: (u8, String),
    list: Vec<i64>,
    by_name: BTreeMap<String, u8>,
    by_number: BTreeMap<u16, bool>,
    by_word: BTreeMap<Word, u8>,
    wrapped: Wrapped,
    unit: Unit,
    choices: Vec<Choice>,
    any: Value,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wrapped(u32);

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Word {
    One,
    Two,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    Newtype(u8),
    Tuple(u8, u8),
    Struct { field: u8 },
}

fn both<T: DeserializeOwned>(text: &str) -> (Option<T>, Option<T>) {
    (decode(text).ok(), serde_json::from_str(text).ok())
}

#[test]
fn every_kind_of_value_is_decoded_as_serde_json_decodes_it() {
    for text in [
        r#"{"yes":true,"small":-8,"large":18446744073709551615,"ratio":1.5,"letter":"é","text":"a\nb"}"#,
        r#"{"ratio":7,"maybe":3,"nothing":null,"pair":[1,"b"],"list":[-1,0,1],"by_name":{"a":1,"b":2}}"#,
        r#"{"by_number":{"7":true,"8":false},"by_word":{"One":1,"Two":2},"wrapped":5,"unit":null,"maybe":null}"#,
        r#"{"choices":["Unit",{"Unit":null},{"Newtype":1},{"Tuple":[1,2]},{"Struct":{"field":3}}]}"#,
        r#"{"any":{"deep":[1,-1,1.5,"x",null,true,{}]},"unknown":{"is":["ignored"]}}"#,
    ] {
        let (ours, theirs) = both::<Everything>(text);
        assert!(theirs.is_some(), "{text}");
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn what_serde_json_refuses_is_refused() {
    for text in [
        "",
        "{",
        "7",
        "null",
        r#"{"yes":1}"#,
        r#"{"small":128}"#,
        r#"{"small":1.5}"#,
        r#"{"large":-1}"#,
        r#"{"ratio":"1"}"#,
        r#"{"letter":"ab"}"#,
        r#"{"text":5}"#,
        r#"{"maybe":"x"}"#,
        r#"{"nothing":0}"#,
        r#"{"pair":[1]}"#,
        r#"{"pair":[1,"b",2]}"#,
        r#"{"list":{"0":1}}"#,
        r#"{"by_name":[1]}"#,
        r#"{"by_number":{"x":true}}"#,
        r#"{"by_number":{"65536":true}}"#,
        r#"{"by_word":{"Three":1}}"#,
        r#"{"wrapped":"x"}"#,
        r#"{"unit":7}"#,
        r#"{"choices":["Newtype"]}"#,
        r#"{"choices":["Other"]}"#,
        r#"{"choices":[{"Unit":1}]}"#,
        r#"{"choices":[{"Unit":null,"Newtype":1}]}"#,
        r#"{"choices":[{}]}"#,
        r#"{"choices":[1]}"#,
    ] {
        assert_eq!(both::<Everything>(text), (None, None), "{text}");
    }
}

tagged! {
    #[derive(Debug, PartialEq, Serialize, VariantNames)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[strum(serialize_all = "snake_case")]
    enum Tagged<W> {
        /// No other field.
        BareWord,
        Holds(Part),
        HasFields {
            count: u32,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            note: Option<String>,
            #[serde(default)]
            width: u8,
        },
        Flat {
            place: String,
            #[serde(flatten)]
            rest: W,
        },
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Derived {
    BareWord,
    Holds(Part),
    HasFields {
        count: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        #[serde(default)]
        width: u8,
    },
    Flat {
        place: String,
        #[serde(flatten)]
        rest: Part,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    x: f64,
}

#[test]
fn a_tagged_enum_is_decoded_as_serde_derives_it() {
    for (text, is_valid) in [
        (r#"{"type":"bare_word"}"#, true),
        (r#"{"unknown":1,"type":"bare_word"}"#, true),
        (r#"{"type":"holds","x":2.5}"#, true),
        (r#"{"x":2.5,"type":"holds"}"#, true),
        (r#"{"type":"has_fields","count":1}"#, true),
        (
            r#"{"type":"has_fields","count":1,"note":"n","width":3}"#,
            true,
        ),
        (r#"{"type":"has_fields","count":1,"note":null}"#, true),
        (r#"{"type":"flat","place":"here","x":1}"#, true),
        (r#"{"type":"holds"}"#, false),
        (r#"{"type":"has_fields"}"#, false),
        (r#"{"type":"has_fields","count":-1}"#, false),
        (r#"{"type":"flat","place":"here"}"#, false),
        (r#"{"type":"other"}"#, false),
        (r#"{"type":"BareWord"}"#, false),
        (r#"{"type":["bare_word"]}"#, false),
        (r#"{"x":1}"#, false),
        (r#""bare_word""#, false),
        ("[]", false),
    ] {
        let ours = decode::<Tagged<Part>>(text);
        let through_the_parser = serde_json::from_str::<Tagged<Part>>(text);
        let theirs = serde_json::from_str::<Derived>(text);
        assert_eq!(theirs.is_ok(), is_valid, "{text}");
        let theirs = theirs.ok().map(|value| json!(value));
        for ours in [ours.ok(), through_the_parser.ok()] {
            assert_eq!(ours.map(|value| json!(value)), theirs, "{text}");
        }
    }
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let refused = |text: &str| decode::<Tagged<Part>>(text).unwrap_err().to_string();
    for (text, words) in [
        (
            r#"{"type":"gone"}"#,
            "unknown variant `gone`, expected one of `bare_word`, `holds`, `has_fields`, `flat`",
        ),
        (r#"{"x":1}"#, "missing field `type`"),
        (
            r#"{"type":5}"#,
            "invalid type: an integer, expected a tag, which is a string",
        ),
        (r#"{"type":"has_fields"}"#, "missing field `count`"),
        (
            r#"{"type":"has_fields","count":"1"}"#,
            "invalid type: a string, expected u32",
        ),
        ("{", "EOF while parsing an object at line 1 column 1"),
    ] {
        assert_eq!(refused(text), words, "{text}");
    }
    let long: Result<(u8, u8), _> = decode("[1,2,3]");
    assert_eq!(
        long.unwrap_err().to_string(),
        "invalid length 3, expected 2 items"
    );
}

#[test]
fn a_struct_is_no_array() {
    assert!(decode::<Part>("[1]").is_err());
    assert!(decode::<Tagged<Part>>(r#"{"type":"holds","0":1}"#).is_err());
}

#[test]
fn of_a_repeated_field_the_last_value_counts() {
    let value: Value = decode(r#"{"a":1,"a":2}"#).unwrap();
    assert_eq!(value, json!({"a": 2}));
    let part: Part = decode(r#"{"x":1,"x":2}"#).unwrap();
    assert_eq!(part, Part { x: 2.0 });
}
