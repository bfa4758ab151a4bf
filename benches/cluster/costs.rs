//! The costs of single steps, for the arithmetic of `benches/scale`: what a node spends on an event that it only applies, on
//! a delivery, on people elsewhere; and how fast an empty node reads the log.

use std::{path::Path, time::Duration};

use tokio::time::sleep;

use super::{
    SETTLE,
    announcements::Announcer,
    figures::{Spent, cores, micros_each},
    flood::{self, Flood},
    load::{self, Members},
    nodes::System,
    processor::cpu,
};

/// The node that has the members, and the one that has none.
const BUSY: usize = 0;
const OTHER: usize = 1;
/// Rooms with a single member, as many as the other load has writers: so both loads send equally often.
const LONE_ROOMS: usize = 20;
/// Announcements of one person: in so many rooms, so many a second.
const SINGLES: u32 = 500;
const SINGLES_A_SECOND: u32 = 1_000;
const MANY_A_SECOND: u32 = 10_000;
/// Announcements of as many people as one may have: in so many rooms, so many a second.
const CROWDS: u32 = 200;
const CROWD: u32 = 500;
const CROWDS_A_SECOND: u32 = 40;
/// Two of these and some more are less than the time after which people are forgotten (30 s).
const ANNOUNCING: Duration = Duration::from_secs(5);

/// Microseconds of CPU time, unless the name says otherwise.
pub struct Costs {
    /// A message to a member, beyond what the message itself costs.
    pub delivery: f64,
    /// A message at the node that publishes it and delivers it to one member.
    pub publish: f64,
    pub publish_at_the_limit: f64,
    /// An event at a node that only applies it: at a steady load, and at the limit, where commits have many events.
    pub apply: f64,
    pub apply_at_the_limit: f64,
    pub events_a_second_at_the_limit: f64,
    /// An event where an empty node reads the log, and how many it reads a second.
    pub catch_up: f64,
    pub catch_up_a_second: f64,
    pub caught_up: u64,
    /// An announcement of one person: at a node that hears it, and at NATS with two such nodes. Then the same where ten times
    /// as many come.
    pub announcement: f64,
    pub announcement_nats: f64,
    pub one_of_many: f64,
    pub one_of_many_nats: f64,
    pub announcement_bytes: usize,
    pub flood: Flood,
    /// A person in an announcement of 500.
    pub person: f64,
    pub person_bytes: f64,
    /// A known person a second, for looking who is to be forgotten.
    pub person_known: f64,
    pub person_memory_bytes: f64,
    /// The part of a core that a node without members and messages uses.
    pub idle_cores: f64,
}

impl Costs {
    pub async fn measure(folder: &Path, span: Duration) -> Self {
        let mut system = System::start(folder, 2).await;
        let empty_start = system.add().await;
        let empty = cpu(system.nodes[2].id());
        system.nodes.pop();
        let idle = idle(&system, span).await;
        let idle_cores = cores(idle.nodes[OTHER], idle.seconds);

        let lone = Members::join(&system, 1, LONE_ROOMS, 1).await;
        sleep(SETTLE).await;
        let steady = lone.steady(&system, span).await;
        let limit = lone.at_the_limit(&system, span).await;
        drop(lone);
        let beyond_idle = |spent: &Spent, node: usize| {
            spent.nodes[node].saturating_sub(Duration::from_secs_f64(spent.seconds * idle_cores))
        };
        let publish = micros_each(beyond_idle(&steady.spent, BUSY), steady.messages);
        let apply = micros_each(beyond_idle(&steady.spent, OTHER), steady.messages);
        let apply_at_the_limit = micros_each(beyond_idle(&limit.spent, OTHER), limit.messages);

        let publish_at_the_limit = micros_each(beyond_idle(&limit.spent, BUSY), limit.messages);

        let crowd = Members::join(&system, 1, load::ROOMS, load::MEMBERS).await;
        sleep(SETTLE).await;
        let crowded = crowd.steady(&system, span).await;
        drop(crowd);
        let a_message = micros_each(beyond_idle(&crowded.spent, BUSY), crowded.messages);
        let delivery = (a_message - publish) / (load::MEMBERS - 1) as f64;

        let caught_up = system.events().await;
        let took = system.add().await.saturating_sub(empty_start);
        let used = cpu(system.nodes[2].id()).saturating_sub(empty);
        system.nodes.pop();

        // The crowd leaves 5 s after its sockets.
        sleep(Duration::from_secs(5) + SETTLE).await;
        let mut announcer = Announcer::connect(system.nats_port()).await;
        let announcement_bytes = announcer.here("others-0", 0..1).await;
        announcer
            .renew(SINGLES, 1, SINGLES_A_SECOND, Duration::from_secs(1))
            .await;
        let before = system.spent().await;
        let singles = announcer
            .renew(SINGLES, 1, SINGLES_A_SECOND, ANNOUNCING)
            .await;
        let single = system.spent().await.since(&before);
        let before = system.spent().await;
        let many = announcer.renew(SINGLES, 1, MANY_A_SECOND, ANNOUNCING).await;
        let busy = system.spent().await.since(&before);

        let before = system.spent().await;
        announcer
            .renew(CROWDS, CROWD, CROWDS_A_SECOND, ANNOUNCING)
            .await;
        let known = system.spent().await;
        let people = f64::from(CROWDS * CROWD);
        let grown = known.resident[OTHER].saturating_sub(before.resident[OTHER]);
        let looking = self::idle(&system, ANNOUNCING).await;
        let before = system.spent().await;
        let crowds = announcer
            .renew(CROWDS, CROWD, CROWDS_A_SECOND, ANNOUNCING)
            .await;
        let renewed = system.spent().await.since(&before);
        let looking_cores = cores(looking.nodes[OTHER], looking.seconds);
        let on_people = renewed.nodes[OTHER]
            .saturating_sub(Duration::from_secs_f64(renewed.seconds * looking_cores));
        let flood = flood::measure(&system, announcement_bytes, ANNOUNCING).await;
        let crowd_bytes = announcer.here("others-0", 0..CROWD).await;
        let costs = Self {
            delivery,
            publish,
            publish_at_the_limit,
            apply,
            apply_at_the_limit,
            events_a_second_at_the_limit: limit.messages as f64 / limit.spent.seconds,
            catch_up: micros_each(used, caught_up as usize),
            catch_up_a_second: caught_up as f64 / took.as_secs_f64(),
            caught_up,
            announcement: micros_each(beyond_idle(&single, OTHER), singles),
            announcement_nats: micros_each(single.nats, singles),
            one_of_many: micros_each(beyond_idle(&busy, OTHER), many),
            one_of_many_nats: micros_each(busy.nats, many),
            announcement_bytes,
            flood,
            person: micros_each(on_people, crowds * CROWD as usize),
            person_bytes: crowd_bytes as f64 / f64::from(CROWD),
            person_known: (looking_cores - idle_cores).max(0.0) * 1e6 / people,
            person_memory_bytes: grown as f64 / people,
            idle_cores,
        };
        system.end().await;
        costs
    }
}

async fn idle(system: &System, span: Duration) -> Spent {
    let before = system.spent().await;
    sleep(span).await;
    system.spent().await.since(&before)
}
