//! `make bench`: Wirewise beside servers that do the same with other tools.
//!
//! One load client for all of them: it publishes on a schedule, checks every sequence number, and times every message from
//! when it was due. Servers run on one core, the client on another. Rounds are interleaved, and raw TCP calibrates them.

mod check;
mod clock;
mod decode;
mod drive;
mod greeting;
mod http;
mod load;
mod machine;
mod options;
mod peer;
mod process;
mod publisher;
mod report;
mod servers;
mod workloads;

use std::{
    env,
    ffi::OsString,
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    clock::Clock,
    options::Options,
    peer::{Bench, JOINED},
    servers::raw::Fault,
    workloads::delivery,
};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let result = match command.to_string_lossy().as_ref() {
        "run" => Options::parse(rest.into_iter()).and_then(|options| run(&options)),
        process::LAUNCH => process::launch(&rest),
        "raw-tcp" => raw_tcp(&rest),
        "axum" => servers::stock::serve(),
        _ => {
            println!("{}", options::HELP);
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn raw_tcp(arguments: &[OsString]) -> Result<()> {
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    let fault = [Fault::Lose, Fault::Double]
        .into_iter()
        .find(|fault| says(fault.name()));
    servers::raw::serve(says(JOINED), fault)
}

fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    fs::create_dir_all(&options.work).context("the folder for the benchmark")?;
    // Each connection has one file here and one in the server.
    machine::allow_files(options.scale().storm as u64 + 100)?;
    machine::pin(machine::CLIENT_CORE)?;
    let mut bench = Bench {
        options,
        clock: Clock::start(),
        deliveries: delivery::RATES[0],
    };
    workloads::prove(&bench)?;
    bench.deliveries = delivery::affordable(&bench)?;
    let mut rounds = vec![];
    for index in 0..options.rounds {
        println!("== Round {} of {}", index + 1, options.rounds);
        rounds.push(workloads::round(&bench, index)?);
    }
    let elapsed = Duration::from_secs(began.elapsed().as_secs());
    report::write(options, bench.deliveries, &rounds, elapsed)?;
    println!("== Done after {elapsed:?}");
    Ok(())
}
