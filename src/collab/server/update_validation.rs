//! Scans an update before yrs reads it, and refuses what yrs would trust: counts and lengths beyond the input, clocks
//! that overflow, nesting that overflows the stack. It also cuts off what lies behind a gap in a client's clocks: yrs
//! 0.28 accepts such blocks, but omits them from the update that its transaction then reports.
//!
//! The layout is Yjs' update format, version 1 (`UpdateDecoderV1` in yjs, `updates/decoder.rs` in yrs): clients with
//! their blocks, then the deleted ranges. A document here is a text: strings, formats and embeds, and other content
//! that a plugin may add. Subdocuments and the JSON content of Yjs before version 13 are not accepted.

use crate::collab::protocol::{Input, ProtocolError, write_number};

/// The maximum number of nested types in one document. Deleting a type deletes its content by recursion, so this also
/// bounds the depth of the recursion.
pub const NESTED_TYPES: usize = 256;
/// The maximum nesting of values, which are decoded by recursion.
const NESTED_VALUES: usize = 32;

/// What an update holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    pub nested_types: usize,
    /// Clients that are new to the document.
    pub new_clients: usize,
    /// Whether it brings blocks. Otherwise it only deletes.
    pub inserts: bool,
    /// It holds more than one client's edit of a text: blocks of several clients, a gap, a partly known part, nested
    /// types, or map entries. Whether yrs can encode those is certain only once they are in the document.
    pub special: bool,
    /// The update without what lies behind gaps, if it has any.
    pub without_gaps: Option<Vec<u8>>,
}

/// The blocks of one client up to the first gap.
struct Run<'a> {
    client: u64,
    clock: u32,
    blocks: u64,
    bytes: &'a [u8],
}

/// Why an update is refused before yrs reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Bytes(#[from] ProtocolError),
    #[error("a count says more than the bytes that follow can hold")]
    Count,
    #[error("a clock is above 2^32 - 1")]
    Clock,
    #[error("content of type {0} is not taken here")]
    Content(u8),
    #[error("values are nested more than {NESTED_VALUES} deep")]
    Depth,
}

// Flags and kinds in the first byte of a block.
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;
const GC: u8 = 0;
const SKIP: u8 = 10;
const KIND: u8 = 0x1f;

/// Reads an update to its last byte. `known` returns how many clocks of a client the document has.
pub fn scan(update: &[u8], known: impl Fn(u64) -> u32) -> Result<Scanned, ScanError> {
    let mut input = Input(update);
    let mut found = Scanned::default();
    let (mut runs, mut has_gap) = (vec![], false);
    for _ in 0..count(&mut input)? {
        let (run, all) = client(&mut input, &known, &mut found)?;
        has_gap |= !all;
        found.inserts |= run.blocks > 0;
        found.new_clients += usize::from(run.blocks > 0 && known(run.client) == 0);
        found.special |= !all || run.clock != known(run.client);
        runs.push(run);
    }
    found.special |= runs.len() > 1 || found.nested_types > 0;
    let deletions = input.0;
    for _ in 0..count(&mut input)? {
        let _client = input.number()?;
        for _ in 0..count(&mut input)? {
            let start = clock_of(input.number()?)?;
            let length = clock_of(input.number()?)?;
            start.checked_add(length).ok_or(ScanError::Clock)?;
        }
    }
    input.end()?;
    found.without_gaps = has_gap.then(|| join(&runs, deletions));
    Ok(found)
}

/// Reads the blocks of one client. Returns whether there is no gap among them.
fn client<'a>(
    input: &mut Input<'a>,
    known: impl Fn(u64) -> u32,
    found: &mut Scanned,
) -> Result<(Run<'a>, bool), ScanError> {
    let blocks = count(input)?;
    let client = input.number()?;
    let mut clock = clock_of(input.number()?)?;
    let (start, mut end, mut kept) = (input.0, input.0, 0);
    let mut run = Run {
        client,
        clock,
        blocks: 0,
        bytes: &[],
    };
    // All clocks up to here are known once the update is applied.
    let mut reached = known(client);
    for index in 0..blocks {
        let skips = input.0.first() == Some(&SKIP);
        let length = block(input, found)?;
        let follows = kept == index && (skips || clock <= reached);
        clock = clock.checked_add(length).ok_or(ScanError::Clock)?;
        if follows {
            (kept, end) = (kept + 1, input.0);
            if !skips {
                reached = reached.max(clock);
            }
        }
    }
    (run.blocks, run.bytes) = (kept, &start[..start.len() - end.len()]);
    Ok((run, kept == blocks))
}

