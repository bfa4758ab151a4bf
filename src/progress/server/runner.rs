//! Runs jobs: a few at a time, with a bounded number in the queue. Each job ends, whatever happens.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    elsewhere::Elsewhere,
    job::{Job, NewJob, Outcome},
    store::JobStore,
    tasks::{JobError, Task},
};
use crate::{background::Supervisor, progress::message::JobView, web::error::ApiError};
use realtime::server::{Drain, now_ms, topic::REPLAY_CAP};

/// The maximum number of jobs that may wait for their turn.
const MAX_WAITING: usize = 64;
/// The maximum number of jobs that are kept. Beyond that, a new job evicts the oldest finished one.
const MAX_KEPT: usize = 1_000;
/// Finished jobs are kept for a day.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
const EVICT_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The seconds after which a refused start may be tried again.
const RETRY_SECONDS: u64 = 5;

/// All jobs of this node. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Jobs(Arc<Runner>);

struct Runner {
    /// A std mutex: it is held for map operations only.
    jobs: Mutex<HashMap<Uuid, Job>>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The maximum number of events that a job keeps. With more than can be replayed, a thousand finished jobs would
    /// hold gigabytes for nothing.
    history: usize,
    store: JobStore,
    /// `None` on one server.
    elsewhere: Option<Elsewhere>,
    drain: Drain,
    background: Supervisor,
}

impl Jobs {
    pub fn new(
        at_once: usize,
        history: usize,
        store: JobStore,
        drain: Drain,
        background: Supervisor,
    ) -> Self {
        Self(Arc::new(Runner {
            jobs: Mutex::default(),
            running: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
            history: history.min(REPLAY_CAP),
            elsewhere: Elsewhere::new(store.bus()),
            store,
            drain,
            background,
        }))
    }

