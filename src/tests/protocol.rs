//! Tests that `docs/protocol.md` and the code agree: routes, query parameters, messages, close codes, error codes,
//! settings. What is only in the document fails, and so does what is only in the code; each mismatch is named.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use realtime::{
    close::{AfterClose, after_close},
    message::{ErrorCode, SocketControl, SocketRequest, StreamControl},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use wirewise::{
    chat::message::{ChatCommand, ChatEvent, ChatWelcome, HistoryPage, RoomSummary},
    collab::message::{BoardCommand, BoardEvent, BoardWelcome},
    inspector::{
        counterpart::{CompareEvent, CompareNote, CompareWelcome},
        message::{Fault, HandshakeView},
    },
    progress::{
        message::{JobEvent, JobKind, JobView, RaceEvent, Started},
        result::{ChecksumResult, CountdownResult, RaceResult},
    },
    server::metrics::METRICS_ROUTE,
    session::SignedIn,
    settings::CommandLine,
    ticker::message::{Listing, TickerEvent},
};

use crate::support::Server;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");
const ERROR_CODES: &str = include_str!("../../realtime/src/message.rs");
/// Each enum of close codes, with the source that declares it.
const CLOSE_CODES: [(&str, &str); 2] = [
    (
        "pub enum CloseCode {",
        include_str!("../../realtime/src/close.rs"),
    ),
    (
        "pub enum BoardCloseCode {",
        include_str!("../collab/message.rs"),
    ),
];

/// The sender of a message, as the document names it.
const CLIENT: &str = "client";
const SERVER: &str = "server";

/// The tables under a heading that begins with `Messages:`.
const MESSAGES: [&str; 8] = [
    "every stream",
    "every socket",
    "ticker",
    "progress",
    "race",
    "chat",
    "collab",
    "comparison",
];
/// The tables under a heading that begins with `Values:`.
const VALUES: [&str; 2] = ["job kind", "fault"];

/// A row of a table, cell by cell.
type Row = Vec<String>;
/// Returns what is wrong with an example.
type Check = fn(&str) -> Option<String>;

/// Every heading, with the rows of the table under it. The traces are skipped.
fn tables() -> Vec<(String, Vec<Row>)> {
    let mut tables: Vec<(String, Vec<Row>)> = vec![];
    let mut in_trace = false;
    for line in DOCUMENT.lines() {
        if line.starts_with("```") {
            in_trace = !in_trace;
        } else if in_trace {
            continue;
        } else if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_owned();
            tables.push((heading, vec![]));
        } else if line.starts_with('|') {
            let cells = line.trim_matches('|').split('|');
            let cells: Row = cells.map(|cell| cell.trim().to_owned()).collect();
            if let Some((_, rows)) = tables.last_mut() {
                rows.push(cells);
            }
        }
    }
    tables
}

/// The rows under a heading, without the two lines of the table head.
fn rows(heading: &str) -> Vec<Row> {
    let mut tables = tables().into_iter();
    let table = tables.find(|(found, _)| found == heading);
    let (_, rows) = table.unwrap_or_else(|| panic!("the document has no heading {heading:?}"));
    let rows: Vec<Row> = rows.into_iter().skip(2).collect();
    assert!(!rows.is_empty(), "there is no table under {heading:?}");
    rows
}

/// The texts in backticks of a cell.
fn literals(cell: &str) -> Vec<String> {
    let pieces = cell.split('`').skip(1).step_by(2);
    pieces.map(str::to_owned).collect()
}

/// The first literal of a column; empty if there is none.
fn literal(row: &[String], column: usize) -> String {
    let cell = row.get(column).map(String::as_str).unwrap_or_default();
    literals(cell).into_iter().next().unwrap_or_default()
}

/// The literals of the first column under a heading. A literal that occurs twice is reported.
fn keys(heading: &str, wrong: &mut Vec<String>) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for row in rows(heading) {
        let key = literal(&row, 0);
        if !keys.insert(key.clone()) {
            wrong.push(format!("{heading}: {key} is documented twice"));
        }
    }
    keys
}

/// Reports what is only in the document or only in the code.
fn compare(
    what: &str,
    documented: &BTreeSet<String>,
    known: &BTreeSet<String>,
    wrong: &mut Vec<String>,
) {
    for name in known.difference(documented) {
        wrong.push(format!("{what}: {name} is only in the code"));
    }
    for name in documented.difference(known) {
        wrong.push(format!("{what}: {name} is only in the document"));
    }
}

