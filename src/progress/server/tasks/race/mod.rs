//! The race: the same messages over an event stream and over a socket, through the server's own listener and the kit's own
//! `sse.rs` and `socket.rs`, read back by real clients.
//!
//! The order within a round is drawn. Both ends live in this process, so one clock times each message, and the CPU is that of
//! both ends together. Nothing is sent before the client was greeted: what it reads from then on is messages and framing.

pub mod channel;
pub mod client;
mod payload;
pub mod routes;
mod tally;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cpu_time::ProcessTime;
use rand::seq::SliceRandom;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use self::{
    channel::{Outlet, RaceChannels},
    client::Client,
    payload::Clock,
    tally::Tally,
};
use super::{JobError, Task};
use crate::progress::{
    message::RaceEvent,
    result::{RaceMode, RaceResult, RaceRow},
    server::job::Job,
};
use realtime::{server::queue::QUEUE_BYTES, transport::Transport};

/// What a burst keeps under way, in bytes: below the bound of a socket's queue, and the same for both.
const WINDOW_BYTES: u64 = 512 * 1024;
const WINDOW_MESSAGES: std::ops::RangeInclusive<u64> = 8..=1_024;
/// The least that a queue counts for a message beside its payload.
const QUEUED_OVERHEAD: usize = 64;
/// How long the idle process is measured.
const IDLE: Duration = Duration::from_millis(250);
/// A message that does not come within this does not come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Progress is told after so many messages.
const TELL_EVERY: u64 = 256;

/// What a race is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSpec {
    /// A round's.
    pub messages: u64,
    /// Of a payload, in bytes.
    pub size: u64,
    pub rounds: u64,
    pub mode: RaceMode,
    /// Messages a second; of a paced race.
    pub rate: Option<u64>,
}

impl RaceSpec {
    /// What all rounds send over both transports.
    pub fn total(&self) -> u64 {
        2 * self.messages * self.rounds
    }

    /// Messages that a client may be behind: as many as a socket's queue takes, over both transports. A burst never has more
    /// under way than its window; a paced race does not wait for a client that stalls.
    fn ring(&self) -> usize {
        QUEUE_BYTES / (self.size as usize + QUEUED_OVERHEAD)
    }

    fn window(&self) -> u64 {
        (WINDOW_BYTES / self.size).clamp(*WINDOW_MESSAGES.start(), *WINDOW_MESSAGES.end())
    }
}

/// The job.
pub struct Race {
    pub spec: RaceSpec,
    pub lanes: RaceChannels,
    /// Where this very server listens.
    pub server: SocketAddr,
}

impl Task for Race {
    type Result = RaceResult;

    async fn run(self, job: Job) -> Result<RaceResult, JobError> {
        let idle = idle_cpu().await;
        let mut rows = vec![];
        for round in 1..=self.spec.rounds {
            let mut order = [Transport::Sse, Transport::WebSocket];
            order.shuffle(&mut rand::rng());
            for transport in order {
                let heat = Heat {
                    round,
                    first: transport == order[0],
                    transport,
                    done: rows.len() as u64 * self.spec.messages,
                };
                rows.push(self.heat(heat, idle, &job).await?);
            }
        }
        let spec = self.spec;
        Ok(RaceResult {
            mode: spec.mode,
            rate: spec.rate,
            messages: spec.messages,
            size: spec.size,
            rounds: spec.rounds,
            window: spec.window(),
            idle_cpu_percent: idle * 100.0,
            rows,
        })
    }
}

/// One transport in one round.
struct Heat {
    round: u64,
    first: bool,
    transport: Transport,
    /// Messages of the heats before.
    done: u64,
}

