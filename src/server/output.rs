//! Writes the standard output and standard error of the process: its log, and sentences for the person who started it.
//!
//! No write waits for a reader, and no write fails. Standard error may be a pipe that nobody reads, a full disk, or
//! closed. `println!` and `eprintln!` panic when a write fails, and a write to a full pipe blocks its thread for ever.
//! Each of the two streams therefore has one thread that writes, behind a bounded queue. A line is dropped and counted
//! ([`dropped_lines`]) if the queue is full or the stream refuses it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Display,
    io::{self, Write},
    panic::PanicHookInfo,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::{
    background::panic_message,
    settings::{LogFormat, Settings},
};

/// Lines that may wait in the queue of a stream: at most some megabytes, and some seconds of a debug log.
const WAITING_LINES: usize = 16_384;
/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(1_500);

/// Lines that standard error refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);
/// Counts the lines that found the queue of standard error full.
static OVERFLOWN: OnceLock<ErrorCounter> = OnceLock::new();

/// Both streams of the process.
pub struct Output {
    stdout: Stream,
    stderr: Stream,
}

struct Stream {
    lines: NonBlocking,
    /// Ends the thread that writes when dropped.
    guard: WorkerGuard,
}

/// A stream whose errors are counted instead of returned.
struct Counting<W>(W);

impl Output {
    /// Starts the two threads that write.
    pub fn open() -> Self {
        let stderr = Stream::open(io::stderr());
        // Already set only in a process that could not start again; its second `Output` writes one more line.
        let _ = OVERFLOWN.set(stderr.lines.error_counter());
        Self {
            stdout: Stream::open(io::stdout()),
            stderr,
        }
    }

    /// Writes a line to standard output.
    pub fn print(&self, line: impl Display) {
        self.stdout.write(line);
    }

    /// Writes a line to standard error, whatever the log filter says.
    pub fn warn(&self, line: impl Display) {
        self.stderr.write(line);
    }

    /// Sends log lines and panics to standard error from now on.
    pub fn start_logging(&self, settings: &Settings) {
        // The setting was checked when it was parsed.
        let filter = EnvFilter::try_new(&settings.log).unwrap_or_default();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            // It would report its own errors with `eprintln!`.
            .log_internal_errors(false)
            .with_writer(self.stderr.lines.clone());
        match settings.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
        std::panic::set_hook(Box::new(log_panic));
    }

    /// Writes the waiting lines and ends. A stream that accepts nothing delays this by `LAST_LINES` at most.
    pub fn close(self) {
        let (done, waiting) = channel();
        for guard in [self.stdout.guard, self.stderr.guard] {
            let done = done.clone();
            // Dropped on threads of their own: a guard whose queue is full prints a message, and that may panic or
            // block.
            let closing = thread::Builder::new().spawn(move || {
                drop(guard);
                let _ = done.send(());
            });
            if closing.is_err() {
                return;
            }
        }
        let until = Instant::now() + LAST_LINES;
        for _ in 0..2 {
            let _ = waiting.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl Stream {
    fn open(writer: impl Write + Send + 'static) -> Self {
        let builder = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_LINES);
        let (lines, guard) = builder.finish(Counting(writer));
        Self { lines, guard }
    }

    fn write(&self, line: impl Display) {
        // One write is one line of the queue, and it never fails.
        let _ = self.lines.clone().write_all(format!("{line}\n").as_bytes());
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.write_all(bytes).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// The number of lines that were dropped since the process began.
pub fn dropped_lines() -> u64 {
    let overflown = OVERFLOWN.get().map_or(0, ErrorCounter::dropped_lines);
    REFUSED.load(Ordering::Relaxed) + overflown as u64
}

/// Replaces the standard panic hook, which writes to standard error itself and waits for its reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    metrics::counter!("wirewise_panics").increment(1);
    let location = panic.location().map(ToString::to_string);
    // Captured only if RUST_BACKTRACE asks for one.
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| format!("\n{backtrace}"));
    tracing::error!(
        place = location.unwrap_or_default(),
        thread = thread::current().name(),
        "panicked: {}{}",
        panic_message(panic.payload()),
        backtrace.unwrap_or_default()
    );
}