fn join(runs: &[Run], deletions: &[u8]) -> Vec<u8> {
    let kept = || runs.iter().filter(|run| run.blocks > 0);
    let mut update = vec![];
    write_number(&mut update, kept().count() as u64);
    for run in kept() {
        write_number(&mut update, run.blocks);
        write_number(&mut update, run.client);
        write_number(&mut update, run.clock.into());
        update.extend_from_slice(run.bytes);
    }
    update.extend_from_slice(deletions);
    update
}

/// Checks a state vector: clients and their clocks.
pub fn scan_state_vector(bytes: &[u8]) -> Result<(), ScanError> {
    let mut input = Input(bytes);
    for _ in 0..count(&mut input)? {
        let _client = input.number()?;
        clock_of(input.number()?)?;
    }
    Ok(input.end()?)
}

/// A count of items of at least one byte each.
fn count(input: &mut Input) -> Result<u64, ScanError> {
    let count = input.number()?;
    if count > input.0.len() as u64 {
        return Err(ScanError::Count);
    }
    Ok(count)
}

fn clock_of(number: u64) -> Result<u32, ScanError> {
    u32::try_from(number).map_err(|_| ScanError::Clock)
}

/// Reads a block and returns how many clocks it takes.
fn block(input: &mut Input, found: &mut Scanned) -> Result<u32, ScanError> {
    let info = input.byte()?;
    if matches!(info, GC | SKIP) {
        found.special |= info == SKIP;
        return clock_of(input.number()?);
    }
    for flag in [HAS_ORIGIN, HAS_RIGHT_ORIGIN] {
        if info & flag != 0 {
            id(input)?;
        }
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        match input.number()? {
            1 => drop(input.text()?),
            _ => {
                found.special = true;
                id(input)?;
            }
        }
        if info & HAS_PARENT_SUB != 0 {
            found.special = true;
            input.text()?;
        }
    }
    let length = content(info & KIND, input, found)?;
    // yrs drops an empty block when it decodes it.
    found.special |= length == 0;
    Ok(length)
}

fn content(kind: u8, input: &mut Input, found: &mut Scanned) -> Result<u32, ScanError> {
    const DELETED: u8 = 1;
    const BINARY: u8 = 3;
    const STRING: u8 = 4;
    const EMBED: u8 = 5;
    const FORMAT: u8 = 6;
    const TYPE: u8 = 7;
    const ANY: u8 = 8;
    match kind {
        DELETED => return clock_of(input.number()?),
        BINARY => drop(input.bytes()?),
        STRING => return clock_of(input.text()?.encode_utf16().count() as u64),
        EMBED => drop(input.text()?),
        FORMAT => {
            input.text()?;
            input.text()?;
        }
        TYPE => {
            found.nested_types += 1;
            nested_type(input)?;
        }
        ANY => {
            let values = count(input)?;
            for _ in 0..values {
                value(input, 0)?;
            }
            return clock_of(values);
        }
        other => return Err(ScanError::Content(other)),
    }
    Ok(1)
}

fn nested_type(input: &mut Input) -> Result<(), ScanError> {
    const XML_ELEMENT: u8 = 3;
    match input.byte()? {
        XML_ELEMENT => drop(input.text()?),
        // Array, map, text, fragment, hook, XML text.
        0..=6 => {}
        _ => return Err(ScanError::Content(7)),
    }
    Ok(())
}

/// One value of lib0's `any` encoding.
fn value(input: &mut Input, depth: usize) -> Result<(), ScanError> {
    if depth > NESTED_VALUES {
        return Err(ScanError::Depth);
    }
    match input.byte()? {
        // Undefined, null, false, true.
        126 | 127 | 120 | 121 => {}
        125 => while input.byte()? >= 0x80 {},
        124 => drop(input.take(4)?),
        122 | 123 => drop(input.take(8)?),
        119 => drop(input.text()?),
        118 => {
            for _ in 0..count(input)? {
                input.text()?;
                value(input, depth + 1)?;
            }
        }
        117 => {
            for _ in 0..count(input)? {
                value(input, depth + 1)?;
            }
        }
        116 => drop(input.bytes()?),
        other => return Err(ScanError::Content(other)),
    }
    Ok(())
}