impl Race {
    async fn heat(&self, heat: Heat, idle: f64, job: &Job) -> Result<RaceRow, JobError> {
        let note = format!(
            "round {} of {}, {}",
            heat.round,
            self.spec.rounds,
            heat.transport.name()
        );
        let (lane, outlet) = self.lanes.open(heat.transport, self.spec.ring());
        let connecting = Client::connect(self.server, heat.transport, lane.id());
        let mut client = timeout(PATIENCE, connecting)
            .await
            .unwrap_or_else(|_| Err("the server did not greet".into()))
            .map_err(|error| stopped(&note, error))?;
        let outlet = outlet
            .await
            .map_err(|_| stopped(&note, "its client went away".into()))?;
        let window = Arc::new(Semaphore::new(self.spec.window() as usize));
        let clock = Clock::start();
        let mut tally = Tally::new(self.spec.messages);
        let (bytes_before, cpu_before, started) =
            (client.bytes(), ProcessTime::now(), Instant::now());
        // Ends with this heat, however that ends.
        let mut sending = JoinSet::new();
        sending.spawn(send(self.spec, outlet, clock, window.clone()));
        while tally.received() < self.spec.messages {
            let data = timeout(PATIENCE, client.next())
                .await
                .unwrap_or_else(|_| Err("no message came any more".into()))
                .map_err(|error| stopped(&note, error))?;
            window.add_permits(1);
            tally.add(&data, clock);
            if tally.received().is_multiple_of(TELL_EVERY) {
                job.progress(heat.done + tally.received(), &note);
            }
        }
        let (elapsed, cpu) = (started.elapsed(), cpu_before.elapsed());
        let wire_bytes = client.bytes() - bytes_before;
        job.progress(heat.done + tally.received(), &note);
        let messages = self.spec.messages as f64;
        let latency = tally.latency();
        Ok(RaceRow {
            round: heat.round,
            first: heat.first,
            transport: heat.transport,
            elapsed_ms: elapsed.as_secs_f64() * 1_000.0,
            messages_per_second: messages / elapsed.as_secs_f64().max(1e-9),
            wire_bytes,
            overhead_bytes: wire_bytes as f64 / messages - self.spec.size as f64,
            latency_p50_us: latency.p50,
            latency_p99_us: latency.p99,
            latency_max_us: latency.max,
            cpu_us: (cpu.as_secs_f64() - idle * elapsed.as_secs_f64()).max(0.0) * 1e6 / messages,
            received: tally.received(),
            in_order: tally.in_order(),
        })
    }
}

/// Sends all messages of a heat: each when it is due, or as fast as the window allows.
async fn send(spec: RaceSpec, outlet: Outlet, clock: Clock, window: Arc<Semaphore>) {
    let started = Instant::now();
    for sequence in 0..spec.messages {
        match spec.rate {
            Some(rate) => {
                let due = started + Duration::from_secs(sequence) / rate as u32;
                // A timer's grain is a millisecond: what is due leaves together.
                if due > Instant::now() {
                    tokio::time::sleep_until(due).await;
                }
            }
            // Given back by the reader. It is never closed.
            None => window
                .acquire()
                .await
                .into_iter()
                .for_each(|permit| permit.forget()),
        }
        let data = clock.payload(sequence, spec.size as usize);
        outlet.send(&RaceEvent::Payload { data });
    }
}

/// What the process uses while no race runs, as a part of one core.
async fn idle_cpu() -> f64 {
    let (before, started) = (ProcessTime::now(), Instant::now());
    tokio::time::sleep(IDLE).await;
    before.elapsed().as_secs_f64() / started.elapsed().as_secs_f64()
}

fn stopped(note: &str, error: String) -> JobError {
    JobError(format!("The race stopped in {note}: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime::server::{
        queue::OutQueue,
        topic::{Delivery, Pending, Topic},
    };

    const SIZES: [u64; 5] = [16, 100, 1_000, 10_000, 65_536];

    fn spec(size: u64) -> RaceSpec {
        RaceSpec {
            messages: 100,
            size,
            rounds: 1,
            mode: RaceMode::Burst,
            rate: None,
        }
    }

    #[test]
    fn the_window_fits_a_sockets_queue_at_every_size() {
        for size in SIZES {
            // Beside the payload: its JSON, and what the queue counts a message.
            let most = spec(size).window() * (size + 128);
            assert!(most < QUEUE_BYTES as u64, "{most} at {size}");
        }
    }

    #[test]
    fn a_reader_that_stalls_may_be_as_far_behind_over_both_transports() {
        for size in SIZES {
            let (queue, topic) = (
                OutQueue::default(),
                Topic::new(Delivery::EveryEvent, spec(size).ring()),
            );
            let mut reader = topic.read_from(0, Box::new(|()| true));
            let data = "x".repeat(size as usize);
            let message = RaceEvent::Payload { data };
            loop {
                queue.push_json(&message);
                if queue.is_closing() {
                    break;
                }
                topic.publish((), &message);
            }
            assert_ne!(reader.take(1), Pending::Lagged, "{size} bytes");
        }
    }
}
