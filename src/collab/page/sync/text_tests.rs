//! Tests several copies of a text without a network between them.

use proptest::prelude::*;
use yrs::types::Attrs;

use super::*;
use crate::collab::{page::sync::splice::byte_at, protocol::decode_state_vector};

fn copies<const N: usize>() -> [SharedText; N] {
    std::array::from_fn(|index| SharedText::new(index as u32 + 1))
}

/// Whether a state vector covers every character of a text; an invalid one covers none.
fn is_covered(text: &SharedText, state_vector: &[u8]) -> bool {
    decode_state_vector(state_vector)
        .is_ok_and(|clocks| text.is_covered_by(|client| clocks.get(&client).copied().unwrap_or(0)))
}

fn deliver(updates: &[Vec<u8>], to: &mut SharedText) -> bool {
    let (changed, read) = to.apply(updates.iter().map(Vec::as_slice));
    assert_eq!(read, Ok(()));
    changed
}

/// Inserts a text at a position, as if it were typed.
fn type_at(text: &mut SharedText, at: u32, what: &str, now: f64) -> Vec<Vec<u8>> {
    let byte = byte_at(text.shown(), at);
    let mut value = text.shown().to_owned();
    value.insert_str(byte, what);
    let caret = at + units(what);
    text.edit(&value, caret, now).unwrap()
}

fn sync(one: &mut SharedText, two: &mut SharedText) {
    for _ in 0..2 {
        let to_two = one.difference(&two.state_vector()).unwrap();
        let to_one = two.difference(&one.state_vector()).unwrap();
        deliver(&[to_two], two);
        deliver(&[to_one], one);
    }
}

fn caret(at: u32) -> Selection {
    Selection {
        start: at,
        end: at,
        backward: false,
    }
}

#[test]
fn an_edit_is_one_small_update_that_makes_the_same_text_elsewhere() {
    let [mut one, mut two] = copies();
    deliver(&type_at(&mut one, 0, "Grüße, 世界 😀!", 0.0), &mut two);
    let edit = one.edit("Grüße, 世界!", 9, 1.0).unwrap();
    assert_eq!(edit.len(), 1);
    assert!(edit[0].len() < 32);
    assert!(deliver(&edit, &mut two));
    assert_eq!(two.shown(), "Grüße, 世界!");
    assert_eq!(one.state_vector(), two.state_vector());
    assert_eq!(one.edit("Grüße, 世界!", 0, 2.0), Ok(vec![]));
    let over = one.edit("Grüße, du!", 9, 3.0).unwrap();
    assert_eq!(over.len(), 1, "typing over a selection is one update");
    deliver(&over, &mut two);
    assert_eq!(two.shown(), "Grüße, du!");
}

#[test]
fn text_inserted_before_a_caret_moves_it_and_text_inserted_at_it_does_not() {
    let [mut one, mut two] = copies();
    deliver(&type_at(&mut one, 0, "abc", 0.0), &mut two);
    let held = one.hold(caret(2));
    let update = type_at(&mut two, 0, "😀", 0.0);
    deliver(&update, &mut one);
    assert_eq!(one.find(&held), Some(caret(4)));
    let held = one.hold(caret(4));
    let update = type_at(&mut two, 4, "XYZ", 0.0);
    deliver(&update, &mut one);
    assert_eq!((one.shown(), one.find(&held)), ("😀abXYZc", Some(caret(4))));
    // A caret at the very end, and one in an empty text, must not move either.
    for at in [0, 8] {
        two.end_step();
        let held = one.hold(caret(at));
        let update = type_at(&mut two, at, "!", 0.0);
        deliver(&update, &mut one);
        assert_eq!(one.find(&held), Some(caret(at)));
        let back = two.undo(0.0).unwrap().0;
        deliver(&back, &mut one);
    }
}

