//! Visitors of a document, one after the other: each types a token, and leaves for good when it is told that it is saved.

use std::{ops::Range, time::Duration};

use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    copy::{Copy, Lost},
    document::{Tally, visited_document},
    document_checker::Typed,
    workloads::{Setting, random_ms},
};

/// Between two visitors, in milliseconds.
const PAUSE_MS: Range<u64> = 50..300;
/// How long a visitor waits to be told. A frozen link lasts less.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets visitors come to a document until nothing is broken any more. Returns the document and what they typed.
pub async fn visit_often(
    number: usize,
    setting: Setting,
    token: String,
    mut random: ChaCha8Rng,
    tally: Tally,
) -> (String, Typed) {
    let document = visited_document(number);
    let mut typed = Typed::default();
    for visitor in 1_u64.. {
        if !setting.is_breaking() {
            break;
        }
        let what = format!("[{number}.{visitor}]");
        let copy = Copy::new(visitor);
        match visit(&copy, &setting, &document, &token, &what, &tally).await {
            Visit::Saved => typed.kept.push(what),
            Visit::Doubtful => typed.doubtful.push(what),
            Visit::Nothing => {}
        }
        sleep(random_ms(&mut random, PAUSE_MS)).await;
    }
    (document, typed)
}

enum Visit {
    /// The visitor was told that its token is saved.
    Saved,
    /// It sent the token, and was not told.
    Doubtful,
    Nothing,
}

async fn visit(
    copy: &Copy,
    setting: &Setting,
    document: &str,
    token: &str,
    what: &str,
    tally: &Tally,
) -> Visit {
    let Some(mut connection) = copy.connect(setting.proxy, document, Some(token)).await else {
        return Visit::Nothing;
    };
    tally.connected();
    let deadline = Instant::now() + PATIENCE;
    let mut has_typed = false;
    let typing = async {
        loop {
            if connection.has_answered && connection.is_answered && !has_typed {
                has_typed = true;
                let update = copy.insert(copy.length(), what);
                connection.send_update(&update).await?;
            }
            // It believes the first word, whichever says so: each of them is a promise.
            if has_typed && (connection.all_are_counted() || connection.all_is_covered(copy)) {
                return Ok::<(), Lost>(());
            }
            let frame = connection.next().await?;
            connection.receive(frame, copy).await?;
        }
    };
    match timeout_at(deadline, typing).await {
        Ok(Ok(())) => return Visit::Saved,
        Ok(Err(why)) => tally.lost(why),
        Err(_) => {}
    }
    match has_typed {
        true => Visit::Doubtful,
        false => Visit::Nothing,
    }
}
