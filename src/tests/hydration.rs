//! Tests pages as a browser parses them: whatever texts are stored, hydration finds every node that it expects.
//!
//! Each page is rendered twice, with a hostile text and with a plain one that has the same structure, and both are
//! parsed by an HTML parser that follows the standard. Hydration walks over nodes, so both must have the same nodes in
//! the same places.

use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use leptos::server_fn::error::ServerFnUrlError;
use realtime::{
    position::{Epoch, Position},
    server::channel::Log,
};
use scraper::{Html, Node, Selector};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use uuid::Uuid;
use wirewise::{
    chat::{message::Posted, server::log::RoomLog},
    collab::protocol::Message,
    progress::{
        message::{JobKind, JobStatus, Progress},
        server::{
            job::{End, JobRecord, Outcome},
            store::JobStore,
        },
    },
    session::{SIGN_IN_ROUTE, User, server::token::Session},
    ticker::{
        message::{Listing, Quote},
        server::{
            Ticker,
            feeds::{Feed, News, quote},
        },
    },
    web::error::ApiError,
};
use yrs::{Doc, ReadTxn, StateVector, Text, Transact};

use crate::support::{PATIENCE, Server};

/// A hostile text, a plain one that gives the same nodes, and what the page shows of the hostile one.
const TEXTS: [(&str, &str, &str); 7] = [
    ("\0", "x", "\u{fffd}"),
    ("\0a\0\0", "xaxx", "\u{fffd}a\u{fffd}\u{fffd}"),
    ("\r", "\n", "\n"),
    ("\na\r\nb\rc", "xaxbxc", "\na\nb\nc"),
    (
        "\u{fffe}\u{ffff}\u{1fffe}",
        "xxx",
        "\u{fffe}\u{ffff}\u{1fffe}",
    ),
    ("\u{1}\u{1b}\u{7f}\u{85}", "xxxx", "\u{1}\u{1b}\u{7f}\u{85}"),
    // Links get nodes of their own, and so does the text around them.
    (
        "\0http://a.example\0 http://b.example\0",
        ".http://a.example. http://b.example.",
        "\u{fffd}http://a.example\u{fffd} http://b.example\u{fffd}",
    ),
];

/// An empty text has no node of its own, or one with a space: Leptos writes the space where hydration has to find an
/// empty text.
const EMPTY: (&str, &str, &str) = ("", "x", "");

/// The page under a path, as it is sent to this user.
async fn page(server: &Server, path: &str, session: &Session) -> String {
    let token = server.state.sessions.token(session);
    let request = server
        .get(path)
        .header("cookie", format!("wirewise_session={token}"));
    request.send().await.unwrap().text().await.unwrap()
}

fn guest(server: &Server, name: &str) -> Session {
    let session = server.state.sessions.guest();
    let user = User::new(session.user.id, name.into());
    Session { user, ..session }
}

/// Every node of a page with its depth, in document order. The content of scripts and comments is left out.
fn nodes(html: &str) -> Vec<String> {
    let document = Html::parse_document(html);
    let nodes = document.tree.root().descendants().map(|node| {
        let kind = match node.value() {
            Node::Element(element) => element.name(),
            Node::Text(_) => "a text",
            Node::Comment(_) => "a comment",
            _ => "another node",
        };
        format!("{} {kind}", node.ancestors().count())
    });
    nodes.collect()
}

/// The text of every element that a selector finds.
fn shown(html: &str, selector: &str) -> Vec<String> {
    let document = Html::parse_document(html);
    let selector = Selector::parse(selector).unwrap();
    let found = document.select(&selector);
    found.map(|element| element.text().collect()).collect()
}

#[track_caller]
fn assert_shown(html: &str, selector: &str, expected: &[&str]) {
    let mut shown = shown(html, selector);
    if expected.iter().all(|text| text.is_empty()) {
        shown.iter_mut().for_each(|text| *text = text.trim().into());
    }
    assert_eq!(shown, expected);
}

#[track_caller]
fn assert_same_nodes(hostile: &str, plain: &str, text: &str) {
    let (hostile_nodes, plain_nodes) = (nodes(hostile), nodes(plain));
    assert!(plain_nodes.len() > 50, "a whole page");
    if text.is_empty() {
        let others = |nodes: Vec<String>| -> Vec<String> {
            let is_other = |node: &String| !node.ends_with(" a text");
            nodes.into_iter().filter(is_other).collect()
        };
        return assert_eq!(others(hostile_nodes), others(plain_nodes));
    }
    let differs = std::iter::zip(&hostile_nodes, &plain_nodes).position(|(one, two)| one != two);
    assert_eq!(differs, None, "{text:?}");
    assert_eq!(hostile_nodes.len(), plain_nodes.len(), "{text:?}");
}