    /// Restores the jobs of an earlier process. Jobs that were still running have failed; in a cluster they run at other
    /// nodes. Runs before any request is served; otherwise a page would learn that its job is unknown, and stop asking.
    pub async fn restore(&self) {
        let records = self.0.store.all().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the stored jobs cannot be read");
            vec![]
        });
        for mut record in records {
            if self.0.elsewhere.is_some() {
                self.heard(record);
                continue;
            }
            let end = record.end_or_interrupted();
            if record.end.is_none() {
                record.end = Some(end.clone());
                // Without its end it is found interrupted again.
                let _ = self.0.store.keep(record.clone()).await;
            }
            self.jobs()
                .insert(record.id.value(), Job::restored(record, end));
        }
        self.evict_expired().await;
    }

    /// Evicts finished jobs after a day, until the server drains.
    pub async fn run(self) {
        let mut every = tokio::time::interval(EVICT_INTERVAL);
        loop {
            tokio::select! {
                _ = every.tick() => self.evict_expired().await,
                () = self.0.drain.started() => return,
            }
        }
    }

    pub(super) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.0.elsewhere.as_ref()
    }

    pub(super) fn store(&self) -> &JobStore {
        &self.0.store
    }

    pub(super) fn background(&self) -> &Supervisor {
        &self.0.background
    }

    /// The maximum number of events that a job keeps.
    pub(super) fn history(&self) -> usize {
        self.0.history
    }

    /// All jobs, in no order.
    pub(super) fn all(&self) -> Vec<Job> {
        self.jobs().values().cloned().collect()
    }

    /// Adds a job, whatever there was under its id. Returns that.
    pub(super) fn keep(&self, job: Job) -> Option<Job> {
        self.jobs().insert(job.id(), job)
    }

    /// Removes a job that another node has evicted.
    pub(super) fn remove(&self, id: Uuid) {
        self.jobs().remove(&id);
    }

    pub fn get(&self, id: Uuid) -> Option<Job> {
        self.jobs().get(&id).cloned()
    }

    /// A user's jobs, newest first.
    pub fn of(&self, owner: Uuid) -> Vec<JobView> {
        let jobs = self.jobs();
        let mine = jobs.values().filter(|job| job.owner() == owner);
        let mut mine: Vec<_> = mine.map(Job::view).collect();
        mine.sort_by_key(|job| Reverse(job.started_at));
        mine
    }

    /// Starts a job, or queues it. Refused when the queue is full (429) or the id is in use (409).
    pub fn start(&self, new: NewJob, task: impl Task) -> Result<Job, ApiError> {
        let permit = self.0.running.clone().try_acquire_owned().ok();
        let turn = match permit {
            Some(permit) => Turn::Running(permit),
            None => Turn::Waiting(QueuePermit::acquire(&self.0)?),
        };
        let job = self.insert(Job::new(new, self.0.history))?;
        let (this, started) = (self.clone(), job.clone());
        tokio::spawn(async move {
            let life = this.execute(&started, turn, task);
            // A panic of the task itself ends the job within. Whatever else breaks, no job runs for ever.
            if this.0.background.guard("job", life).await.is_none() {
                started.end(Outcome::Failed(JobError::DEFECT.into()));
                started.set_stored();
            }
        });
        Ok(job)
    }

    /// Waits for the job's turn, runs it, stores its end, and publishes the end.
    async fn execute(&self, job: &Job, turn: Turn, task: impl Task) {
        self.share(job);
        self.store_start(job).await;
        let permit = match turn {
            Turn::Running(permit) => Some(permit),
            Turn::Waiting(_queue_permit) => tokio::select! {
                permit = self.0.running.clone().acquire_owned() => permit.ok(),
                () = job.cancelled() => None,
            },
        };
        let outcome = match permit {
            Some(_permit) => run_to_end(job, task).await,
            None => Outcome::Cancelled,
        };
        self.store_end(job, outcome).await;
    }

    /// Ends a job; only the first end counts. It is stored before it is published: an end that a client received is the end
    /// after a restart, and at all nodes.
    pub(super) async fn store_end(&self, job: &Job, outcome: Outcome) {
        // Another node may have found this one lost, and ended the job.
        if !self.is_current(job) {
            return;
        }
        let Some(record) = job.record_end(outcome.clone()) else {
            return;
        };
        if self.keep_end(job, record).await {
            job.end(outcome);
        }
    }

    /// Whether this job is the one that is known under its id.
    pub(super) fn is_current(&self, job: &Job) -> bool {
        self.get(job.id()).is_some_and(|known| known.is(job))
    }

    fn insert(&self, job: Job) -> Result<Job, ApiError> {
        let mut jobs = self.jobs();
        if jobs.contains_key(&job.id()) {
            return Err(id_in_use());
        }
        if jobs.len() >= MAX_KEPT {
            let finished = jobs.values().filter(|job| job.ended_at().is_some());
            // The user's own jobs are evicted first, so that a user who starts many jobs does not evict those of
            // others.
            let oldest =
                finished.min_by_key(|known| (known.owner() != job.owner(), known.ended_at()));
            if let Some(oldest) = oldest.map(Job::id) {
                jobs.remove(&oldest);
                let store = self.0.store.clone();
                let evict = async move { store.forget(oldest).await };
                self.0.background.once("jobs", evict);
            }
        }
        jobs.insert(job.id(), job.clone());
        Ok(job)
    }

    async fn evict_expired(&self) {
        let oldest = now_ms().saturating_sub(KEPT.as_millis() as u64);
        let is_old = |job: &Job| job.ended_at().is_some_and(|ended_at| ended_at < oldest);
        let old: Vec<Uuid> = self
            .jobs()
            .extract_if(|_, job| is_old(job))
            .map(|(id, _)| id)
            .collect();
        for id in old {
            self.0.store.forget(id).await;
        }
    }

    /// Ignores poisoning: a panic while the lock was held leaves the map whole.
    fn jobs(&self) -> MutexGuard<'_, HashMap<Uuid, Job>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn id_in_use() -> ApiError {
    let error = "This id is in use. Every job has an id of its own.";
    ApiError::new(409, error)
}

enum Turn {
    Running(tokio::sync::OwnedSemaphorePermit),
    Waiting(QueuePermit),
}

/// A permit for the queue; returned when dropped.
struct QueuePermit(Arc<Runner>);

