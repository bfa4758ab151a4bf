//! The outcome of a job, in words and in full.

use leptos::prelude::*;
use realtime::{json::Json, transport::Transport};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::chart::RaceChart;
use crate::{
    progress::{
        message::{JobKind, JobStatus, JobView, Progress},
        result::{ChecksumResult, CountdownResult, RaceResult},
    },
    ui::{
        bidi::isolated,
        erase::Erase,
        numbers::{fixed, grouped},
    },
};

/// The outcome in one line, for the list.
pub(super) fn outcome_words(job: &JobView) -> String {
    match job.progress.status {
        JobStatus::Done => job
            .result
            .as_ref()
            .map(|result| done_words(job.kind, result))
            .unwrap_or_default(),
        JobStatus::Failed => job.error.clone().unwrap_or_default(),
        JobStatus::Cancelled | JobStatus::Queued | JobStatus::Running => counted(&job.progress),
    }
}

/// The result in one sentence.
pub(super) fn done_words(kind: JobKind, result: &Value) -> String {
    let words = match kind {
        JobKind::Countdown => read::<CountdownResult>(result).map(|done| done_in(done.elapsed_ms)),
        JobKind::Checksum => read::<ChecksumResult>(result).map(|done| {
            let name = match done.name.as_str() {
                "" => "The file".into(),
                name => isolated(name),
            };
            format!(
                "{name}: {} bytes. {}",
                grouped(done.bytes),
                done_in(done.elapsed_ms)
            )
        }),
        JobKind::Race => read::<RaceResult>(result).map(|race| race_words(&race)),
    };
    words.unwrap_or_else(|| "Done.".into())
}

/// Everything that a result holds beyond its sentence.
#[component]
pub(super) fn ResultView(kind: JobKind, result: Value) -> impl IntoView {
    match kind {
        JobKind::Countdown => None,
        JobKind::Checksum => read(&result).map(|result| view! { <Checksum result/> }.erase()),
        JobKind::Race => read(&result).map(|race| view! { <RaceChart race/> }.erase()),
    }
}

#[component]
fn Checksum(result: ChecksumResult) -> impl IntoView {
    let ratio = result
        .gzip_ratio()
        .map(|ratio| format!(", {} times shorter", fixed(ratio, 1)));
    view! {
        <dl class="facts" data-test="checksum">
            <dt>"Bytes"</dt><dd data-test="checksum-bytes">{grouped(result.bytes)}</dd>
            <dt>"Lines"</dt><dd data-test="checksum-lines">{grouped(result.lines)}</dd>
            <dt>"SHA-256"</dt><dd><code data-test="sha256">{result.sha256}</code></dd>
            <dt>"BLAKE3"</dt><dd><code data-test="blake3">{result.blake3}</code></dd>
            <dt>"With gzip"</dt><dd>{format!("{} bytes", grouped(result.gzip_bytes))}{ratio}</dd>
        </dl>
    }
}

fn race_words(race: &RaceResult) -> String {
    if !race.is_complete() {
        return "Messages were lost or came out of order: see the table.".into();
    }
    let elapsed = |transport| {
        race.spread(transport, |row| row.elapsed_ms)
            .map(|spread| spread.median)
    };
    let (Some(sse), Some(socket)) = (elapsed(Transport::Sse), elapsed(Transport::WebSocket)) else {
        return "Done.".into();
    };
    let verdict = match (sse / socket, socket / sse) {
        (sse, _) if sse >= 1.05 => format!("WebSocket was {} times as fast", fixed(sse, 2)),
        (_, socket) if socket >= 1.05 => format!("SSE was {} times as fast", fixed(socket, 2)),
        _ => "Both took the same time, within 5 %".into(),
    };
    let each = grouped(race.messages * race.rounds);
    format!("{verdict}. All {each} messages arrived over each, once and in order.")
}

/// The count and, if known, the total.
pub(super) fn counted(progress: &Progress) -> String {
    let total = progress
        .total
        .map(|total| format!(" of {}", grouped(total)));
    format!(
        "{}{} {}",
        grouped(progress.done),
        total.unwrap_or_default(),
        progress.unit
    )
}

fn done_in(elapsed_ms: u64) -> String {
    format!("Done in {} s.", fixed(elapsed_ms as f64 / 1_000.0, 1))
}

/// Decodes a result; `None` if another version wrote it.
fn read<T: DeserializeOwned>(result: &Value) -> Option<T> {
    T::deserialize(Json(result.clone())).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_a_sentence_and_an_unknown_one_is_no_error() {
        let countdown = json!({ "steps": 3, "elapsed_ms": 1_250 });
        assert_eq!(done_words(JobKind::Countdown, &countdown), "Done in 1.2 s.");
        assert_eq!(done_words(JobKind::Race, &countdown), "Done.");
    }
}
