//! Tests the check of a document: texts without a violation, and one for each that it must find.

use super::document_checker::{Typed, check, tokens};

fn typed() -> Vec<Typed> {
    let all = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect();
    let one = Typed {
        kept: all(&["[0.1]", "[0.3]"]),
        removed: all(&["[0.2]"]),
        doubtful: vec![],
    };
    let two = Typed {
        kept: all(&["[1.1]"]),
        removed: vec![],
        doubtful: all(&["[1.2]"]),
    };
    vec![one, two]
}

fn checked(texts: &[&str]) -> Vec<String> {
    let texts: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| (format!("node {number}"), (*text).to_owned()))
        .collect();
    check(&typed(), &texts)
}

#[test]
fn texts_that_are_equal_and_complete_are_right() {
    assert_eq!(checked(&["[1.1][0.1][0.3]"; 3]), [] as [String; 0]);
    assert_eq!(checked(&["[1.1][0.1][1.2][0.3]"]), [] as [String; 0]);
    assert_eq!(tokens("[a][b]").collect::<Vec<_>>(), ["[a]", "[b]"]);
}

#[test]
fn a_token_that_is_lost_or_doubled_or_back_is_found() {
    for (text, what) in [
        ("[1.1][0.1]", "[0.3] stands there 0 times"),
        ("[1.1][0.1][0.3][0.1]", "[0.1] stands there 2 times"),
        ("[1.1][0.1][0.2][0.3]", "[0.2] stands there 1 times"),
        ("[1.2][1.2][1.1][0.1][0.3]", "[1.2] stands there 2 times"),
    ] {
        assert_eq!(checked(&[text]), [format!("at node 0: {what}")]);
    }
}

#[test]
fn what_nobody_typed_is_found() {
    assert_eq!(
        checked(&["[1.1][0.1][0.3][7.7]"]),
        ["at node 0: nobody typed \"[7.7]\""]
    );
    let torn = checked(&["[1.1][0.[0.3]1]"]);
    assert!(
        torn.iter().any(|what| what.contains("nobody typed")),
        "{torn:?}"
    );
}

#[test]
fn a_text_that_differs_is_found() {
    let right = "[1.1][0.1][0.3]";
    assert_eq!(
        checked(&[right, right, "[0.1][1.1][0.3]"]),
        ["the text at node 2 is not that at node 0: another order"]
    );
    assert_eq!(
        checked(&[right, "[1.1][0.1]"]),
        ["the text at node 1 is not that at node 0: [0.3] stands there 0 times"]
    );
    assert_eq!(check(&typed(), &[]), ["there is no text"]);
}