fn assert_none(wrong: &[String]) {
    let wrong = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "docs/protocol.md and the code differ:\n{wrong}"
    );
}

/// The names of an enum's variants, taken from serde's error about an unknown variant.
fn variants<T: DeserializeOwned>(unknown: &str) -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<T>(unknown) else {
        panic!("{unknown} is known")
    };
    let words = error.to_string();
    assert!(words.starts_with("unknown variant"), "{words}");
    // unknown variant `?`, expected one of `this`, `that`
    let names = words.split('`').skip(3).step_by(2);
    names.map(str::to_owned).collect()
}

/// Why an example is not a `T` with all its fields: it cannot be parsed, or it serializes differently.
fn mismatch<T: Serialize + DeserializeOwned>(example: &str, kind: Option<&str>) -> Option<String> {
    let mut value: Value = match serde_json::from_str(example) {
        Ok(value) => value,
        Err(error) => return Some(format!("{example} is no JSON: {error}")),
    };
    if let (Some(kind), Some(fields)) = (kind, value.as_object_mut()) {
        fields.insert("type".to_owned(), Value::from(kind));
    }
    let read: T = match serde_json::from_value(value.clone()) {
        Ok(read) => read,
        Err(error) => return Some(format!("{value} cannot be read: {error}")),
    };
    let written = serde_json::to_value(&read).unwrap();
    (written != value).then(|| format!("{value} is written as {written}"))
}

/// [`mismatch`] for a value that is not a message.
fn example<T: Serialize + DeserializeOwned>(example: &str) -> Option<String> {
    mismatch::<T>(example, None)
}

/// Checks the examples under a heading, in the second column, against their types.
fn check_examples(heading: &str, checks: &[(&str, Check)]) -> Vec<String> {
    let mut wrong = vec![];
    let documented = keys(heading, &mut wrong);
    let known = checks.iter().map(|(key, _)| (*key).to_owned());
    let known: BTreeSet<String> = known.collect();
    compare(heading, &documented, &known, &mut wrong);
    for row in rows(heading) {
        let key = literal(&row, 0);
        let check = checks.iter().find(|(known, _)| *known == key);
        if let Some(why) = check.and_then(|(_, check)| check(&literal(&row, 1))) {
            wrong.push(format!("{heading}: {key}: {why}"));
        }
    }
    wrong
}

/// The documented messages of one page and one direction, and the mismatches found in them.
struct Messages {
    context: String,
    /// The fields of each message, by its type.
    documented: BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl Messages {
    fn of(page: &str, from: &str) -> Self {
        let context = format!("messages of {page}, from the {from}");
        let (mut documented, mut wrong) = (BTreeMap::new(), vec![]);
        for row in rows(&format!("Messages: {page}")) {
            let sender = row.get(1).map(String::as_str).unwrap_or_default();
            let kind = literal(&row, 0);
            if ![CLIENT, SERVER].contains(&sender) {
                wrong.push(format!("{context}: {kind} comes from {sender:?}"));
            }
            if sender == from {
                let before = documented.insert(kind.clone(), literal(&row, 2));
                if before.is_some() {
                    wrong.push(format!("{context}: {kind} is documented twice"));
                }
            }
        }
        Self {
            context,
            documented,
            wrong,
        }
    }

    /// Checks that all messages of `T` are documented.
    fn check_all<T: Serialize + DeserializeOwned>(mut self) -> Self {
        for kind in variants::<T>(r#"{"type":"?"}"#) {
            self.check::<T>(&kind, Some(kind.as_str()));
        }
        self
    }

    /// Checks the part of `welcome` that the page adds.
    fn check_welcome<T: Serialize + DeserializeOwned>(mut self) -> Self {
        self.check::<T>("welcome", None);
        self
    }

    fn check<T: Serialize + DeserializeOwned>(&mut self, kind: &str, tag: Option<&str>) {
        let why = match self.documented.remove(kind) {
            Some(fields) => mismatch::<T>(&fields, tag),
            None => Some("is only in the code".to_owned()),
        };
        if let Some(why) = why {
            self.wrong.push(format!("{}: {kind}: {why}", self.context));
        }
    }

    /// Reports the documented messages that no type has, and returns all mismatches.
    fn finish(mut self) -> Vec<String> {
        for kind in self.documented.keys() {
            let wrong = format!("{}: {kind} is only in the document", self.context);
            self.wrong.push(wrong);
        }
        self.wrong
    }
}

/// The sources of both crates, without their tests and their comments.
fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    for folder in ["src", "realtime/src"] {
        collect(&root.join(folder), &mut files);
    }
    let read = |path: &PathBuf| without_tests(&fs::read_to_string(path).unwrap());
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
}