#[test]
fn a_selection_includes_text_inserted_inside_and_not_at_its_ends() {
    let [mut one, mut two] = copies();
    deliver(&type_at(&mut one, 0, "abcd", 0.0), &mut two);
    let selection = Selection {
        start: 1,
        end: 3,
        backward: true,
    };
    let held = one.hold(selection);
    for (at, what) in [(3, ">"), (2, "-"), (1, "<")] {
        let update = type_at(&mut two, at, what, 0.0);
        deliver(&update, &mut one);
    }
    assert_eq!(one.shown(), "a<b-c>d");
    assert_eq!(
        one.find(&held),
        Some(Selection {
            start: 2,
            end: 5,
            backward: true
        })
    );
    let gone = two.edit("ad", 1, 0.0).unwrap();
    deliver(&gone, &mut one);
    assert_eq!(
        one.find(&held),
        Some(Selection {
            start: 1,
            end: 1,
            backward: true
        })
    );
}

#[test]
fn undo_reverts_own_edits_and_keeps_those_of_others() {
    let [mut one, mut two] = copies();
    deliver(&type_at(&mut one, 0, "mine ", 0.0), &mut two);
    deliver(&type_at(&mut two, 5, "theirs ", 100.0), &mut one);
    assert!(!two.can_redo() && two.can_undo());
    // After a pause, so it is a step of its own.
    deliver(&type_at(&mut one, 12, "mine too", 10_000.0), &mut two);
    let (update, at) = one.undo(20_000.0).unwrap();
    deliver(&update, &mut two);
    assert_eq!((one.shown(), at), ("mine theirs ", Some(12)));
    let (update, at) = one.undo(20_001.0).unwrap();
    deliver(&update, &mut two);
    assert_eq!((one.shown(), at), ("theirs ", Some(0)));
    assert_eq!(one.undo(20_002.0), None);
    assert!(!one.can_undo() && one.can_redo());
    let (update, at) = one.redo(20_003.0).unwrap();
    deliver(&update, &mut two);
    assert_eq!((two.shown(), at), ("mine theirs ", Some(5)));
    // An edit of another client does not clear the redo history; an own edit does.
    deliver(&type_at(&mut two, 0, "!", 0.0), &mut one);
    assert!(one.can_redo());
    type_at(&mut one, 0, "?", 20_004.0);
    assert!(!one.can_redo());
}

#[test]
fn typing_without_a_pause_is_one_step_even_if_the_clock_goes_back() {
    let [mut one] = copies();
    for (index, letter) in ["a", "b", "c"].into_iter().enumerate() {
        type_at(&mut one, index as u32, letter, 1_000.0 - index as f64);
    }
    one.end_step();
    type_at(&mut one, 3, "d", 1_001.0);
    one.undo(5.0);
    assert_eq!(one.shown(), "abc");
    one.undo(5.0);
    assert_eq!(one.shown(), "");
}

#[test]
fn an_undo_without_a_visible_effect_is_sent_all_the_same() {
    let [mut one, mut two] = copies();
    deliver(&type_at(&mut one, 0, "ab", 0.0), &mut two);
    one.end_step();
    deliver(&one.edit("a", 1, 1.0).unwrap(), &mut two);
    deliver(&type_at(&mut one, 1, "b", 2.0), &mut two);
    let (update, caret) = one.undo(3.0).unwrap();
    assert_eq!((one.shown(), caret), ("ab", None));
    deliver(&update, &mut two);
    // The next edit refers to one character, not to an equal one.
    deliver(&one.edit("a", 1, 9_999.0).unwrap(), &mut two);
    assert_eq!(two.shown(), "a");
}

#[test]
fn undo_of_text_that_others_deleted_does_nothing() {
    let [mut one, mut two] = copies();
    deliver(&type_at(&mut one, 0, "abc", 0.0), &mut two);
    let gone = two.edit("", 0, 0.0).unwrap();
    deliver(&gone, &mut one);
    assert_eq!(one.undo(1.0), None);
    assert_eq!(one.shown(), "");
}

