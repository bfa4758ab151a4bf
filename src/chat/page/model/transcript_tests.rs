//! Tests of the transcript of one room.

use uuid::Uuid;

use super::*;

const DAY_MS: u64 = 86_400_000;

fn user(number: u128) -> User {
    User::new(Uuid::from_u128(number), format!("user {number}"))
}

fn message(offset: u64) -> Arc<ChatMessage> {
    message_by(offset, 1, offset * 1_000)
}

fn message_by(offset: u64, by: u128, at: u64) -> Arc<ChatMessage> {
    Arc::new(ChatMessage {
        offset,
        id: Uuid::from_u128(offset.into()).into(),
        from: user(by),
        text: format!("message {offset}"),
        at,
    })
}

fn utc_day(at: u64) -> i64 {
    (at / DAY_MS) as i64
}

fn offsets(log: &Transcript) -> Vec<u64> {
    log.rows(utc_day)
        .iter()
        .map(|row| row.message.offset)
        .collect()
}

/// A transcript that holds `offsets` and has older messages.
fn log_of(offsets: impl IntoIterator<Item = u64>) -> Transcript {
    let mut log = Transcript::default();
    log.begin_anew(u64::MAX);
    for offset in offsets {
        log.append(message(offset));
    }
    log
}

/// A page of history, newest first.
fn page(offsets: Range<u64>) -> Vec<ChatMessage> {
    offsets
        .rev()
        .map(|offset| (*message(offset)).clone())
        .collect()
}

#[test]
fn another_epoch_empties_it_and_fills_it_again() {
    let mut log = log_of(1..=50);
    log.begin_anew(2);
    assert!(log.is_empty() && log.rows(utc_day).is_empty());
    log.append(message(1));
    log.append(message(2));
    assert_eq!(offsets(&log), [1, 2]);
    log.begin_anew(0);
    assert!(!log.has_older(), "an empty room has nothing to ask for");
}

#[test]
fn history_is_prepended_and_overlaps_nothing() {
    let mut log = log_of(100..=110);
    assert_eq!(log.history_before(), Some(100));
    // A page that overlaps the held messages, as a slow answer can.
    assert!(log.prepend(page(90..105), true));
    assert!(log.show_older());
    assert_eq!(offsets(&log), (90..=110).collect::<Vec<_>>());
    assert_eq!(log.history_before(), Some(90));
    assert!(log.prepend(page(80..90), false));
    assert_eq!(log.history_before(), None);
    assert!(!log.has_older());
    assert!(
        !log.prepend(page(80..90), false),
        "twice the same brings nothing"
    );
}

#[test]
fn while_following_only_the_latest_are_shown_and_the_oldest_are_forgotten() {
    let log = log_of(1..=MOST_HELD as u64 + 1);
    let last = MOST_HELD as u64 + 1;
    assert_eq!(
        offsets(&log),
        (last - LATEST as u64 + 1..=last).collect::<Vec<_>>()
    );
    assert_eq!(log.first_offset(), Some(MOST_HELD as u64 / 2 + 1));
    assert!(log.has_older());
}

#[test]
fn a_reader_who_scrolled_up_keeps_what_is_in_view() {
    let mut log = log_of(1..=1_000);
    log.scrolled_up(true);
    let before = offsets(&log);
    for offset in 1_001..=1_000 + MOST_SHOWN as u64 {
        log.append(message(offset));
    }
    let after = offsets(&log);
    assert!(after.starts_with(&before), "it grows below");
    assert_eq!(after.len(), MOST_SHOWN, "but not without end");
    assert!(!log.shows_the_end());
    log.scrolled_up(false);
    log.show_latest();
    assert!(log.shows_the_end());
    assert_eq!(offsets(&log).last(), Some(&(1_000 + MOST_SHOWN as u64)));
}

#[test]
fn the_shown_part_moves_over_all_that_is_held_and_never_grows_too_large() {
    let mut log = log_of(1..=1_500);
    log.scrolled_up(true);
    let mut steps = 0;
    while log.show_older() {
        steps += 1;
        assert!(offsets(&log).len() <= MOST_SHOWN);
        assert_eq!(log.history_before().is_some(), offsets(&log)[0] == 1);
    }
    assert_eq!((offsets(&log)[0], steps), (1, (1_500 - LATEST) / BLOCK));
    while log.show_newer() {
        assert!(offsets(&log).len() <= MOST_SHOWN);
    }
    assert_eq!(offsets(&log).last(), Some(&1_500));
    assert!(log.shows_the_end());
}

/// The blocks that are shown, from the first to the last.
fn blocks(log: &Transcript) -> Vec<i64> {
    let mut blocks: Vec<_> = log.rows(utc_day).iter().map(|row| row.block).collect();
    blocks.dedup();
    blocks
}