fn without_tests(source: &str) -> String {
    let mut parts = source.split("#[cfg(test)]\nmod tests {");
    let lines = parts.next().unwrap_or_default().lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The texts between each `start` and the next quotation mark.
fn texts_after<'a>(source: &'a str, start: &str) -> Vec<&'a str> {
    let rests = source.split(start).skip(1);
    rests.filter_map(|rest| rest.split('"').next()).collect()
}

/// The paths of the API and of the other routes, as the sources spell them.
fn paths_of_routes() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for source in sources() {
        for path in texts_after(&source, "\"/api/") {
            paths.insert(format!("/api/{path}"));
        }
        // Routes that do not begin with /api.
        for line in source.lines() {
            if line.contains("ROUTE") || line.contains(".route(") {
                for path in texts_after(line, "\"/") {
                    paths.insert(format!("/{path}"));
                }
            }
        }
    }
    // Fallbacks for paths without a route.
    for fallback in ["/api", "/api/", "/api/{*path}"] {
        paths.remove(fallback);
    }
    for (path, _) in leptos::server_fn::axum::server_fn_paths() {
        paths.insert(path.to_string());
    }
    paths
}

/// The paths of the pages: `/chat/:room?` yields `/chat` and `/chat/{room}`.
fn paths_of_pages() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for source in sources() {
        for path in texts_after(&source, "path!(\"") {
            match path.split_once("/:") {
                Some((before, parameter)) => {
                    if parameter.ends_with('?') {
                        paths.insert(before.to_owned());
                    }
                    let parameter = parameter.trim_end_matches('?');
                    paths.insert(format!("{before}/{{{parameter}}}"));
                }
                None => {
                    paths.insert(path.to_owned());
                }
            }
        }
    }
    paths
}

/// An address that matches a path. An id is a UUID; any text may stand for the other parameters.
fn address(path: &str) -> String {
    let fill = |piece: &str| match piece {
        "{id}" | "{lane}" => "00000000-0000-0000-0000-000000000007".to_owned(),
        piece if piece.starts_with('{') => "x".to_owned(),
        piece => piece.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// The lines of the enum that begins with `start`.
fn lines_of_enum<'a>(source: &'a str, start: &str) -> impl Iterator<Item = &'a str> {
    let body = source.split(start).nth(1).unwrap();
    let body = body.split("\n}").next().unwrap();
    body.lines().map(str::trim)
}

/// The close codes with their names, as in the enums.
fn close_codes() -> BTreeSet<String> {
    let code = |line: &str| {
        let (name, number) = line.trim_end_matches(',').split_once(" = ")?;
        let number: u16 = number.parse().ok()?;
        Some(format!("{number} {name}"))
    };
    let enums = CLOSE_CODES.into_iter();
    let lines = enums.flat_map(|(start, source)| lines_of_enum(source, start));
    lines.filter_map(code).collect()
}

/// The error codes of the kit, which are the variants without fields, and those of the application, which are constants.
fn error_codes() -> BTreeSet<String> {
    let code = |line: &str| {
        let name = line.strip_suffix(',')?;
        let is_name = name.chars().all(|it| it.is_ascii_alphabetic());
        is_name.then(|| snake_case(name))
    };
    let kit = lines_of_enum(ERROR_CODES, "pub enum ErrorCode {").filter_map(code);
    let mut codes: BTreeSet<String> = kit.collect();
    for code in &codes {
        let known: ErrorCode = serde_json::from_value(code.as_str().into()).unwrap();
        assert!(!matches!(known, ErrorCode::Other(_)), "{code}");
    }
    for source in sources() {
        let constants = texts_after(&source, "ErrorCode::other(\"");
        codes.extend(constants.into_iter().map(str::to_owned));
    }
    // The chat, the only socket with channels, has a code of its own instead.
    codes.remove("too_many_channels");
    codes
}