#[test]
fn a_long_paste_leaves_in_pieces_and_is_one_step() {
    let [mut one, mut two] = copies();
    let long = "Für 中文 😀 ".repeat(80_000);
    let updates = type_at(&mut one, 0, &long, 0.0);
    assert!(updates.len() > 2);
    assert!(
        updates
            .iter()
            .all(|update| update.len() < UPDATE_BYTES + 64)
    );
    deliver(&updates, &mut two);
    assert_eq!(two.shown(), long);
    deliver(&one.undo(9_999.0).unwrap().0, &mut two);
    assert_eq!(two.shown(), "");
}

#[test]
fn an_edit_too_large_for_one_message_cannot_be_undone() {
    let [mut one, mut two] = copies();
    let long = "x".repeat(STEP_BYTES + 1);
    deliver(&type_at(&mut one, 0, &long, 0.0), &mut two);
    assert!(!one.can_undo());
    one.end_step();
    deliver(&type_at(&mut one, 0, "typed ", 1.0), &mut two);
    deliver(&one.undo(2.0).unwrap().0, &mut two);
    deliver(&one.edit("", 0, 9_999.0).unwrap(), &mut two);
    assert_eq!((one.can_undo(), one.can_redo()), (false, false));
    assert_eq!(two.shown(), "");
}

#[test]
fn a_text_that_is_too_long_is_refused_and_changes_nothing() {
    let [mut one] = copies();
    type_at(&mut one, 0, "kept", 0.0);
    let long = "x".repeat(TEXT_BYTES + 1);
    assert_eq!(one.edit(&long, 0, 0.0), Err(TooLong));
    assert_eq!(one.shown(), "kept");
}

#[test]
fn a_state_vector_covers_what_it_has_and_the_difference_is_the_rest() {
    let [mut one, mut two] = copies();
    let before = one.state_vector();
    assert!(is_covered(&one, &before));
    type_at(&mut one, 0, "abc", 0.0);
    assert!(!is_covered(&one, &before));
    assert!(is_covered(&one, &one.state_vector()));
    assert!(!is_covered(&one, b"\xff\xff"));
    assert_eq!(one.difference(b"\xff"), None);
    let difference = one.difference(&before).unwrap();
    deliver(&[difference], &mut two);
    assert_eq!(two.shown(), "abc");
    // Deletions do not move a state vector, and are in every difference.
    let vector = one.state_vector();
    one.edit("", 0, 0.0).unwrap();
    assert!(is_covered(&one, &vector));
    let difference = one.difference(&vector).unwrap();
    deliver(&[difference], &mut two);
    assert_eq!(two.shown(), "");
}

#[test]
fn line_endings_of_others_are_kept_and_move_no_index() {
    let [mut one] = copies();
    {
        let mut transaction = one.doc.transact_mut_with(REMOTE);
        one.text.insert(&mut transaction, 0, "a\r\nb\r\nc");
    }
    one.refresh();
    assert_eq!(one.shown(), "a\nb\nc");
    one.edit("a\nb\nXc", 5, 0.0).unwrap();
    let whole = |one: &SharedText| yrs::GetString::get_string(&one.text, &one.doc.transact());
    assert_eq!(whole(&one), "a\r\nb\r\nXc");
    let held = one.hold(caret(4));
    assert_eq!(one.find(&held), Some(caret(4)));
    // A line feed is deleted with its carriage return.
    one.edit("ab\nXc", 1, 0.0).unwrap();
    assert_eq!(whole(&one), "ab\r\nXc");
    // Pasted text gets line feeds, whatever line endings it had.
    one.edit("ab\nX1\r\n2\rc", 9, 0.0).unwrap();
    assert_eq!(whole(&one), "ab\r\nX1\n2\nc");
}

