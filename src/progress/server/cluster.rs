//! The jobs of other nodes: mirrored here, cancelled there, and failed when their node is lost.
//!
//! Every node knows the records of all jobs, because they are latest values of the bus. A job that runs at another node has
//! a topic here that mirrors its own, with the same positions. The record of its end is stored before the end is
//! published; if the end does not follow, the record replaces the mirror.

use std::time::Duration;

use bytes::Bytes;
use realtime::position::Position;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    elsewhere::{Elsewhere, Running},
    job::{Job, JobRecord, LOST, Outcome, SHUT_DOWN},
    runner::Jobs,
    store::{JobStore, PREFIX},
};
use crate::{
    bus::{Change, Question},
    web::error::ApiError,
};

/// The subject on which a node is asked to cancel a job that it runs.
const CANCEL: &str = "jobs/cancel";
/// How long a job that another node has just started may be unknown here.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// How long the last event of a job may take after the record of its end.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// How long a job answers its mirrors after its end.
const ANSWERS_AFTER_END: Duration = Duration::from_secs(10);
/// Interval of looking for jobs whose node is gone.
const ROUND: Duration = Duration::from_secs(1);

impl Jobs {
    /// Lets the other nodes mirror a job of this one, until some time after its end.
    pub(super) fn share(&self, job: &Job) {
        let Some(elsewhere) = self.elsewhere() else {
            return;
        };
        let (mirror, job) = (elsewhere.mirror(job), job.clone());
        self.background()
            .once("job shared with other nodes", async move {
                tokio::select! {
                    () = mirror.own_for_ever() => {}
                    () = after_end(&job) => {}
                }
            });
    }

    /// Finds a job. One that another node has just started may become known here a moment later. Where the node that runs it
    /// does not say how far it is, the job stands as it was stored. Refused if there is none (404).
    pub async fn find(&self, id: Uuid) -> Result<Job, ApiError> {
        let Some(elsewhere) = self.elsewhere() else {
            return self.get(id).ok_or_else(unknown_job);
        };
        let found = async {
            let mut arrived = elsewhere.arrived.subscribe();
            // The sender is this node's own, so it is not closed.
            let _ = arrived.wait_for(|()| self.get(id).is_some()).await;
            let running = elsewhere.running().get(&id).map(|job| job.mirror.clone());
            if let Some(mirror) = running {
                mirror.known().await;
            }
        };
        let _ = timeout(FOUND_WITHIN, found).await;
        self.get(id).ok_or_else(unknown_job)
    }

    /// Finds a job whose events can be streamed to a client at a position. Refused (503) as long as the node that runs it does not say how far it is,
    /// because this node has no position of it.
    pub async fn find_live(&self, id: Uuid, after: Option<&Position>) -> Result<Job, ApiError> {
        let job = self.find(id).await?;
        let running = self.elsewhere().and_then(|elsewhere| {
            let running = elsewhere.running();
            running.get(&id).map(|job| job.mirror.clone())
        });
        let Some(mirror) = running else {
            return Ok(job);
        };
        mirror.reach(after).await;
        match mirror.is_known() {
            true => Ok(job),
            false => Err(no_answer()),
        }
    }

    /// Learns of the jobs that other nodes have started before this call. Without NATS this node goes on with what it knows.
    pub async fn catch_up(&self) {
        if let Some(elsewhere) = self.elsewhere()
            && elsewhere.bus.reach_latest().await.is_ok()
        {
            self.read_all().await;
        }
    }

    /// Resolves when the other nodes can know a job that was started here.
    pub async fn told(&self, job: &Job) {
        if self.elsewhere().is_some() {
            job.stored().await;
        }
    }

    /// Asks a job to stop, at whichever node it runs.
    pub async fn cancel(&self, job: &Job) -> Result<(), ApiError> {
        let id = job.id();
        let elsewhere = self.elsewhere();
        let Some(elsewhere) = elsewhere.filter(|other| other.runs_elsewhere(job)) else {
            job.cancel();
            return Ok(());
        };
        let question = Bytes::copy_from_slice(id.as_bytes());
        match elsewhere.bus.ask(CANCEL, question).await {
            Some(_) => Ok(()),
            None => Err(no_answer()),
        }
    }