fn snake_case(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// The names of close codes with the reasons that follow them in a source.
fn close_reasons(source: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for rest in source.split("CloseCode::").skip(1) {
        let letters = rest.chars().take_while(|it| it.is_ascii_alphanumeric());
        let name: String = letters.collect();
        let after_name = rest[name.len()..].trim_start();
        let argument = after_name.strip_prefix(',').map(str::trim_start);
        if let Some(text) = argument.and_then(|argument| argument.strip_prefix('"')) {
            let reason = text.split('"').next().unwrap_or_default().to_owned();
            found.push((name, reason));
        }
    }
    found
}

#[test]
fn every_table_of_messages_and_values_is_one_that_is_read_here() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    known.extend(MESSAGES.map(|page| format!("Messages: {page}")));
    known.extend(VALUES.map(|what| format!("Values: {what}")));
    let headings = tables().into_iter().map(|(heading, _)| heading);
    let documented: BTreeSet<String> = headings
        .filter(|heading| heading.starts_with("Messages:") || heading.starts_with("Values:"))
        .collect();
    let mut wrong = vec![];
    compare("headings", &documented, &known, &mut wrong);
    assert_none(&wrong);
}

#[test]
fn every_message_is_documented_with_all_its_fields() {
    let of = Messages::of;
    let mut wrong = vec![
        of("every stream", SERVER).check_all::<StreamControl>(),
        of("every socket", CLIENT).check_all::<SocketRequest>(),
        of("every socket", SERVER).check_all::<SocketControl<CompareWelcome>>(),
        of("ticker", SERVER).check_all::<TickerEvent>(),
        of("progress", SERVER).check_all::<JobEvent>(),
        of("race", SERVER).check_all::<RaceEvent>(),
        of("chat", CLIENT).check_all::<ChatCommand>(),
        of("chat", SERVER)
            .check_welcome::<ChatWelcome>()
            .check_all::<ChatEvent>(),
        of("collab", CLIENT).check_all::<BoardCommand>(),
        of("collab", SERVER)
            .check_welcome::<BoardWelcome>()
            .check_all::<BoardEvent>(),
        of("comparison", SERVER)
            .check_all::<CompareEvent>()
            .check_all::<CompareNote>(),
    ];
    // The clients of these pages send nothing.
    for page in ["every stream", "ticker", "progress", "race", "comparison"] {
        wrong.push(of(page, CLIENT));
    }
    let wrong = wrong.into_iter().flat_map(Messages::finish);
    assert_none(&wrong.collect::<Vec<_>>());
}

#[test]
fn answers_and_results_of_jobs_have_the_documented_fields() {
    let answers: [(&str, Check); 9] = [
        ("POST /api/session/guest", example::<SignedIn> as Check),
        ("POST /api/session/ticket", example::<Value> as Check),
        ("GET /api/ticker/symbols", example::<Vec<Listing>> as Check),
        ("GET /api/jobs/{id}", example::<JobView> as Check),
        ("POST /api/jobs/start", example::<Started> as Check),
        ("GET /api/chat/rooms", example::<Vec<RoomSummary>> as Check),
        (
            "GET /api/chat/rooms/{room}/messages",
            example::<HistoryPage> as Check,
        ),
        (
            "GET /api/connections/{connection}",
            example::<HandshakeView> as Check,
        ),
        ("GET /readyz", example::<Value> as Check),
    ];
    let results: [(&str, Check); 3] = [
        ("countdown", example::<CountdownResult> as Check),
        ("checksum", example::<ChecksumResult> as Check),
        ("race", example::<RaceResult> as Check),
    ];
    let mut wrong = check_examples("Answers", &answers);
    wrong.extend(check_examples("Values: job kind", &results));
    let documented = keys("Values: job kind", &mut wrong);
    let known = variants::<JobKind>("\"?\"");
    compare("kinds of jobs", &documented, &known, &mut wrong);
    assert_none(&wrong);
}

#[test]
fn every_error_code_and_every_fault_is_documented() {
    let mut wrong = vec![];
    let documented = keys("Error codes", &mut wrong);
    compare("error codes", &documented, &error_codes(), &mut wrong);
    let documented = keys("Values: fault", &mut wrong);
    let known = variants::<Fault>("\"?\"");
    compare("faults", &documented, &known, &mut wrong);
    assert_none(&wrong);
}

