//! The binary: parses the settings, starts the log, binds the listener, and runs the server until it is asked to shut down.

use std::{
    env,
    io::{Write, stderr},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::ExitCode,
};

use clap::error::{ContextKind, Error};
use realtime::server::listen::Tls;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::block_in_place,
};
use wirewise::{
    bus::embedded,
    server::{self, AppState, ShutdownReason, health_check, metrics, output::Output},
    settings::{Command, CommandLine, Settings},
};

fn main() -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Written here, because there may be no thread to write it.
            let _ = writeln!(stderr(), "wirewise: Cannot start threads: {error}.");
            return ExitCode::FAILURE;
        }
    };
    let output = Output::open();
    let ended = runtime.block_on(start(&output));
    // A write that the disk did not finish in time may never finish; it must not hold up the end of the process.
    runtime.shutdown_background();
    let (output, sentence) = match ended {
        Ok(Ended::Done) => {
            output.close();
            return ExitCode::SUCCESS;
        }
        Ok(Ended::Restart { addr, metrics_addr }) => {
            // Closed before the new process replaces this one, and with it the threads that write.
            output.close();
            (Output::open(), start_again(addr, metrics_addr))
        }
        Err(sentence) => (output, sentence),
    };
    output.warn(format_args!("wirewise: {sentence}"));
    output.close();
    ExitCode::FAILURE
}

/// What remains to be done after an orderly end.
enum Ended {
    Done,
    /// Start again on the same addresses, with the same settings.
    Restart {
        addr: SocketAddr,
        /// That of the metrics, if a setting asked for it.
        metrics_addr: Option<SocketAddr>,
    },
}

/// An error is a sentence for the person who started the process.
async fn start(output: &Output) -> Result<Ended, String> {
    let CommandLine { command, settings } = match CommandLine::read() {
        Ok(command_line) => command_line,
        Err(error) if error.use_stderr() => return Err(one_sentence(&error)),
        // `--help` and `--version`. Unlike `println!`, this returns an error instead of panicking when it cannot be
        // written.
        Err(error) => {
            let _ = error.print();
            return Ok(Ended::Done);
        }
    };
    output.start_logging(&settings);
    match command {
        None => serve(settings, output).await,
        Some(command) => run(&command, &settings, output).await.map(|()| Ended::Done),
    }
}

async fn serve(settings: Settings, output: &Output) -> Result<Ended, String> {
    let addr = settings.addr;
    // First of all: without a handler SIGHUP ends the process.
    let hangup = signal(SignalKind::hangup())
        .map_err(|error| format!("Cannot wait for SIGHUP: {error}."))?;
    let state = AppState::open(settings)
        .await
        .map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        format!("Cannot listen on {addr}: {error}. Name another address with --addr.")
    })?;
    let metrics_listener = metrics::bind(&state.settings).await?;
    let metrics_addr = metrics_listener
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    let metrics_addr_given = state.settings.metrics_addr_given;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| format!("Cannot wait for SIGTERM: {error}."))?;
    tokio::spawn(reload_certificate(hangup, state.tls.clone()));
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let addr = listener.local_addr().unwrap_or(addr);
    // Printed to standard output whatever the log filter is: a person, and a test that chose port 0, need the address.
    let scheme = state.tls.as_ref().map_or("http", |_| "https");
    output.print(format_args!("Wirewise listens on {scheme}://{addr}"));
    if let Some(addr) = metrics_addr {
        output.print(format_args!(
            "Wirewise's metrics are at http://{addr}{}",
            metrics::METRICS_ROUTE
        ));
    }
    match server::run(listener, metrics_listener, state, shutdown).await {
        ShutdownReason::Shutdown => Ok(Ended::Done),
        ShutdownReason::Restart => Ok(Ended::Restart {
            addr,
            metrics_addr: metrics_addr.filter(|_| metrics_addr_given),
        }),
        ShutdownReason::Broken(sentence) => Err(sentence),
    }
}

/// Reads the certificate again on every SIGHUP. Without one the signal has no effect: a reload that is sent to every server
/// of a machine must not end this one.
async fn reload_certificate(mut hangup: Signal, tls: Option<Tls>) {
    while hangup.recv().await.is_some() {
        match tls.as_ref().map(|tls| block_in_place(|| tls.reload())) {
            None => tracing::info!("SIGHUP: there is no certificate to read again (--tls-cert)"),
            Some(Ok(())) => tracing::info!("SIGHUP: new connections get the new certificate"),
            Some(Err(error)) => {
                tracing::error!("SIGHUP: the old certificate stays in use, because {error}");
            }
        }
    }
}

/// Replaces this process with a new one that has the same settings and the same addresses. Returns only if that fails,
/// with a sentence that says why.
fn start_again(addr: SocketAddr, metrics_addr: Option<SocketAddr>) -> String {
    // If the binary was replaced meanwhile, the process table has another name for the old one; the new one is at the
    // path that this process was called with.
    let running = env::current_exe().ok().filter(|program| program.exists());
    let called = || env::args_os().next().map(PathBuf::from);
    let Some(program) = running.or_else(called) else {
        return "Cannot start again: this process does not know its own program.".to_owned();
    };
    // The system may have chosen the ports. Of a setting given twice the last one counts.
    let mut command = std::process::Command::new(program);
    command
        .args(env::args_os().skip(1))
        .args(["--addr", &addr.to_string()]);
    if let Some(addr) = metrics_addr {
        command.args(["--metrics-addr", &addr.to_string()]);
    }
    let error = command.exec();
    format!("Cannot start again: {error}.")
}

async fn run(command: &Command, settings: &Settings, output: &Output) -> Result<(), String> {
    let data_dir = settings.data_dir.display();
    match command {
        Command::Health => {
            health_check::check(settings.addr, settings.tls.cert.is_some()).await?;
            output.print(format_args!("The server at {} is ready.", settings.addr));
        }
        Command::Backup { file } => {
            embedded::backup(&settings.data_dir, file).map_err(|error| error.to_string())?;
            output.print(format_args!(
                "{} holds a backup of {data_dir}.",
                file.display()
            ));
        }
        Command::Restore { file } => {
            let kept =
                embedded::restore(&settings.data_dir, file).map_err(|error| error.to_string())?;
            output.print(format_args!(
                "{data_dir} holds what {} held.",
                file.display()
            ));
            if let Some(kept) = kept {
                output.print(format_args!(
                    "What was there before is kept as {}.",
                    kept.display()
                ));
            }
        }
    }
    Ok(())
}

/// One sentence from the several lines of a clap error: the setting, the value it got, and the values it takes.
fn one_sentence(error: &Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let mut text = error.to_string();
    // A log may keep the sentence, and a secret must not be in it.
    if context(ContextKind::InvalidArg).starts_with("--secret") {
        text = text.replace(&format!(" '{}'", context(ContextKind::InvalidValue)), "");
    }
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let paragraph = paragraph.trim_start_matches("error: ");
    let sentence = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "{}. --help lists every setting.",
        sentence.trim_end_matches('.')
    )
}