#[test]
fn a_step_shows_one_block_more_at_most_and_no_message_changes_its_block() {
    let mut log = log_of(1_001..=1_130);
    log.scrolled_up(true);
    let mut seen = std::collections::BTreeMap::new();
    let mut check = |log: &Transcript| {
        for row in log.rows(utc_day) {
            let first = *seen.entry(row.message.offset).or_insert(row.block);
            assert_eq!(row.block, first, "{}", row.message.offset);
        }
    };
    check(&log);
    loop {
        let before = blocks(&log);
        if !log.show_older() {
            let Some(first) = log.first_offset().filter(|first| *first > 1) else {
                break;
            };
            // Pages need not be as long as blocks.
            log.prepend(page(first.saturating_sub(70).max(1)..first), first > 71);
            continue;
        }
        check(&log);
        let new = blocks(&log)[0];
        assert!(new == before[0] || new == before[0] - 1);
    }
    assert_eq!(offsets(&log)[0], 1);
    loop {
        let before = blocks(&log);
        if !log.show_newer() {
            break;
        }
        check(&log);
        let (old, new) = (before[before.len() - 1], *blocks(&log).last().unwrap());
        assert!(new == old || new == old + 1);
    }
    assert!(log.shows_the_end());
}

#[test]
fn a_message_keeps_its_block_when_older_ones_are_forgotten() {
    let mut log = log_of(1..=MOST_HELD as u64);
    let last = |log: &Transcript| log.rows(utc_day).pop().unwrap().block;
    let before = last(&log);
    log.append(message(MOST_HELD as u64 + 1));
    assert_eq!(last(&log), before + 1, "2,000 messages are whole blocks");
}

#[test]
fn a_message_is_shown_where_it_stands() {
    let mut log = log_of((1..=1_500).map(|number| number * 3));
    assert!(log.show(300));
    let shown = offsets(&log);
    assert!(shown.contains(&300) && shown.len() <= LATEST);
    assert!(!log.show(301), "no such offset");
    assert!(log.show(4_500));
    assert!(log.shows_the_end());
    let before = offsets(&log);
    assert!(log.show(4_497));
    assert_eq!(offsets(&log), before, "in view already: nothing moves");
}

#[test]
fn messages_of_one_author_within_minutes_stand_under_one_name() {
    let mut log = Transcript::default();
    log.begin_anew(9);
    let minute = 60_000;
    for (offset, by, at) in [
        (1, 1, 0),
        (2, 1, minute),
        (3, 2, 2 * minute),
        (4, 1, 3 * minute),
        (5, 1, 9 * minute),
        (6, 1, DAY_MS - minute),
        (7, 1, DAY_MS + minute),
    ] {
        log.append(message_by(offset, by, at));
    }
    let rows = log.rows(utc_day);
    let leads: Vec<_> = rows
        .iter()
        .filter(|row| row.leads)
        .map(|row| row.message.offset)
        .collect();
    assert_eq!(leads, [1, 3, 4, 5, 6, 7]);
    let days: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row.message.offset, row.day?)))
        .collect();
    assert_eq!(days, [(1, 0), (7, 1)]);
}

#[test]
fn a_day_begins_where_it_does_for_the_reader() {
    let mut log = Transcript::default();
    log.begin_anew(9);
    log.append(message_by(1, 1, DAY_MS - 1_000));
    log.append(message_by(2, 1, DAY_MS + 1_000));
    let days = |hours: i64| {
        let rows = log.rows(|at| (at as i64 + hours * 3_600_000).div_euclid(DAY_MS as i64));
        rows.iter().map(|row| row.day).collect::<Vec<_>>()
    };
    assert_eq!(days(0), [Some(0), Some(1)]);
    assert_eq!(days(2), [Some(1), None]);
}

#[test]
fn grouping_does_not_depend_on_what_is_shown() {
    let mut log = log_of(1..=1_000);
    log.scrolled_up(true);
    assert!(!log.rows(utc_day)[0].leads, "its group began further up");
    assert!(log.show_older());
    assert!(!log.rows(utc_day)[0].leads);
    while log.show_older() {}
    let rows = log.rows(utc_day);
    assert!(
        rows[0].leads && rows[0].day.is_some(),
        "nothing is known of what came before"
    );
}

#[test]
fn messages_after_an_offset_are_found() {
    let log = log_of([2, 4, 6]);
    for (offset, count) in [(0, 3), (1, 3), (2, 2), (3, 2), (6, 0), (7, 0)] {
        assert_eq!(log.after(offset).len(), count, "{offset}");
    }
}
