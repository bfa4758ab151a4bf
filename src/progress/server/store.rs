//! Stores jobs, so that they survive a restart: one latest value on the bus for each job, written when it starts and
//! when it ends.

use bytes::Bytes;
use uuid::Uuid;

use super::job::JobRecord;
use crate::bus::{BusError, SharedBus};

pub const PREFIX: &str = "jobs/";

/// The records of all jobs. Cheap to clone.
#[derive(Clone)]
pub struct JobStore(SharedBus);

impl JobStore {
    pub fn new(bus: SharedBus) -> Self {
        Self(bus)
    }

    /// All stored records. A record that this version cannot read is skipped and stays stored.
    pub async fn all(&self) -> Result<Vec<JobRecord>, BusError> {
        let stored = self.0.latest(PREFIX).await?;
        let read = |(key, bytes): (String, Bytes)| Self::read(&key, &bytes);
        Ok(stored.into_iter().filter_map(read).collect())
    }

    /// A stored record; `None` if this version cannot read it.
    pub fn read(key: &str, bytes: &[u8]) -> Option<JobRecord> {
        serde_json::from_slice(bytes)
            .inspect_err(|error| tracing::warn!(key, %error, "a stored job cannot be read"))
            .ok()
    }

    pub fn bus(&self) -> &SharedBus {
        &self.0
    }

    /// The stored record of a job, as this node knows it.
    pub async fn get(&self, id: Uuid) -> Option<JobRecord> {
        let key = format!("{PREFIX}{id}");
        let stored = self.0.latest(&key).await.ok()?;
        let (key, bytes) = stored.into_iter().find(|(found, _)| *found == key)?;
        Self::read(&key, &bytes)
    }

    /// Stores a record. A failure is logged.
    pub async fn keep(&self, mut record: JobRecord) -> Result<(), BusError> {
        record.node = self.0.node();
        // A record consists of strings and numbers, so it always encodes.
        let json = serde_json::to_vec(&record).unwrap_or_default();
        self.put(record.id.value(), json.into()).await
    }

    /// Removes a record. If that fails, the next start finds a job that is old enough to be removed.
    pub async fn forget(&self, id: Uuid) {
        let _ = self.put(id, Bytes::new()).await;
    }

    async fn put(&self, id: Uuid, value: Bytes) -> Result<(), BusError> {
        let stored = self.0.put_latest(&format!("{PREFIX}{id}"), value).await;
        stored.inspect_err(
            |error| tracing::warn!(job.id = %id, %error, "a job's state could not be stored"),
        )
    }
}
