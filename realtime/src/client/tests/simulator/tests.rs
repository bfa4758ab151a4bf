//! `WIREWISE_SCHEDULES=100000` runs so many schedules of each model; `SIMULATE_SEED=7` repeats one of each and prints it.

use std::{collections::BTreeSet, fmt::Debug};

use super::{
    rules::Rule,
    socket::{self, Socket},
    tabs::{self, Tabs},
    world::World,
};

/// The number of schedules of a model, unless the environment sets another.
const SCHEDULES: u64 = 1_000;
/// A planted fault is found within so many schedules.
const PLANTED: u64 = 300;
/// The lines of a trace that are printed.
const TRACE: usize = 60;

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}

/// Runs the schedules of a model and panics at the first one that breaks a rule. They have to reach all of `places`.
fn simulate<E: Debug>(places: &[&str], run: impl Fn(u64, bool) -> World<E>) {
    let one = number("SIMULATE_SEED");
    let seeds = one.map_or(
        0..number("WIREWISE_SCHEDULES").unwrap_or(SCHEDULES),
        |seed| seed..seed + 1,
    );
    let mut reached = BTreeSet::new();
    for seed in seeds {
        let world = run(seed, one.is_some());
        if world.broken.is_some() || one.is_some() {
            let traced = run(seed, true);
            let trace = traced.trace.unwrap_or_default();
            let last = match one {
                Some(_) => &trace[..],
                None => &trace[trace.len().saturating_sub(TRACE)..],
            };
            println!("{}", last.join("\n"));
        }
        if let Some(broken) = world.broken {
            panic!("SIMULATE_SEED={seed} repeats it: {broken:?}");
        }
        reached.extend(world.reached);
    }
    if one.is_none() {
        let missed: Vec<_> = places
            .iter()
            .filter(|place| !reached.contains(*place))
            .collect();
        assert!(missed.is_empty(), "no schedule reaches {missed:?}");
    }
}

/// The rule that the first schedule breaks that breaks any.
fn first_broken<E: Debug>(run: impl Fn(u64) -> World<E>) -> Option<(Rule, u64)> {
    (0..PLANTED).find_map(|seed| Some((run(seed).broken?.rule, seed)))
}

#[test]
fn a_socket_and_its_channels_keep_the_rules() {
    const PLACES: &[&str] = &[
        "a duplicate",
        "a gap",
        "a lost connection",
        "a page that began anew",
        "a refusal",
        "a renewal",
        "a socket that was forgotten",
        "a wait that the server asked for",
    ];
    simulate(PLACES, |seed, traced| Socket::run(seed, None, traced));
}

#[test]
fn tabs_that_share_a_stream_keep_the_rules() {
    const PLACES: &[&str] = &[
        "a duplicate",
        "a follower that loads a state",
        "a new leader",
        "a page that began anew",
        "a probe",
        "a renewal",
        "a tab alone",
        "a wait that the server asked for",
    ];
    simulate(PLACES, |seed, traced| Tabs::run(seed, None, traced));
}

#[test]
fn a_fault_planted_around_a_socket_breaks_its_rule() {
    use socket::Planted::*;
    for (planted, rule) in [
        (KeepsOldConnection, Rule::OneConnection),
        (IgnoresDrain, Rule::NotTooSoon),
        (ForgetsTimers, Rule::BackInTime),
        (RepeatsTimers, Rule::Settles),
        (KeepsDuplicates, Rule::NoDouble),
        (MovesWithHead, Rule::NoHole),
        (OutboxForgets, Rule::Acknowledged),
        (ServerForgetsIds, Rule::StoredOnce),
        (ServerLetsOvertake, Rule::InOrder),
    ] {
        let broken = first_broken(|seed| Socket::run(seed, Some(planted), false));
        assert_eq!(broken.map(|(rule, _)| rule), Some(rule), "{planted:?}");
    }
}

#[test]
fn a_fault_planted_around_tabs_breaks_its_rule() {
    use tabs::Planted::*;
    for (planted, rule) in [
        (KeepsOldStream, Rule::OneConnection),
        (IgnoresDrain, Rule::NotTooSoon),
        (ForgetsTimers, Rule::BackInTime),
        (KeepsDuplicates, Rule::NoDouble),
        (MovesFirst, Rule::NoHole),
        (ManyLeaders, Rule::OneStream),
    ] {
        let broken = first_broken(|seed| Tabs::run(seed, Some(planted), false));
        assert_eq!(broken.map(|(rule, _)| rule), Some(rule), "{planted:?}");
    }
}
