//! Tests of the life of a job: its progress, its one end, and its restoration after a restart.

use super::*;
use realtime::server::{
    Selection,
    topic::{Opened, Pending},
};

fn job() -> Job {
    let new = NewJob {
        id: Uuid::new_v4().into(),
        kind: JobKind::Countdown,
        owner: Uuid::new_v4(),
        total: Some(10),
        unit: "steps",
    };
    Job::new(new, 100)
}

/// A record as it is read back from the store.
fn stored(record: &JobRecord) -> JobRecord {
    serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
}

fn open(job: &Job, after: Option<&Position>) -> Opened<()> {
    let snapshot = |state: &State, _: &dyn Fn(&()) -> bool| vec![state.snapshot()];
    job.topic().open(after, Selection::all(), snapshot)
}

fn progress_of(job: &Job) -> Progress {
    job.topic().read(|state, _| state.progress.clone())
}

#[tokio::test]
async fn only_the_first_end_counts() {
    let job = job();
    job.start();
    job.end(Outcome::Cancelled);
    job.end(Outcome::Done(Value::Null));
    job.progress(5, "late");
    assert_eq!(job.view().progress.status, JobStatus::Cancelled);
    assert_eq!(job.view().progress.done, 0);
}

#[tokio::test]
async fn fast_progress_is_conflated_but_the_last_is_published() {
    let job = job();
    job.start();
    for done in 1..=10 {
        job.progress(done, "");
    }
    job.end(Outcome::Done(Value::Null));
    // running, the first step or none (it fell within the gap), the last step, done
    let head = job.topic().head().offset;
    assert!((3..=4).contains(&head), "{head} events");
    assert_eq!(progress_of(&job).done, 10);
}

#[tokio::test]
async fn the_last_step_before_a_long_silence_is_published_too() {
    let job = job();
    job.start();
    let mut reader = open(&job, None).reader;
    job.progress(1, "");
    job.progress(7, "then nothing for long");
    let mut seen = String::new();
    while !seen.contains("\"done\":7") {
        reader.changed().await;
        if let Pending::Events(events) = reader.take(usize::MAX) {
            seen.push_str(std::str::from_utf8(&events).unwrap());
        }
    }
    assert!(!job.view().progress.status.is_final());
}

#[tokio::test]
async fn the_state_of_a_finished_job_stands_before_its_end() {
    let job = job();
    job.start();
    job.end(Outcome::Failed("broken".into()));
    assert_eq!(progress_of(&job).status, JobStatus::Failed);
    let position = open(&job, None).reader.written();
    assert_eq!(position.offset + 1, job.topic().head().offset);
}

#[tokio::test]
async fn a_finished_job_that_is_restored_ends_where_it_ended() {
    let job = job();
    job.start();
    job.progress(10, "");
    let outcome = Outcome::Done(serde_json::json!({ "steps": 10 }));
    let record = stored(&job.record_end(outcome.clone()).unwrap());
    job.end(outcome);
    let end = record.end.clone().unwrap();
    assert_eq!(Some(end.position.clone()), job.topic().end_position());

    let restored = Job::restored(record, end.clone());
    assert_eq!(restored.topic().end_position(), job.topic().end_position());
    assert_eq!(restored.ended_at(), Some(end.at));
    let (mut before, mut after) = (job.view(), restored.view());
    // The terminal event is published, and nothing else is left.
    (before.started_at, after.started_at) = (0, 0);
    assert_eq!(before, after);
    assert_eq!(progress_of(&restored), progress_of(&job));
    let begins = |job: &Job| open(job, None).reader.written();
    assert_eq!(begins(&restored), begins(&job));
    // A client that missed only the end gets just the end. A client that received less, or nothing, begins with the
    // state.
    let resumed = |offset| {
        let after = Position::new(end.position.epoch.clone(), offset);
        open(&restored, Some(&after)).recovered
    };
    assert_eq!(resumed(end.position.offset - 1), Some(1));
    assert_eq!(resumed(0), None);
}

#[tokio::test]
async fn once_the_end_is_recorded_nothing_else_is_published_and_no_other_end_counts() {
    for is_running in [true, false] {
        let job = job();
        if is_running {
            job.start();
            job.progress(3, "");
        }
        let first = Outcome::Failed("It was shut down.".into());
        let record = job.record_end(first.clone()).unwrap();
        // The task does not know yet that the job ends.
        job.start();
        job.progress(4, "");
        assert_eq!(job.record_end(Outcome::Cancelled), None);
        job.end(first);
        let end = record.end.unwrap();
        assert_eq!(job.topic().end_position(), Some(end.position));
        assert_eq!(job.view().progress, record.progress);
        assert_eq!(job.record_end(Outcome::Cancelled), None);
    }
}

#[tokio::test]
async fn a_job_that_a_restart_interrupted_has_failed() {
    let job = job();
    job.start();
    job.progress(3, "");
    let record = stored(&job.record());
    let restored = Job::restored(record.clone(), record.end_or_interrupted());
    let view = restored.view();
    assert_eq!(
        (view.progress.status, view.progress.done),
        (JobStatus::Failed, 3)
    );
    assert!(view.error.unwrap().contains("server restarted"));
    assert_ne!(view.position.epoch, job.topic().head().epoch);
}

#[test]
fn percent_is_whole_and_never_above_a_hundred() {
    let percent = |done, total| {
        Progress {
            done,
            total,
            ..progress_of(&job())
        }
        .percent()
    };
    assert_eq!(percent(0, Some(3)), Some(0));
    assert_eq!(percent(2, Some(3)), Some(66));
    assert_eq!(percent(5, Some(3)), Some(100));
    assert_eq!(percent(0, Some(0)), Some(100));
    assert_eq!(percent(5, None), None);
}