impl QueuePermit {
    fn acquire(inner: &Arc<Runner>) -> Result<Self, ApiError> {
        let permit = Self(inner.clone());
        if inner.waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING {
            return Ok(permit);
        }
        let error = format!(
            "{MAX_WAITING} jobs wait for their turn already. Try again when some have ended."
        );
        Err(ApiError::too_many(error, RETRY_SECONDS))
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run_to_end<T: Task>(job: &Job, task: T) -> Outcome {
    job.start();
    // A tokio task of its own, so that a panic fails the job and the job still gets its end.
    let mut running = tokio::spawn(task.run(job.clone()));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = job.cancelled() => {
            running.abort();
            return Outcome::Cancelled;
        }
    };
    let result = ended.unwrap_or_else(|panicked| Err(JobError::broke(panicked)));
    match result.and_then(|result| serde_json::to_value(result).map_err(JobError::broke)) {
        Ok(result) => Outcome::Done(result),
        Err(error) => Outcome::Failed(error.0),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::bus::embedded::Embedded;
    use crate::progress::{
        message::{JobEvent, JobKind, JobStatus},
        server::{job::State, tasks::Countdown},
    };
    use realtime::server::{
        Selection,
        topic::{Pending, Reader},
    };

    struct Panics;

    impl Task for Panics {
        type Result = ();

        async fn run(self, _job: Job) -> Result<(), JobError> {
            panic!("on purpose");
        }
    }

    fn new(owner: Uuid) -> NewJob {
        NewJob {
            id: Uuid::new_v4().into(),
            kind: JobKind::Countdown,
            owner,
            total: None,
            unit: "steps",
        }
    }

    fn store() -> (JobStore, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let bus = Embedded::open(folder.path()).unwrap();
        (JobStore::new(Arc::new(bus)), folder)
    }

    /// The jobs of a server that starts with this store.
    async fn jobs(store: &JobStore) -> Jobs {
        let jobs = Jobs::new(
            1,
            10,
            store.clone(),
            Drain::default(),
            Supervisor::default(),
        );
        jobs.restore().await;
        jobs
    }

    fn opened(job: &Job) -> Reader<()> {
        let snapshot = |state: &State, _: &dyn Fn(&()) -> bool| vec![state.snapshot()];
        job.topic().open(None, Selection::all(), snapshot).reader
    }

    async fn ended(job: &Job) -> JobStatus {
        let mut reader = opened(job);
        while job.topic().end_position().is_none() {
            let _ = reader.take(usize::MAX);
            reader.changed().await;
        }
        job.view().progress.status
    }

    #[tokio::test]
    async fn a_user_who_starts_very_many_jobs_evicts_their_own() {
        let (store, _folder) = store();
        let jobs = jobs(&store).await;
        let insert = |owner| {
            let job = jobs.insert(Job::new(new(owner), 10)).unwrap();
            job.end(Outcome::Cancelled);
            job.id()
        };
        let (ada, ben) = (Uuid::new_v4(), Uuid::new_v4());
        let of_ada = insert(ada);
        for _ in 0..MAX_KEPT {
            insert(ben);
        }
        assert!(jobs.get(of_ada).is_some());
        assert_eq!(jobs.of(ben).len(), MAX_KEPT - 1);
    }

    #[tokio::test]
    async fn a_job_that_panics_has_failed() {
        let (store, _folder) = store();
        let job = jobs(&store)
            .await
            .start(new(Uuid::new_v4()), Panics)
            .unwrap();
        assert_eq!(ended(&job).await, JobStatus::Failed);
        assert!(job.view().error.unwrap().contains("defect"));
    }

    /// Its result panics when it is encoded, outside the task's own run.
    struct Unprintable;

    impl serde::Serialize for Unprintable {
        fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
            panic!("on purpose");
        }
    }

    impl Task for Unprintable {
        type Result = Self;

        async fn run(self, _job: Job) -> Result<Self, JobError> {
            Ok(self)
        }
    }

    #[tokio::test]
    async fn a_job_ends_whatever_breaks_around_it_and_returns_its_permit() {
        let (store, _folder) = store();
        let jobs = jobs(&store).await;
        for _ in 0..2 {
            let job = jobs.start(new(Uuid::new_v4()), Unprintable).unwrap();
            let end = tokio::time::timeout(Duration::from_secs(20), ended(&job)).await;
            assert_eq!(end, Ok(JobStatus::Failed), "it runs for ever");
        }
    }

    #[tokio::test]
    async fn jobs_wait_for_their_turn_and_a_full_queue_is_refused() {
        let (store, _folder) = store();
        let jobs = jobs(&store).await;
        let countdown = Countdown {
            steps: 2,
            step: Duration::from_millis(1),
        };
        let forever = Countdown {
            steps: 1,
            step: Duration::from_secs(1_000),
        };
        let owner = Uuid::new_v4();
        let first = jobs.start(new(owner), forever).unwrap();
        let waiting: Vec<Job> = (0..MAX_WAITING)
            .map(|_| jobs.start(new(owner), countdown).unwrap())
            .collect();
        let refusal = jobs.start(new(owner), countdown).err().unwrap();
        assert_eq!(
            (refusal.status, refusal.retry_after),
            (Some(429), Some(RETRY_SECONDS))
        );
        waiting[0].cancel();
        assert_eq!(
            ended(&waiting[0]).await,
            JobStatus::Cancelled,
            "also while it waits"
        );
        first.cancel();
        for job in &waiting[1..] {
            assert_eq!(ended(job).await, JobStatus::Done);
        }
        assert_eq!(jobs.of(owner).len(), MAX_WAITING + 1);
        assert_eq!(jobs.0.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_job_holds_no_more_events_than_can_be_replayed() {
        let (store, _folder) = store();
        let jobs = Jobs::new(1, 10_000, store, Drain::default(), Supervisor::default());
        let forever = Countdown {
            steps: 1,
            step: Duration::from_secs(1_000),
        };
        let job = jobs.start(new(Uuid::new_v4()), forever).unwrap();
        let mut reader = opened(&job);
        let step = JobEvent::Progress(job.view().progress);
        for _ in 0..=REPLAY_CAP {
            job.topic().publish(|_| step.clone());
        }
        assert_eq!(reader.take(usize::MAX), Pending::Lagged);
    }

    #[tokio::test]
    async fn an_id_is_used_once() {
        let (store, _folder) = store();
        let jobs = jobs(&store).await;
        let twice = new(Uuid::new_v4());
        let countdown = Countdown {
            steps: 1,
            step: Duration::from_millis(1),
        };
        let first = jobs.start(twice.clone(), countdown).unwrap();
        assert_eq!(
            jobs.start(twice, countdown).err().unwrap().status,
            Some(409)
        );
        assert_eq!(ended(&first).await, JobStatus::Done);
    }

    #[tokio::test]
    async fn a_finished_job_is_restored_after_a_restart_and_a_running_one_has_failed() {
        let (store, _folder) = store();
        let before = jobs(&store).await;
        let owner = Uuid::new_v4();
        let quick = Countdown {
            steps: 3,
            step: Duration::from_millis(1),
        };
        let slow = Countdown {
            steps: 3,
            step: Duration::from_secs(1_000),
        };
        let done = before.start(new(owner), quick).unwrap();
        assert_eq!(ended(&done).await, JobStatus::Done);
        let ran = before.start(new(owner), slow).unwrap();
        while ran.view().progress.status != JobStatus::Running {
            tokio::task::yield_now().await;
        }
        let queued = before.start(new(owner), slow).unwrap();
        // The start of a job is stored before it runs; that of the queued one may not be stored yet.
        store.keep(queued.record()).await.unwrap();

        let after = jobs(&store).await;
        assert_eq!(after.of(owner).len(), 3);
        let of = |job: &Job| after.get(job.id()).unwrap().view();
        assert_eq!(of(&done), done.view());
        for interrupted in [of(&ran), of(&queued)] {
            assert_eq!(interrupted.progress.status, JobStatus::Failed);
            assert!(interrupted.error.unwrap().contains("server restarted"));
        }
        // The end stays the same after another restart, because it is stored.
        let interrupted = of(&ran);
        assert_eq!(
            jobs(&store).await.get(ran.id()).unwrap().view(),
            interrupted
        );
    }
}