fn id(input: &mut Input) -> Result<(), ScanError> {
    input.number()?;
    clock_of(input.number()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use yrs::{
        Any, Array, Doc, Map, MapPrelim, OffsetKind, Options, ReadTxn, StateVector, Text, Transact,
    };

    use super::*;

    fn everything() -> Vec<u8> {
        let doc = Doc::with_options(Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let text = doc.get_or_insert_text("content");
        let list = doc.get_or_insert_array("list");
        let mut txn = doc.transact_mut();
        text.insert(&mut txn, 0, "Grüße, 世界 🦀");
        text.remove_range(&mut txn, 2, 3);
        text.format(&mut txn, 0, 2, [("bold".into(), true.into())].into());
        text.insert_embed(&mut txn, 1, Any::from("an embed"));
        list.insert(&mut txn, 0, Any::from(vec![Any::from(1.5), Any::Null]));
        list.insert(&mut txn, 1, Any::Buffer(vec![1, 2, 3].into()));
        let map = list.insert(&mut txn, 2, MapPrelim::default());
        map.insert(
            &mut txn,
            "key",
            Any::from(HashMap::from([("in".to_owned(), Any::from(-70_000))])),
        );
        drop(txn);
        doc.transact()
            .encode_state_as_update_v1(&StateVector::default())
    }

    #[test]
    fn what_yrs_writes_is_read_to_its_end() {
        assert_eq!(
            scan(&everything(), |_| 0).map(|found| found.nested_types),
            Ok(1)
        );
        assert_eq!(scan(&[0, 0], |_| 0), Ok(Scanned::default()));
    }

    #[test]
    fn a_cut_update_is_refused_wherever_it_is_cut() {
        let update = everything();
        for cut in 0..update.len() {
            assert!(scan(&update[..cut], |_| 0).is_err(), "cut at {cut}");
        }
        let longer = [&update[..], &[0]].concat();
        assert_eq!(scan(&longer, |_| 0), Err(ProtocolError::LeftOver.into()));
    }

    #[test]
    fn counts_beyond_the_bytes_are_refused() {
        let clients = [0xff, 0xff, 0xff, 0x7a, 1, 1, 0, 0];
        assert_eq!(scan(&clients, |_| 0), Err(ScanError::Count));
        let blocks = [1, 0xff, 0xff, 0xff, 0x7a, 1, 0, 0];
        assert_eq!(scan(&blocks, |_| 0), Err(ScanError::Count));
        let deleted = [0, 1, 1, 0xff, 0xff, 0xff, 0x7a, 0];
        assert_eq!(scan(&deleted, |_| 0), Err(ScanError::Count));
        assert_eq!(
            scan_state_vector(&[0xff, 0xff, 0xff, 0x7a]),
            Err(ScanError::Count)
        );
        assert_eq!(scan_state_vector(&[1, 1, 5]), Ok(()));
    }

    #[test]
    fn clocks_that_overflow_and_values_too_deep_are_refused() {
        let largest = [0xff, 0xff, 0xff, 0xff, 0x0f];
        // Two collected blocks that together exceed the largest clock.
        let blocks = [&[1, 2, 1, 0, GC][..], &largest, &[GC, 1, 0]].concat();
        assert_eq!(scan(&blocks, |_| 0), Err(ScanError::Clock));
        let deleted = [&[0, 1, 1, 1, 1][..], &largest].concat();
        assert_eq!(scan(&deleted, |_| 0), Err(ScanError::Clock));
        let deep = [
            &[1, 1, 1, 0, 8, 1, 1, b'a', 1][..],
            &[117, 1].repeat(100_000),
        ]
        .concat();
        assert_eq!(scan(&deep, |_| 0), Err(ScanError::Depth));
        let subdocument = [1, 1, 1, 0, 9, 1, 1, b'a', 1, b'g', 118, 0, 0];
        assert_eq!(scan(&subdocument, |_| 0), Err(ScanError::Content(9)));
    }

    #[test]
    fn what_lies_behind_a_gap_is_cut_off() {
        // Two collected blocks of client 1 at clock 5, one of client 2 at clock 0, and a deletion.
        let update = [2, 2, 1, 5, GC, 2, GC, 1, 1, 2, 0, GC, 1, 1, 1, 1, 0, 1];
        let cut = |known: u32| {
            let scanned = scan(&update, |client| if client == 1 { known } else { 0 });
            scanned.unwrap().without_gaps
        };
        assert_eq!(cut(5), None);
        assert_eq!(cut(9), None);
        let without = [1, 1, 2, 0, GC, 1, 1, 1, 1, 0, 1];
        assert_eq!(cut(4), Some(without.to_vec()));
        // A gap inside: one block, a skip of three clocks, another block.
        let update = [1, 3, 1, 0, GC, 2, SKIP, 3, GC, 1, 0];
        let scanned = |known| scan(&update, |_| known).unwrap().without_gaps;
        assert_eq!(scanned(0), Some(vec![1, 2, 1, 0, GC, 2, SKIP, 3, 0]));
        assert_eq!(scanned(5), None);
    }
}