#[test]
fn objects_and_formats_of_others_are_kept_and_move_no_index() {
    let [mut one] = copies();
    {
        let mut transaction = one.doc.transact_mut_with(REMOTE);
        let bold = Attrs::from([("bold".into(), Any::Bool(true))]);
        one.text.insert(&mut transaction, 0, "before after");
        one.text.format(&mut transaction, 1, 8, bold);
        let image = std::collections::HashMap::from([("image".to_owned(), Any::from("name"))]);
        one.text.insert_embed(&mut transaction, 7, Any::from(image));
    }
    one.refresh();
    assert_eq!(one.shown(), "before \u{fffc}after");
    one.edit("before \u{fffc}and after", 12, 0.0).unwrap();
    assert_eq!(one.shown(), "before \u{fffc}and after");
    for at in 0..=one.shown().chars().count() as u32 {
        assert_eq!(one.find(&one.hold(caret(at))), Some(caret(at)));
    }
    one.edit("before and after", 7, 0.0).unwrap();
    assert_eq!(one.shown(), "before and after");
}

#[test]
fn a_position_elsewhere_is_none_here() {
    let [mut one, mut two] = copies();
    type_at(&mut two, 0, "unknown", 0.0);
    let held = two.hold(caret(3));
    assert_eq!(one.find(&held), None);
    type_at(&mut one, 0, "known", 0.0);
    let position: RelativePosition =
        serde_json::from_str(r#"{"tname":"another","assoc":0}"#).unwrap();
    assert_eq!(one.index_of(&position), None);
    let nonsense: RelativePosition =
        serde_json::from_str(r#"{"item":{"client":1,"clock":4000000000},"assoc":7}"#).unwrap();
    assert_eq!(one.index_of(&nonsense), None);
}

/// The next action of one of several clients.
#[derive(Clone, Debug)]
enum Action {
    Type(u32, String),
    Delete(u32, u32),
    Undo,
    Redo,
    /// Receives everything that another client has.
    Receive(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0u32..40, "[ab中😀\n]{1,6}").prop_map(|(at, what)| Action::Type(at, what)),
        2 => (0u32..40, 1u32..8).prop_map(|(at, length)| Action::Delete(at, length)),
        2 => Just(Action::Undo),
        1 => Just(Action::Redo),
        3 => (0usize..3).prop_map(Action::Receive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn copies_that_exchanged_their_updates_are_equal(actions in prop::collection::vec((0usize..3, action()), 1..40)) {
        let mut all = copies::<3>();
        for (number, (who, action)) in actions.into_iter().enumerate() {
            let now = number as f64 * 300.0;
            if let Action::Receive(from) = action {
                let known = all[who].state_vector();
                let news = all[from].difference(&known).unwrap();
                deliver(&[news], &mut all[who]);
                continue;
            }
            let text = &mut all[who];
            let at = |unit: u32, text: &SharedText| byte_at(text.shown(), unit);
            match action {
                Action::Type(unit, what) => {
                    let mut value = text.shown().to_owned();
                    value.insert_str(at(unit, text), &what);
                    text.edit(&value, unit + units(&what), now).unwrap();
                    prop_assert_eq!(text.shown(), value);
                }
                Action::Delete(unit, length) => {
                    let mut value = text.shown().to_owned();
                    value.replace_range(at(unit, text)..at(unit + length, text), "");
                    text.edit(&value, unit, now).unwrap();
                    prop_assert_eq!(text.shown(), value);
                }
                Action::Undo => { text.undo(now); }
                Action::Redo => { text.redo(now); }
                Action::Receive(_) => {}
            }
            // While nothing happens, every held caret stays at its position.
            for (unit, _) in text.shown().encode_utf16().enumerate() {
                prop_assert_eq!(text.find(&text.hold(caret(unit as u32))), Some(caret(unit as u32)));
            }
        }
        let [one, two, three] = &mut all;
        sync(one, two);
        sync(two, three);
        sync(one, three);
        prop_assert_eq!(one.shown(), two.shown());
        prop_assert_eq!(one.shown(), three.shown());
        prop_assert!(is_covered(one, &two.state_vector()) && is_covered(two, &one.state_vector()));
        prop_assert!(is_covered(one, &three.state_vector()) && is_covered(three, &one.state_vector()));
    }
}
