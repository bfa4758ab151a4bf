//! The binary: settings, logging, a listener, and [`server::run`] until the process is told to leave.

use std::{env, net::SocketAddr, os::unix::process::CommandExt, path::PathBuf, process::ExitCode};

use clap::{Parser, error::Error};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;
use wirewise::{
    bus::embedded,
    server::{self, AppState, Left},
    settings::{Command, CommandLine, LogFormat, Settings},
};

fn main() -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("wirewise: Cannot start threads: {error}.");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(start());
    // What the disk did not take within its time, it may never take: that holds no process back.
    runtime.shutdown_background();
    code
}

async fn start() -> ExitCode {
    let CommandLine { command, settings } = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) if error.use_stderr() => {
            eprintln!("wirewise: {}", one_sentence(&error));
            return ExitCode::FAILURE;
        }
        // `--help` and `--version`.
        Err(error) => error.exit(),
    };
    start_logging(&settings);
    let done = match command {
        None => serve(settings).await,
        Some(command) => run(&command, &settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("wirewise: {sentence}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), String> {
    let addr = settings.addr;
    let state = AppState::open(settings)
        .await
        .map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        format!("Cannot listen on {addr}: {error}. Name another address with --addr.")
    })?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| format!("Cannot wait for SIGTERM: {error}."))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let addr = listener.local_addr().unwrap_or(addr);
    // To standard output, whatever the log filter says: a person, and a test that chose port 0, want to know.
    println!("Wirewise listens on http://{addr}");
    match server::run(listener, state, shutdown).await {
        Left::Shutdown => Ok(()),
        Left::Restart => Err(start_again(addr)),
    }
}

/// Puts a new process into the place of this one, with the same settings and on the same address; returns only the sentence
/// that says why that cannot be done.
fn start_again(addr: SocketAddr) -> String {
    // A binary that was replaced meanwhile has another name in the process table; the new one stands where it was called.
    let running = env::current_exe().ok().filter(|program| program.exists());
    let called = || env::args_os().next().map(PathBuf::from);
    let Some(program) = running.or_else(called) else {
        return "Cannot start again: this process does not know its own program.".to_owned();
    };
    // The port may have been the system's choice; the last word on it counts.
    let error = std::process::Command::new(program)
        .args(env::args_os().skip(1))
        .args(["--addr", &addr.to_string()])
        .exec();
    format!("Cannot start again: {error}.")
}

fn run(command: &Command, settings: &Settings) -> Result<(), String> {
    let data_dir = &settings.data_dir;
    match command {
        Command::Backup { file } => {
            embedded::backup(data_dir, file).map_err(|error| error.to_string())?;
            println!(
                "{} holds a backup of {}.",
                file.display(),
                data_dir.display()
            );
        }
        Command::Restore { file } => {
            let kept = embedded::restore(data_dir, file).map_err(|error| error.to_string())?;
            println!("{} holds what {} held.", data_dir.display(), file.display());
            if let Some(kept) = kept {
                println!("What was there before is kept as {}.", kept.display());
            }
        }
    }
    Ok(())
}

/// What clap says in several lines: which setting, what it was given, what it takes.
fn one_sentence(error: &Error) -> String {
    let words = error.to_string();
    let paragraph = words.split("\n\n").next().unwrap_or_default();
    let paragraph = paragraph.trim_start_matches("error: ");
    let sentence = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "{}. --help lists every setting.",
        sentence.trim_end_matches('.')
    )
}

fn start_logging(settings: &Settings) {
    // The setting was checked when it was parsed.
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
