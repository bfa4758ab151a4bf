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
    runner::{Jobs, id_in_use},
    store::{JobStore, PREFIX},
};
use crate::{
    bus::{BusError, Change, Health, Question},
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
/// How long a start waits until NATS has stored that the job was started.
const STORED_WITHIN: Duration = Duration::from_secs(5);
/// The wait between two attempts to store a job while NATS is away.
const RETRY: Duration = Duration::from_millis(500);
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

    /// Stores that a job was started. In a cluster that is tried until it succeeds, because only then the other nodes know the
    /// job, or until the job is cancelled. One server runs a job whatever its storage says.
    pub(super) async fn store_start(&self, job: &Job) {
        while self.is_to_be_repeated(&self.store().keep(job.record()).await) {
            tokio::select! {
                () = sleep(RETRY) => {}
                () = job.cancelled() => return,
            }
        }
        job.set_stored();
    }

    /// Takes an id that a client has chosen. Of two uploads that come to two nodes with one id, the later one is refused (409),
    /// as at one node, although neither node has heard of the other's job yet.
    pub async fn claim_id(&self, id: Uuid) -> Result<(), ApiError> {
        let Some(elsewhere) = self.elsewhere() else {
            return Ok(());
        };
        match elsewhere.bus.claim(&format!("job/{id}")).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(id_in_use()),
            Err(_) => Err(not_stored()),
        }
    }

    /// Waits until all nodes can know a job that was started here. Where NATS does not store it the job is cancelled, and its
    /// start is refused (503): a client would ask the other nodes for it in vain.
    pub async fn stored(&self, job: &Job) -> Result<(), ApiError> {
        if self.elsewhere().is_none() || timeout(STORED_WITHIN, job.stored()).await.is_ok() {
            return Ok(());
        }
        job.cancel();
        Err(not_stored())
    }

    /// Stores the end of a job. In a cluster that is tried until it succeeds: a node that does not know the end would find the
    /// job lost some day, and give it another end. Returns false if another node has done so already.
    pub(super) async fn keep_end(&self, job: &Job, record: JobRecord) -> bool {
        while self.is_to_be_repeated(&self.store().keep(record.clone()).await) {
            sleep(RETRY).await;
            // It may have taken this node for lost meanwhile.
            let stored = self.store().get(job.id()).await;
            let has_other_end = stored.is_some_and(|other| {
                other.node != self.store().bus().node() && other.end.is_some()
            });
            if has_other_end || !self.is_current(job) {
                return false;
            }
        }
        true
    }

    fn is_to_be_repeated(&self, stored: &Result<(), BusError>) -> bool {
        self.elsewhere().is_some() && matches!(stored, Err(BusError::Unavailable(_)))
    }

    /// Finds a job. One that another node has just started may become known here a moment later. Where the node that runs it
    /// does not say how far it is, the job stands as it was stored. Refused if there is none (404), or if this node may not have
    /// heard of it (503).
    pub async fn find(&self, id: Uuid) -> Result<Job, ApiError> {
        let Some(elsewhere) = self.elsewhere() else {
            return self.get(id).ok_or_else(unknown_job);
        };
        let found = async {
            let mut arrived = elsewhere.arrived.subscribe();
            // The sender is this node's own, so it is not closed.
            let _ = arrived.wait_for(|()| self.get(id).is_some()).await;
            if let Some(mirror) = elsewhere.mirror_of(id) {
                mirror.known().await;
            }
        };
        let _ = timeout(FOUND_WITHIN, found).await;
        let is_behind = || {
            let health = elsewhere.bus.health();
            matches!(
                *health.borrow(),
                Health::Away { .. } | Health::Behind { .. }
            )
        };
        self.get(id).ok_or_else(|| match is_behind() {
            true => behind(),
            false => unknown_job(),
        })
    }

    /// Finds a job whose events can be streamed to a client that has got some of them. Refused (503) as long as the node that
    /// runs it does not say how far it is, because this node has no position of it.
    pub async fn find_live(&self, id: Uuid, after: Option<&Position>) -> Result<Job, ApiError> {
        let job = self.find(id).await?;
        let mirror = self.elsewhere();
        let Some(mirror) = mirror.and_then(|elsewhere| elsewhere.mirror_of(id)) else {
            return Ok(job);
        };
        if !mirror.is_known() {
            return Err(no_answer());
        }
        mirror.reach(after).await;
        Ok(job)
    }

    /// Learns of the jobs that other nodes have started before this call. Without NATS this node goes on with what it knows.
    pub async fn catch_up(&self) {
        if let Some(elsewhere) = self.elsewhere()
            && elsewhere.bus.reach_latest().await.is_ok()
        {
            self.read_all().await;
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
        let runs_here = |job: &Job| job.ended_at().is_none() && !elsewhere.runs_elsewhere(job);
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
        let known = self.get(record.id.value());
        if record.node == Some(elsewhere.node) {
            // Another node may have taken this one for lost and ended the job. The last end counts, here as at all nodes.
            let other_end = |job: &Job| {
                let end = record.end.as_ref().map(|end| &end.position);
                job.ended_at().is_some() && job.topic().end_position().as_ref() != end
            };
            if record.end.is_some() && known.as_ref().is_some_and(other_end) {
                self.replace(record);
            }
            return;
        }
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

fn behind() -> ApiError {
    let error = "This server may not have heard of the job yet. Try again in a few seconds.";
    ApiError::new(503, error)
}

fn not_stored() -> ApiError {
    let error = "The job cannot be stored now, so it was not started. Try again later.";
    ApiError::new(503, error)
}

fn no_answer() -> ApiError {
    let error = "The server that runs this job does not answer. Try again in a few seconds.";
    ApiError::new(503, error)
}

/// Resolves some time after a job's end. A job that another node has ended is only cancelled here, and has no end of its own
/// to wait for.
async fn after_end(job: &Job) {
    let is_over = async {
        job.cancelled().await;
        sleep(ANSWERS_AFTER_END).await;
    };
    tokio::select! {
        () = job.ended() => {}
        () = is_over => {}
    }
    sleep(ANSWERS_AFTER_END).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{message::JobKind, server::job::NewJob};

    #[tokio::test(start_paused = true)]
    async fn a_job_that_was_replaced_is_not_shared_for_ever() {
        let new = NewJob {
            id: Uuid::new_v4().into(),
            kind: JobKind::Countdown,
            owner: Uuid::new_v4(),
            total: None,
            unit: "steps",
        };
        let job = Job::new(new, 10);
        // As `replace` does.
        job.cancel();
        job.topic().begin_anew();
        let minute = Duration::from_secs(60);
        let ended = timeout(minute, job.ended()).await;
        assert!(ended.is_err(), "it has no end of its own");
        let over = timeout(minute, after_end(&job)).await;
        assert_eq!(over, Ok(()));
    }
}
