//! Tests the arithmetic of `make simulate-scale`, whose tables are in `docs/scale.md`. The program is `benches/scale`.

#[path = "../../benches/scale/costs.rs"]
#[allow(dead_code, reason = "the program prints all of it")]
mod costs;
#[path = "../../benches/scale/load.rs"]
#[allow(dead_code, reason = "the program prints all of it")]
mod load;
#[path = "../../benches/scale/model.rs"]
#[allow(dead_code, reason = "the program prints all of it")]
mod model;
#[path = "../../benches/scale/queue.rs"]
#[allow(dead_code, reason = "the program replays more of it")]
mod queue;
#[path = "../../benches/scale/tables.rs"]
#[allow(dead_code, reason = "the program prints all of it")]
mod tables;

use load::Load;
use model::{Demand, Remedies, limit, nodes_with_members};
use queue::{mean_wait, percentile, replay};

fn is_about(value: f64, expected: f64, part: f64) -> bool {
    (value / expected - 1.0).abs() <= part
}

#[test]
fn every_node_applies_everything_and_delivers_its_share() {
    let load = Load::of(100_000.0);
    let [ten, hundred] = [10.0, 100.0].map(|nodes| Demand::of(&load, nodes, Remedies::NONE));
    assert!(is_about(ten.applied, hundred.applied, 1e-9));
    assert!(is_about(ten.frames(), 10.0 * hundred.frames(), 1e-9));
    // 5,000 rooms of 10 with a message in 10 s, 300 of 100 in 5 s, 15 of 1,000 in 2 s, and one of 5,000 in each second.
    assert!(is_about(ten.nats_events, 500.0 + 60.0 + 7.5 + 1.0, 1e-9));
    let frames = 500.0 * 10.0 + 60.0 * 100.0 + 7.5 * 1_000.0 + 5_000.0;
    assert!(is_about(10.0 * ten.messages, frames, 1e-9));
}

#[test]
fn a_shard_applies_its_part_and_a_partial_replica_the_rooms_of_its_members() {
    let load = Load::of(100_000.0);
    let of = |remedies| Demand::of(&load, 100.0, remedies);
    let all = of(Remedies::NONE);
    let shards = of(Remedies {
        shards: 20.0,
        ..Remedies::NONE
    });
    assert!(is_about(shards.applied, all.applied / 20.0, 1e-9));
    assert!(is_about(shards.frames(), all.frames(), 1e-9));
    let partial = of(Remedies {
        partial: true,
        ..Remedies::NONE
    });
    assert!(partial.applied < all.applied);
    // Ten members at a hundred nodes are at 9.56 of them: one in a hundred pairs meets at a node.
    assert!(is_about(nodes_with_members(100.0, 10.0), 9.562, 1e-3));
    assert!(is_about(nodes_with_members(100.0, 1e6), 100.0, 1e-9));
}

#[test]
fn with_leaves_the_hub_sends_once_to_each_and_a_leaf_to_each_of_its_nodes() {
    let load = Load::of(100_000.0);
    let of = |leaves| {
        let remedies = Remedies {
            leaves,
            ..Remedies::NONE
        };
        Demand::of(&load, 100.0, remedies)
    };
    let (without, with) = (of(1.0), of(10.0));
    assert!(is_about(
        with.hub.bytes_out,
        without.hub.bytes_out / 10.0,
        1e-3
    ));
    assert!(is_about(
        with.leaf.bytes_out,
        without.hub.bytes_out / 10.0,
        1e-3
    ));
    assert!(with.hub.cores < without.hub.cores && without.leaf.cores == 0.0);
}

#[test]
fn a_wall_is_where_all_of_it_is_used() {
    assert!(is_about(
        limit(|connections| connections / 12_345.0),
        12_345.0,
        1e-6
    ));
    assert_eq!(limit(|_| 0.5), f64::INFINITY);
}

#[test]
fn commits_gather_what_comes_meanwhile() {
    let of = |applied| Demand {
        applied,
        ..Demand::default()
    };
    assert_eq!(of(1.0).batch(), 1.0);
    let (slow, fast) = (of(1_000.0), of(10_000.0));
    assert!(fast.batch() > slow.batch());
    // Each commit takes as long as its events need to gather.
    let seconds = (costs::COMMIT.value + fast.batch() * costs::APPLY.value) / 1e6;
    assert!(is_about(fast.batch() / 10_000.0, seconds, 1e-9));
    assert_eq!(of(1e9).batch(), f64::INFINITY);
}

#[test]
fn a_core_at_half_its_capacity_lets_jobs_wait_for_half_of_one() {
    // Pollaczek and Khinchine, for jobs of one cost: a wait of cost * load / (2 * (1 - load)).
    for used in [0.3, 0.5, 0.8] {
        let cost = 20.0;
        let expected = cost * used / (2.0 * (1.0 - used));
        let waited = mean_wait(used / cost * 1e6, cost, 7);
        assert!(
            is_about(waited, expected, 0.05),
            "{used}: {waited}, not {expected}"
        );
    }
}

#[test]
fn a_percentile_is_the_value_at_the_nearest_rank() {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(
        [0.5, 0.99, 1.0].map(|part| percentile(&values, part)),
        [50.0, 99.0, 100.0]
    );
    assert_eq!(percentile(&[7.0], 0.99), 7.0);
    assert!(percentile(&[], 0.5).is_nan());
}

#[test]
fn a_seed_replays_the_same_and_more_people_wait_longer() {
    let at = |connections, seed| {
        let replay = replay(&Load::of(connections), 10.0, Remedies::NONE, seed);
        percentile(&replay.expect("it is below the walls").delivered, 0.99)
    };
    assert_eq!(at(5_000.0, 1), at(5_000.0, 1));
    assert!(at(50_000.0, 1) > at(5_000.0, 1));
    let beyond = replay(&Load::of(1e7), 10.0, Remedies::NONE, 1);
    assert!(beyond.is_none(), "the node is beyond its walls");
}
