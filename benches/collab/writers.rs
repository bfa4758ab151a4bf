//! Measures the cost of a keystroke in a document that few or many clients wrote before: CPU time of the server, and
//! bytes to each watching client. Neither may depend on the number of writers.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

const FEW: u64 = 20;
const MANY: u64 = 2_000;
/// The maximum ratio of the cost with many writers to the cost with few. Measurements vary.
const MOST_TIMES: f64 = 1.5;
/// How often each document is measured, in turn. The least disturbed round counts.
const ROUNDS: usize = 3;
const KEYS: u32 = 2_000;
const BETWEEN_KEYS: Duration = Duration::from_millis(4);
const WATCHERS: usize = 5;
/// The id of the client that types. The other ids are random 32-bit numbers in Yjs; here they begin at 2^31.
const TYPIST: u64 = 1;
const FIRST_WRITER: u64 = 1 << 31;

/// The cost of a keystroke.
#[derive(Clone, Copy)]
struct Cost {
    cpu: Duration,
    /// The bytes sent to each watching client.
    bytes: f64,
}

/// Prints the measurements. Fails if many writers cost more than allowed.
pub async fn compare(server: &Process) -> ExitCode {
    let mut least: [Option<Cost>; 2] = [None; 2];
    let documents = [FEW, MANY].map(Writers::new);
    for document in &documents {
        document.seed(server).await;
    }
    let mut typed = 0;
    for _ in 0..ROUNDS {
        for (document, least) in documents.iter().zip(&mut least) {
            let cost = document.measure(server, typed).await;
            let cheaper = |known: &Cost| known.cpu <= cost.cpu;
            *least = Some(least.filter(cheaper).unwrap_or(cost));
        }
        typed += KEYS;
    }
    let [few, many] = least.map(|cost| cost.expect("there is a round"));
    for (writers, cost) in [(FEW, few), (MANY, many)] {
        println!(
            "{writers} people wrote before: a keystroke costs {:.1} us of CPU, and {:.1} bytes to each of {WATCHERS} watchers",
            cost.cpu.as_secs_f64() * 1e6,
            cost.bytes
        );
    }
    let cpu = many.cpu.as_secs_f64() / few.cpu.as_secs_f64();
    let bytes = many.bytes / few.bytes;
    println!(
        "{MANY} as against {FEW}: CPU {cpu:.2} times, bytes {bytes:.2} times (goal: at most {MOST_TIMES})"
    );
    // NaN if nothing was measured: that is a failure too.
    match cpu <= MOST_TIMES && bytes <= MOST_TIMES {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A document that a number of clients wrote before.
struct Writers {
    name: String,
    /// Everything that they wrote.
    base: Vec<u8>,
}

impl Writers {
    fn new(writers: u64) -> Self {
        let whole = document(TYPIST);
        for writer in 0..writers {
            let one = document(FIRST_WRITER + writer);
            let text = one.get_or_insert_text("content");
            text.insert(&mut one.transact_mut(), 0, "w");
            let update = one.transact().encode_diff_v1(&StateVector::default());
            let update = Update::decode_v1(&update).unwrap();
            whole.transact_mut().apply_update(update).unwrap();
        }
        let base = whole.transact().encode_diff_v1(&StateVector::default());
        let name = format!("writers-{writers}");
        Self { name, base }
    }

    async fn seed(&self, server: &Process) {
        let (mut sink, mut stream) = connect_ours(server, &self.name).await.split();
        let seed = Message::SyncStep2(&self.base).encode();
        sink.send(Frame::Binary(seed.into())).await.unwrap();
        // Waits until it is on disk.
        while let Some(Ok(frame)) = stream.next().await {
            let text = frame.to_text().unwrap_or_default();
            if text.starts_with("{\"type\":\"saved\"") && text.contains("\"updates\":1") {
                return;
            }
        }
        panic!("the server went");
    }

    /// `typed`: the number of keys typed in earlier rounds.
    async fn measure(&self, server: &Process, typed: u32) -> Cost {
        let received = Arc::new(AtomicUsize::new(0));
        let mut watching = vec![];
        for _ in 0..WATCHERS {
            let mut socket = connect_ours(server, &self.name).await;
            let received = received.clone();
            watching.push(tokio::spawn(async move {
                while let Some(Ok(frame)) = socket.next().await {
                    received.fetch_add(frame.len(), Ordering::Relaxed);
                }
            }));
        }
        let (mut sink, mut stream) = connect_ours(server, &self.name).await.split();
        watching.push(tokio::spawn(async move {
            while let Some(Ok(_)) = stream.next().await {}
        }));
        let document = document(TYPIST);
        let text = document.get_or_insert_text("content");
        // The keys of earlier rounds are typed again without sending them, so that the ids are the same.
        for _ in 0..typed {
            text.push(&mut document.transact_mut(), "k");
        }
        tokio::time::sleep(SETTLE).await;
        received.store(0, Ordering::Relaxed);
        let before = cpu(server.id());
        let mut every = interval(BETWEEN_KEYS);
        for _ in 0..KEYS {
            every.tick().await;
            let mut transaction = document.transact_mut();
            text.push(&mut transaction, "k");
            let update = transaction.encode_update_v1();
            drop(transaction);
            let frame = Message::Update(&update).encode();
            sink.send(Frame::Binary(frame.into())).await.unwrap();
        }
        // Until the last update is sent and written.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let cost = Cost {
            cpu: (cpu(server.id()) - before) / KEYS,
            bytes: received.load(Ordering::Relaxed) as f64 / f64::from(KEYS) / WATCHERS as f64,
        };
        watching.iter().for_each(JoinHandle::abort);
        cost
    }
}
