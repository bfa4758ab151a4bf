//! The binary: settings, logging, a listener, and [`server::run`] until the process is told to leave.

use std::{
    env,
    io::{Write, stderr},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, error::Error};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use wirewise::{
    bus::embedded,
    server::{self, AppState, ShutdownReason, output::Output},
    settings::{Command, CommandLine, Settings},
};

fn main() -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Written here: there may be no thread for it.
            let _ = writeln!(stderr(), "wirewise: Cannot start threads: {error}.");
            return ExitCode::FAILURE;
        }
    };
    let output = Output::open();
    let ended = runtime.block_on(start(&output));
    // What the disk did not take within its time, it may never take: that holds no process back.
    runtime.shutdown_background();
    let (output, sentence) = match ended {
        Ok(Ended::Done) => {
            output.close();
            return ExitCode::SUCCESS;
        }
        Ok(Ended::StartAgain(addr)) => {
            // Before the new process takes the place of this one, and of the threads that write.
            output.close();
            (Output::open(), start_again(addr))
        }
        Err(sentence) => (output, sentence),
    };
    output.warn(format_args!("wirewise: {sentence}"));
    output.close();
    ExitCode::FAILURE
}

/// What there is to do once everything has ended well.
enum Ended {
    Done,
    /// On the same address, with the same settings.
    StartAgain(SocketAddr),
}

/// An error is a sentence for the person who started the process.
async fn start(output: &Output) -> Result<Ended, String> {
    let CommandLine { command, settings } = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) if error.use_stderr() => return Err(one_sentence(&error)),
        // `--help` and `--version`. Unlike `println!` it says that it could not be written, and does not panic.
        Err(error) => {
            let _ = error.print();
            return Ok(Ended::Done);
        }
    };
    output.start_logging(&settings);
    match command {
        None => serve(settings, output).await,
        Some(command) => run(&command, &settings, output).map(|()| Ended::Done),
    }
}

async fn serve(settings: Settings, output: &Output) -> Result<Ended, String> {
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
    output.tell(format_args!("Wirewise listens on http://{addr}"));
    match server::run(listener, state, shutdown).await {
        ShutdownReason::Shutdown => Ok(Ended::Done),
        ShutdownReason::Restart => Ok(Ended::StartAgain(addr)),
        ShutdownReason::Broken(sentence) => Err(sentence),
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

fn run(command: &Command, settings: &Settings, output: &Output) -> Result<(), String> {
    let data_dir = settings.data_dir.display();
    match command {
        Command::Backup { file } => {
            embedded::backup(&settings.data_dir, file).map_err(|error| error.to_string())?;
            output.tell(format_args!(
                "{} holds a backup of {data_dir}.",
                file.display()
            ));
        }
        Command::Restore { file } => {
            let kept =
                embedded::restore(&settings.data_dir, file).map_err(|error| error.to_string())?;
            output.tell(format_args!(
                "{data_dir} holds what {} held.",
                file.display()
            ));
            if let Some(kept) = kept {
                output.tell(format_args!(
                    "What was there before is kept as {}.",
                    kept.display()
                ));
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