#[tokio::test]
async fn messages_and_their_authors_have_a_node_each_whatever_is_stored() {
    let server = Server::start().await;
    let reader = guest(&server, "Reader");
    for (number, (hostile, plain, expected)) in TEXTS.into_iter().chain([EMPTY]).enumerate() {
        let mut pages = vec![];
        for (kind, text) in [("hostile", hostile), ("plain", plain)] {
            let room = format!("{kind}-{number}");
            // Stored past all checks, as an older server did. The second message stands below the name over the first.
            let log = RoomLog::new(server.state.bus.clone(), &room);
            let author = User::new(Uuid::new_v4(), text.into());
            for _ in 0..2 {
                let posted = Posted {
                    from: author.clone(),
                    text: text.into(),
                };
                log.append(Uuid::new_v4().into(), posted).await.unwrap();
            }
            pages.push(page(&server, &format!("/chat/{room}"), &reader).await);
        }
        assert_same_nodes(&pages[0], &pages[1], hostile);
        assert_shown(&pages[0], "[data-test=message-text]", &[expected; 2]);
        assert_shown(&pages[0], ".message-head strong", &[expected]);
    }
}

#[tokio::test]
async fn a_user_of_any_name_gets_the_same_nodes() {
    let server = Server::start().await;
    for path in ["/", "/chat", "/collab"] {
        for (hostile, plain, _) in TEXTS {
            let one = page(&server, path, &guest(&server, hostile)).await;
            let two = page(&server, path, &guest(&server, plain)).await;
            assert_same_nodes(&one, &two, hostile);
        }
    }
}

/// A record of a job that has ended.
fn ended(owner: Uuid, kind: JobKind, unit: &str, outcome: Outcome) -> JobRecord {
    JobRecord {
        id: Uuid::new_v4().into(),
        kind,
        owner,
        started_at: 1_700_000_000_000,
        progress: Progress {
            status: JobStatus::Running,
            done: 3,
            total: Some(3),
            unit: unit.into(),
            eta_ms: None,
            note: unit.into(),
        },
        end: Some(End {
            // Yesterday's jobs are dropped.
            at: realtime::server::now_ms(),
            outcome,
            position: Position::new(Epoch::random(), 4),
        }),
        node: None,
    }
}

#[tokio::test]
async fn file_names_errors_and_units_of_jobs_have_a_node_each_whatever_is_stored() {
    let server = Server::start().await;
    let store = JobStore::new(server.state.bus.clone());
    for (hostile, plain, expected) in TEXTS.into_iter().chain([EMPTY]) {
        let mut pages: Vec<Vec<String>> = vec![];
        for text in [hostile, plain] {
            let owner = guest(&server, "Owner");
            let result = json!({
                "name": text, "bytes": 1, "lines": 1, "sha256": text, "blake3": text, "gzip_bytes": 1, "elapsed_ms": 1,
            });
            let records = [
                ended(
                    owner.user.id,
                    JobKind::Checksum,
                    text,
                    Outcome::Done(result),
                ),
                ended(
                    owner.user.id,
                    JobKind::Countdown,
                    text,
                    Outcome::Failed(text.into()),
                ),
                ended(owner.user.id, JobKind::Countdown, text, Outcome::Cancelled),
            ];
            let mut paths = vec!["/progress".to_owned()];
            for record in records {
                paths.push(format!("/progress/{}", record.id));
                store.keep(record).await.unwrap();
            }
            server.state.features.progress.jobs.restore().await;
            let mut of_text = vec![];
            for path in paths {
                of_text.push(page(&server, &path, &owner).await);
            }
            pages.push(of_text);
        }
        for (one, two) in std::iter::zip(&pages[0], &pages[1]) {
            assert_same_nodes(one, two, hostile);
        }
        assert_shown(&pages[0][1], "[data-test=sha256]", &[expected]);
        assert_shown(&pages[0][2], "[data-test=job-outcome]", &[expected]);
    }
}

/// A feed whose symbols and names are these texts.
struct Planted(Vec<String>);

impl Feed for Planted {
    fn listings(&self) -> Vec<Listing> {
        let listing = |text: &String| Listing {
            symbol: text.clone(),
            name: text.clone(),
            decimals: 2,
        };
        self.0.iter().map(listing).collect()
    }

    fn opening(&mut self) -> Vec<Quote> {
        let quotes = self
            .0
            .iter()
            .map(|symbol| quote(symbol, 2.0, 1.0, 1.0, 1_000));
        quotes.collect()
    }

