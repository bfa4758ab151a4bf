//! The transport race: sends the same messages over an event stream and over a socket, and measures both.
//!
//! The messages go through the server's own listener and the kit's own `sse.rs` and `socket.rs`, and are read by real
//! clients. The order of the transports within a round is random. Both ends run in this process, so one clock times
//! each message, and the CPU time is that of both ends together. Nothing is sent before the client has received its
//! greeting, so what it reads from then on is messages and framing only.

pub mod channel;
pub mod client;
mod payload;
pub mod routes;
mod tally;

use std::{sync::Arc, time::Duration};

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
use crate::routes::OwnServer;
use realtime::{server::queue::QUEUE_BYTES, transport::Transport};

/// The bytes that a burst keeps in flight: below the bound of a socket's queue, and the same for both transports.
const WINDOW_BYTES: u64 = 512 * 1024;
const WINDOW_MESSAGES: std::ops::RangeInclusive<u64> = 8..=1_024;
/// The minimum number of bytes that a queue counts for a message beside its payload.
const QUEUED_OVERHEAD: usize = 64;
/// How long the idle process is measured.
const IDLE: Duration = Duration::from_millis(250);
/// A message that is not received within this time counts as lost.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Progress is reported each time this many messages have been received.
const REPORT_EVERY: u64 = 256;

/// The parameters of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSpec {
    /// The messages of a round.
    pub messages: u64,
    /// The size of a payload in bytes.
    pub size: u64,
    pub rounds: u64,
    pub mode: RaceMode,
    /// The rate of a paced race in messages a second.
    pub rate: Option<u64>,
}

impl RaceSpec {
    /// The number of messages that all rounds send over both transports.
    pub fn total(&self) -> u64 {
        2 * self.messages * self.rounds
    }

    /// The number of messages that a client may be behind: as many as a socket's queue holds, over both transports. A
    /// burst never has more in flight than its window; a paced race does not wait for a client that stalls.
    fn history(&self) -> usize {
        QUEUE_BYTES / (self.size as usize + QUEUED_OVERHEAD)
    }

    fn window(&self) -> u64 {
        (WINDOW_BYTES / self.size).clamp(*WINDOW_MESSAGES.start(), *WINDOW_MESSAGES.end())
    }
}

/// The task of a race.
pub struct Race {
    pub spec: RaceSpec,
    pub channels: RaceChannels,
    /// How a client reaches this server.
    pub server: OwnServer,
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
    /// The messages of the heats before.
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
        let (channel, outlet) = self.channels.open(heat.transport, self.spec.history());
        let connecting = Client::connect(&self.server, heat.transport, channel.id());
        let mut client = timeout(RECEIVE_TIMEOUT, connecting)
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
        // Ends with this heat, however the heat ends.
        let mut sending = JoinSet::new();
        sending.spawn(send(self.spec, outlet, clock, window.clone()));
        while tally.received() < self.spec.messages {
            let data = timeout(RECEIVE_TIMEOUT, client.next())
                .await
                .unwrap_or_else(|_| Err("no message came any more".into()))
                .map_err(|error| stopped(&note, error))?;
            window.add_permits(1);
            tally.add(&data, clock);
            if tally.received().is_multiple_of(REPORT_EVERY) {
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
                // The resolution of a timer is a millisecond, so messages that are due within it are sent together.
                if due > Instant::now() {
                    tokio::time::sleep_until(due).await;
                }
            }
            // The reader returns the permits. The semaphore is never closed.
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

/// The CPU use of the process while no race runs, as a fraction of one core.
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
    use realtime::server::{Delivery, Selection, Topic, queue::OutQueue, topic::Pending};

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
            // Beside the payload: its JSON, and what the queue counts for a message.
            let most = spec(size).window() * (size + 128);
            assert!(most < QUEUE_BYTES as u64, "{most} at {size}");
        }
    }

    #[test]
    fn a_reader_that_stalls_may_be_as_far_behind_over_both_transports() {
        for size in SIZES {
            let (queue, topic) = (
                OutQueue::default(),
                Topic::new((), Delivery::EveryEvent, spec(size).history()),
            );
            let mut reader = topic
                .open(None, Selection::all(), |(), _| Vec::<RaceEvent>::new())
                .reader;
            let data = "x".repeat(size as usize);
            let message = RaceEvent::Payload { data };
            loop {
                queue.push_json(&message);
                if queue.is_closing() {
                    break;
                }
                topic.publish(|()| &message);
            }
            assert_ne!(reader.take(1), Pending::Lagged, "{size} bytes");
        }
    }
}
