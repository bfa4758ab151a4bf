//! Proves that all who watch a job see it go forwards to one and the same end. Knows nothing of the server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::stream::{Hello, Place};

/// What one client saw of a job.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub job: String,
    pub streams: Vec<Stream>,
    /// How often it was refused, by status.
    pub refused: BTreeMap<u16, usize>,
    /// The client was told that it has the end: 204.
    pub finished: bool,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The last id that the client had.
    pub after: Option<Place>,
    pub hello: Hello,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub place: Place,
    pub data: Value,
}

#[derive(Debug, Default)]
pub struct Report {
    pub streams: usize,
    pub recovered: usize,
    pub refused: BTreeMap<u16, usize>,
    pub events: usize,
    /// How many jobs ended how.
    pub ends: BTreeMap<String, usize>,
    /// Streams that began anew with an older state: the node lacked the last steps.
    pub set_back: usize,
    /// Streams on which a client was told the end again.
    pub repeated: usize,
    pub violations: Vec<String>,
}

/// `views`: what each node says of each job at the end.
pub fn check(watches: &[Watch], views: &BTreeMap<String, Vec<Value>>) -> Report {
    let mut report = Report::default();
    let mut ends: BTreeMap<&str, &Event> = BTreeMap::new();
    for watch in watches {
        for (status, count) in &watch.refused {
            *report.refused.entry(*status).or_default() += count;
        }
        match check_watch(watch, &mut report) {
            Ok(end) => {
                let first = *ends.entry(&watch.job).or_insert(end);
                if (&first.name, &first.data) != (&end.name, &end.data) {
                    report.violations.push(format!(
                        "job {}: one client saw {} {}, another one {} {}",
                        watch.job, first.name, first.data, end.name, end.data
                    ));
                }
            }
            Err(what) => report.violations.push(format!(
                "job {}: {what}; refused (by status): {:?}",
                watch.job, watch.refused
            )),
        }
    }
    for (job, end) in ends {
        *report.ends.entry(end.name.clone()).or_default() += 1;
        let is_failed = end.name == "failed";
        if is_failed && end.data["error"].as_str().is_none_or(str::is_empty) {
            report
                .violations
                .push(format!("job {job}: failed without words: {}", end.data));
        }
        let views = views.get(job).map_or(&[][..], Vec::as_slice);
        for view in views {
            let fits = view["status"] == *end.name
                && view["error"] == end.data["error"]
                && view["result"] == end.data["result"];
            if !fits || view != &views[0] {
                report.violations.push(format!(
                    "job {job}: its clients saw {} {}, and a node says {view}",
                    end.name, end.data
                ));
            }
        }
    }
    report
}

/// Returns the end that a client saw.
fn check_watch<'a>(watch: &'a Watch, report: &mut Report) -> Result<&'a Event, String> {
    let mut last: Option<&Place> = None;
    let mut end: Option<&Event> = None;
    // How far the job was: status and count.
    let mut known = (0, 0);
    for stream in &watch.streams {
        let Stream { after, hello, .. } = stream;
        report.streams += 1;
        report.recovered += usize::from(hello.recovered);
        report.events += stream.events.len();
        if after.as_ref() != last {
            return Err(format!("came with {after:?}, its last id was {last:?}"));
        }
        let told = (hello.epoch.clone(), hello.offset);
        if hello.recovered && after.as_ref() != Some(&told) {
            return Err(format!("came with {after:?} and was recovered at {told:?}"));
        }
        let mut offset = hello.offset;
        let mut ended = false;
        for (number, event) in stream.events.iter().enumerate() {
            let is_state = event.name == "state";
            if is_state == (hello.recovered || number > 0) {
                return Err(format!("{} of the stream is {event:?}", number + 1));
            }
            // The state stands at the position of the stream, and every event after it follows.
            offset += u64::from(!is_state);
            if event.place != (hello.epoch.clone(), offset) {
                return Err(format!("{:?} came where {offset} comes next", event.place));
            }
            if ended {
                return Err(format!("{event:?} came after the end"));
            }
            last = Some(&event.place);
            match event.name.as_str() {
                "state" | "progress" => {
                    let now = progress(&event.data);
                    if now < known && !is_state {
                        return Err(format!("went back from {known:?} to {now:?}"));
                    }
                    report.set_back += usize::from(now < known);
                    known = now;
                }
                "done" | "failed" | "cancelled" => {
                    ended = true;
                    if let Some(end) = end {
                        report.repeated += 1;
                        if (&end.name, &end.data) != (&event.name, &event.data) {
                            return Err(format!(
                                "saw the end {} {}, then {} {}",
                                end.name, end.data, event.name, event.data
                            ));
                        }
                    }
                    end = Some(event);
                }
                name => return Err(format!("{name} is unknown")),
            }
        }
    }
    match end {
        Some(end) if watch.finished => Ok(end),
        Some(_) => Err("has seen the end, and is not told that it has".into()),
        None if watch.finished => Err("is told that it has the end, which never came".into()),
        None => Err("never saw the end".into()),
    }
}

fn progress(data: &Value) -> (u8, u64) {
    let status = match data["status"].as_str() {
        Some("queued") => 0,
        Some("running") => 1,
        _ => 2,
    };
    (status, data["done"].as_u64().unwrap_or_default())
}