    fn next(&mut self) -> BoxFuture<'_, News> {
        std::future::pending().boxed()
    }
}

#[tokio::test]
async fn symbols_and_names_of_a_feed_have_a_node_each_whatever_they_are() {
    for (hostile, plain, expected) in TEXTS.into_iter().chain([EMPTY]) {
        let mut pages = vec![];
        for text in [hostile, plain] {
            let feed = Planted(vec![text.to_owned()]);
            let server = Server::prepared(
                tempfile::tempdir().unwrap(),
                |_| {},
                |state| state.features.ticker = Ticker::new(Box::new(feed), 10, &state.bus),
            )
            .await;
            // The address also names a symbol that is not listed.
            pages.push(
                page(
                    &server,
                    "/ticker?symbols=%00NOPE",
                    &guest(&server, "Reader"),
                )
                .await,
            );
        }
        assert_same_nodes(&pages[0], &pages[1], hostile);
        assert_shown(&pages[0], ".chart-symbol", &[expected]);
        assert_shown(&pages[0], "[data-test=picker-option] strong", &[expected]);
    }
}

#[tokio::test]
async fn an_error_in_an_address_has_a_node_whatever_its_text_is() {
    let server = Server::start().await;
    let reader = guest(&server, "Reader");
    for (hostile, plain, expected) in TEXTS.into_iter().chain([EMPTY]) {
        let link = |text: &str| {
            let error = ApiError::field("name", text);
            let link = ServerFnUrlError::new(SIGN_IN_ROUTE, error)
                .to_url("http://form/chat")
                .unwrap();
            link.as_str().trim_start_matches("http://form").to_owned()
        };
        let one = page(&server, &link(hostile), &reader).await;
        let two = page(&server, &link(plain), &reader).await;
        assert_same_nodes(&one, &two, hostile);
        assert_shown(&one, "[data-test=name-refusal]", &[expected]);
    }
}

#[tokio::test]
async fn a_text_area_holds_what_the_page_expects_of_a_document_of_any_characters() {
    let server = Server::start().await;
    for (number, (written, _, expected)) in TEXTS.into_iter().enumerate() {
        let path = format!("/api/collab/text-{number}");
        let mut socket = server.socket(&path, &[]).await;
        let doc = Doc::new();
        let text = doc.get_or_insert_text("content");
        text.insert(&mut doc.transact_mut(), 0, written);
        let update = doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default());
        // Updates are applied in order: a request sent after this update is answered after it.
        let nothing = [0];
        for message in [Message::Update(&update), Message::SyncStep1(&nothing)] {
            socket
                .0
                .send(Frame::Binary(message.encode().into()))
                .await
                .unwrap();
        }
        timeout(PATIENCE, async {
            const STEP_2: [u8; 2] = [0, 1];
            while !matches!(socket.0.next().await.unwrap().unwrap(), Frame::Binary(frame) if frame.starts_with(&STEP_2)) {}
        })
        .await
        .unwrap();
        let html = page(
            &server,
            &format!("/collab/text-{number}"),
            &guest(&server, "Reader"),
        )
        .await;
        // Within a text area a line feed is text like any other, except for the first.
        assert_eq!(
            shown(&html, "textarea[data-test=text]"),
            [expected],
            "{written:?}"
        );
    }
}

#[tokio::test]
async fn a_message_with_a_nul_is_refused_in_words_and_line_ends_become_line_feeds() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    socket.send(&json!({"type": "join", "room": "lobby"})).await;
    socket.next_of("joined").await;
    for text in ["\0", "\0http://a.example\0", "a\0b"] {
        let send = json!({"type": "send", "id": Uuid::new_v4(), "room": "lobby", "text": text});
        socket.send(&send).await;
        let error = socket.next_of("error").await;
        assert_eq!(
            (&error["code"], &error["re"]),
            (&"invalid_field".into(), &send["id"])
        );
        assert!(
            error["message"].as_str().unwrap().contains("NUL"),
            "{error}"
        );
    }
    // Half of a surrogate pair is not a character, and JSON that names one is invalid.
    let id = Uuid::new_v4();
    let lone = format!(r#"{{"type":"send","id":"{id}","room":"lobby","text":"\ud800"}}"#);
    socket.send_text(lone).await;
    assert_eq!(socket.next_of("error").await["code"], "malformed");
    let send =
        json!({"type": "send", "id": id, "room": "lobby", "text": "a\r\nb\rc\n\u{1b}\u{fffe}"});
    socket.send(&send).await;
    let message: Value = socket.next_of("message").await;
    assert_eq!(message["text"], "a\nb\nc\n\u{1b}\u{fffe}");
}