    /// Follows the jobs of other nodes until the bus is closed. Ends at once on one server.
    pub async fn follow_others(self) {
        let Some(elsewhere) = self.elsewhere() else {
            return;
        };
        let mut changes = elsewhere.bus.changes();
        let mut questions = elsewhere.bus.questions(CANCEL);
        let mut rounds = interval(ROUND);
        // After the changes are subscribed to, so that none is missed.
        self.read_all().await;
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Change::Value { key, value }) => self.changed(&key, &value),
                    Some(Change::Missed) => self.read_all().await,
                    None => return,
                },
                Some(question) = questions.next() => self.asked(question),
                _ = rounds.tick() => self.fail_lost(elsewhere).await,
            }
        }
    }

    /// Ends the jobs of this node as it shuts down, so that the others do not wait for them.
    pub async fn end_own(&self) {
        let Some(elsewhere) = self.elsewhere() else {
            return;
        };
        let runs_here =
            |job: &Job| job.ended_at().is_none() && !elsewhere.running().contains_key(&job.id());
        for job in self.all().into_iter().filter(runs_here) {
            self.store_end(&job, Outcome::Failed(SHUT_DOWN.into()))
                .await;
        }
    }

    async fn read_all(&self) {
        match self.store().all().await {
            Ok(records) => records.into_iter().for_each(|record| self.heard(record)),
            Err(error) => tracing::error!(%error, "the stored jobs cannot be read"),
        }
    }

    fn changed(&self, key: &str, value: &[u8]) {
        let Some(id) = key.strip_prefix(PREFIX).and_then(|id| id.parse().ok()) else {
            return;
        };
        if value.is_empty() {
            self.remove(id);
        } else if let Some(record) = JobStore::read(key, value) {
            self.heard(record);
        }
    }

    /// The record of a job was stored, perhaps by this node.
    pub(super) fn heard(&self, record: JobRecord) {
        let Some(elsewhere) = self.elsewhere() else {
            return;
        };
        if record.node == Some(elsewhere.node) {
            return;
        }
        let known = self.get(record.id.value());
        match (&record.end, known) {
            (Some(end), Some(job))
                if job.topic().end_position().as_ref() == Some(&end.position) => {}
            (Some(_), Some(job)) => self.ended_elsewhere(elsewhere, job, record),
            (Some(_), None) => self.replace(record),
            (None, Some(_)) => {}
            (None, None) => self.mirror(elsewhere, record),
        }
        elsewhere.arrived.send_replace(());
    }

    /// A job runs at another node.
    fn mirror(&self, elsewhere: &Elsewhere, record: JobRecord) {
        // An earlier version named no node. Nobody runs such a job any more, as nobody runs one of a node that is gone.
        let node = record.node.unwrap_or_default();
        let job = Job::mirrored(record, self.history());
        let mirror = elsewhere.mirror(&job);
        let ends = CancellationToken::new();
        let running = Running::new(node, mirror.clone(), ends.clone().drop_guard());
        elsewhere.running().insert(job.id(), running);
        self.keep(job.clone());
        let this = self.clone();
        self.background().once("job of another node", async move {
            tokio::select! {
                () = mirror.follow() => {}
                () = job.ended() => this.not_running(job.id()),
                () = ends.cancelled() => {}
            }
        });
    }

    /// The record of a job's end was stored by another node.
    fn ended_elsewhere(&self, elsewhere: &Elsewhere, job: Job, record: JobRecord) {
        if !elsewhere.runs_elsewhere(&job) {
            // This node runs it, and was taken for dead.
            return self.replace(record);
        }
        let this = self.clone();
        self.background()
            .once("end of a job of another node", async move {
                let position = record.end.as_ref().map(|end| &end.position);
                if timeout(ENDS_WITHIN, job.ended()).await.is_err()
                    || job.topic().end_position().as_ref() != position
                {
                    this.replace(record);
                }
            });
    }

    /// Puts a job as it was stored in the place of the known one, whose clients come back to it.
    fn replace(&self, record: JobRecord) {
        let Some(end) = record.end.clone() else {
            return;
        };
        self.not_running(record.id.value());
        if let Some(known) = self.keep(Job::restored(record, end)) {
            known.cancel();
            known.topic().begin_anew();
        }
    }

    fn not_running(&self, id: Uuid) {
        if let Some(elsewhere) = self.elsewhere() {
            elsewhere.running().remove(&id);
        }
    }

    fn asked(&self, question: Question) {
        let id = Uuid::from_slice(&question.bytes).ok();
        let Some(job) = id.and_then(|id| self.get(id)) else {
            return;
        };
        let is_here = self
            .elsewhere()
            .is_some_and(|elsewhere| !elsewhere.runs_elsewhere(&job));
        if is_here {
            job.cancel();
            question.answer(Bytes::new());
        }
    }

    /// Fails the jobs whose node is gone. One of the nodes that notice it does so.
    async fn fail_lost(&self, elsewhere: &Elsewhere) {
        let lost: Vec<Uuid> = {
            let running = elsewhere.running();
            let lost = running
                .iter()
                .filter(|(_, job)| !elsewhere.bus.is_present(job.node));
            lost.map(|(id, _)| *id).collect()
        };
        for id in lost {
            let claimed = elsewhere.bus.claim(&format!("{PREFIX}{id}/lost")).await;
            let Some(job) = self.get(id).filter(|_| claimed == Ok(true)) else {
                continue;
            };
            self.not_running(id);
            let (this, mirror) = (self.clone(), elsewhere.mirror(&job));
            self.background().once("job of a lost node", async move {
                tokio::select! {
                    // First: it begins a new epoch, because this node may lack the last steps.
                    biased;
                    () = mirror.own(1) => {}
                    () = async {
                        this.store_end(&job, Outcome::Failed(LOST.into())).await;
                        after_end(&job).await;
                    } => {}
                }
            });
        }
    }
}

fn unknown_job() -> ApiError {
    let error = "There is no job under this id. Finished jobs are kept for a day.";
    ApiError::new(404, error)
}

fn no_answer() -> ApiError {
    let error = "The server that runs this job does not answer. Try again in a few seconds.";
    ApiError::new(503, error)
}

async fn after_end(job: &Job) {
    job.ended().await;
    sleep(ANSWERS_AFTER_END).await;
}