#[test]
fn every_close_code_is_documented_with_its_reasons_and_what_a_client_does() {
    let sources = sources();
    let (mut wrong, mut documented) = (vec![], BTreeSet::new());
    let mut reasons_of = BTreeSet::new();
    for row in rows("Close codes") {
        let (number, name) = (literal(&row, 0), literal(&row, 1));
        documented.insert(format!("{number} {name}"));
        let mut reasons = literals(row.get(2).map(String::as_str).unwrap_or_default());
        for reason in &reasons {
            reasons_of.insert((name.clone(), reason.clone()));
            let quoted = format!("\"{reason}\"");
            if !sources.iter().any(|source| source.contains(&quoted)) {
                wrong.push(format!(
                    "close code {name}: {reason:?} is only in the document"
                ));
            }
        }
        // Clients of another protocol react in their own ways.
        if name.starts_with("Yjs") {
            continue;
        }
        if reasons.is_empty() {
            reasons.push(String::new());
        }
        let then = row.get(3).map(String::as_str).unwrap_or_default();
        let number: u16 = number.parse().unwrap_or_default();
        for reason in reasons {
            let word = match after_close(number, &reason) {
                AfterClose::Stay => "stays closed",
                AfterClose::Retry => "retries",
                AfterClose::RenewSession => "renews",
                AfterClose::Reload => "reloads",
                AfterClose::Stop(..) => "stops",
            };
            if !then.starts_with(word) {
                wrong.push(format!(
                    "close code {name}: after {reason:?} a client {word}, not {then:?}"
                ));
            }
        }
    }
    compare("close codes", &documented, &close_codes(), &mut wrong);
    for source in &sources {
        for (name, reason) in close_reasons(source) {
            if !reasons_of.contains(&(name.clone(), reason.clone())) {
                wrong.push(format!("close code {name}: {reason:?} is only in the code"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_setting_is_documented_with_its_variable_and_its_default() {
    let mut documented = BTreeSet::new();
    for row in rows("Settings") {
        let (flag, variable, default) = (literal(&row, 0), literal(&row, 1), literal(&row, 2));
        documented.insert(format!("{flag} {variable} {default}"));
    }
    let mut known = BTreeSet::new();
    let command = CommandLine::command();
    for argument in command.get_arguments() {
        if ["help", "version"].contains(&argument.get_id().as_str()) {
            continue;
        }
        let flag = argument.get_long().unwrap_or_default();
        let variable = argument.get_env().unwrap_or_default();
        let variable = variable.to_string_lossy();
        let defaults = argument.get_default_values().iter();
        let defaults: Vec<String> = defaults
            .map(|default| default.to_string_lossy().into_owned())
            .collect();
        known.insert(format!("--{flag} {variable} {}", defaults.join(",")));
    }
    let mut wrong = vec![];
    compare("settings", &documented, &known, &mut wrong);
    assert_none(&wrong);
}

#[test]
fn every_route_is_documented() {
    let mut wrong = vec![];
    let documented = keys("Routes", &mut wrong);
    let path = |route: &String| Some(route.split_once(' ')?.1.to_owned());
    let documented: BTreeSet<String> = documented.iter().filter_map(path).collect();
    let mut known = paths_of_routes();
    known.extend(paths_of_pages());
    compare("routes", &documented, &known, &mut wrong);
    assert_none(&wrong);
}

#[tokio::test]
async fn every_route_accepts_the_documented_methods_and_no_others() {
    let server = Server::with(|settings| settings.allow_faults = true).await;
    let mut wrong = vec![];
    let documented = keys("Routes", &mut wrong);
    let pages = paths_of_pages();
    let path = |route: &String| Some(route.split_once(' ')?.1.to_owned());
    let paths: BTreeSet<String> = documented.iter().filter_map(path).collect();
    for path in paths.difference(&pages) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let url = match path.as_str() {
                METRICS_ROUTE => server.metrics_listener().url(path),
                _ => server.url(&address(path)),
            };
            let method_of_request = method.parse::<reqwest::Method>().unwrap();
            let request = server.http.request(method_of_request, url);
            let status = request.send().await.unwrap().status();
            let is_taken = status != 405;
            match documented.contains(&format!("{method} {path}")) {
                true if !is_taken => wrong.push(format!("{method} {path} is only in the document")),
                false if is_taken => wrong.push(format!("{method} {path} is only in the code")),
                _ => {}
            }
        }
    }
    assert_none(&wrong);
}

#[tokio::test]
async fn every_query_parameter_is_documented() {
    let server = Server::start().await;
    // One letter is missing, so the refusal lists all known parameters.
    let answer = server.get("/api/ticker/symbols?symbol=ACME").send();
    let answer: Value = answer.await.unwrap().json().await.unwrap();
    let words = answer["error"].as_str().unwrap_or_default();
    let (_, list) = words
        .split_once("Known are ")
        .unwrap_or_else(|| panic!("this lists no parameters: {words}"));
    let known = list.trim_end_matches('.').split(", ");
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    let mut wrong = vec![];
    let documented = keys("Query parameters", &mut wrong);
    compare("query parameters", &documented, &known, &mut wrong);
    assert_none(&wrong);
}
