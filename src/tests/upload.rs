//! Tests files that are hashed while they arrive.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use futures::stream;
use rand::{Rng, RngCore, SeedableRng};
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use uuid::Uuid;

use crate::support::{Guest, PATIENCE, Server, started};

const BOUNDARY: &str = "boundary-of-the-test";

fn head(name: &str) -> Vec<u8> {
    format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    )
    .into_bytes()
}

fn tail() -> Vec<u8> {
    format!("\r\n--{BOUNDARY}--\r\n").into_bytes()
}

fn request(server: &Server, guest: &Guest, query: &str) -> RequestBuilder {
    server
        .http
        .post(server.url(&format!("/api/jobs/upload{query}")))
        .header("authorization", guest.bearer())
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
}

/// An upload whose file is sent piece by piece.
pub struct Sending {
    pub id: Uuid,
    pieces: mpsc::Sender<Result<Vec<u8>, std::io::Error>>,
    answer: JoinHandle<reqwest::Result<Response>>,
}

impl Sending {
    /// Sends the head of the file `name` and waits until the server knows the job.
    pub async fn begin(server: &Server, guest: &Guest, query: &str, name: &str) -> Self {
        let id = Uuid::new_v4();
        let (pieces, receiver) = mpsc::channel(1);
        let body = Body::wrap_stream(stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|piece| (piece, receiver))
        }));
        let query = format!("?id={id}{query}");
        let answer = tokio::spawn(request(server, guest, &query).body(body).send());
        pieces.send(Ok(head(name))).await.unwrap();
        let this = Self { id, pieces, answer };
        // A head is complete once something follows it.
        this.send(b"a".to_vec()).await;
        while view(server, guest, id).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        this
    }

    pub async fn send(&self, piece: Vec<u8>) {
        self.pieces.send(Ok(piece)).await.unwrap();
    }

    pub async fn finish(self) -> Response {
        self.send(tail()).await;
        drop(self.pieces);
        self.answer.await.unwrap().unwrap()
    }
}

/// The job as the server reports it now.
async fn view(server: &Server, guest: &Guest, id: Uuid) -> Option<Value> {
    let request = server.get(&format!("/api/jobs/{id}"));
    let response = request
        .header("authorization", guest.bearer())
        .send()
        .await
        .unwrap();
    match response.status().as_u16() {
        200 => Some(response.json().await.unwrap()),
        _ => None,
    }
}

pub async fn upload(server: &Server, guest: &Guest, query: &str, file: &[u8]) -> Response {
    let body = [head("file.bin"), file.to_vec(), tail()].concat();
    request(server, guest, query)
        .body(body)
        .send()
        .await
        .unwrap()
}

/// The result in the `done` event of a job.
async fn result(server: &Server, guest: &Guest, id: &str) -> Value {
    let end = end(server, guest, id).await;
    assert_eq!(end["type"], "done", "{end}");
    end["result"].clone()
}

async fn end(server: &Server, guest: &Guest, id: &str) -> Value {
    let path = format!("/api/jobs/{id}/events");
    let events = server
        .stream(&path, &[("authorization", &guest.bearer())])
        .await;
    events.rest().await.last().unwrap().data.clone()
}

/// The digest that coreutils compute of the same bytes.
fn sha256sum(file: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(file).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_file_is_hashed_counted_and_compressed() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut random = rand::rngs::StdRng::seed_from_u64(1);
    let mut file = vec![0; 3_000_000];
    random.fill_bytes(&mut file);
    let id = started(upload(&server, &guest, "", &file).await).await;
    let result = result(&server, &guest, &id).await;
    assert_eq!(result["sha256"], sha256sum(&file));
    assert_eq!(result["blake3"], blake3::hash(&file).to_hex().as_str());
    assert_eq!(
        (&result["bytes"], &result["name"]),
        (&3_000_000.into(), &"file.bin".into())
    );
    let lines = file.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(result["lines"], lines);
    // Random bytes cannot be compressed.
    assert!(result["gzip_bytes"].as_u64().unwrap() > 3_000_000);
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let id = started(upload(&server, &guest, "?size=0", b"").await).await;
    let result = result(&server, &guest, &id).await;
    assert_eq!((&result["bytes"], &result["lines"]), (&0.into(), &0.into()));
    assert_eq!(result["sha256"], sha256sum(b""));
}

#[tokio::test]
async fn a_job_keeps_the_spelling_of_its_clients_id_and_is_found_under_any() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let usual = Uuid::new_v4().to_string();
    let spelled = usual.to_uppercase();
    let answer = upload(&server, &guest, &format!("?id={spelled}"), b"whole").await;
    assert_eq!(started(answer).await, spelled);
    for spelling in [usual.clone(), spelled.clone(), usual.replace('-', "")] {
        assert_eq!(result(&server, &guest, &spelling).await["bytes"], 5);
        let path = format!("/api/jobs/{spelling}");
        let view = server.json(&path, Some(&guest)).await;
        assert_eq!(view["id"], spelled.as_str());
        let again = upload(&server, &guest, &format!("?id={spelling}"), b"x").await;
        assert_eq!(again.status().as_u16(), 409);
    }
    let jobs = server.json("/api/jobs", Some(&guest)).await;
    assert_eq!(jobs[0]["id"], spelled.as_str());
}

#[tokio::test]
async fn a_job_is_watched_under_the_clients_id_while_its_file_arrives() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let sending = Sending::begin(&server, &guest, "&size=40000", "slow.txt").await;
    sending.send(vec![b'a'; 19_999]).await;
    let id = sending.id.to_string();
    let path = format!("/api/jobs/{id}/events");
    let mut events = server
        .stream(&path, &[("authorization", &guest.bearer())])
        .await;
    loop {
        let event = events.next().await.unwrap();
        if event.data["done"] == 20_000 {
            assert_eq!(
                (&event.data["total"], &event.data["unit"]),
                (&40_000.into(), &"bytes".into())
            );
            break;
        }
    }
    // The same id, while it is in use.
    assert_eq!(
        upload(&server, &guest, &format!("?id={id}"), b"x")
            .await
            .status(),
        409
    );
    sending.send(vec![b'b'; 20_000]).await;
    assert_eq!(started(sending.finish().await).await, id);
    assert_eq!(result(&server, &guest, &id).await["bytes"], 40_000);
}

#[tokio::test]
async fn an_interrupted_upload_fails_its_job_and_leaves_nothing_behind() {
    let server = Server::with(|settings| settings.progress.max_jobs = 1).await;
    let guest = server.guest().await;
    let mut random = rand::rngs::StdRng::seed_from_u64(2);
    for _ in 0..5 {
        let sending = Sending::begin(&server, &guest, "", "half.txt").await;
        sending
            .send(vec![b'a'; random.random_range(0..100_000)])
            .await;
        // The client disconnects.
        sending.answer.abort();
        let end = end(&server, &guest, &sending.id.to_string()).await;
        assert_eq!(end["type"], "failed");
        assert!(
            end["error"].as_str().unwrap().contains("broke off"),
            "{end}"
        );
    }
    // Its only permit is free again, and the data folder contains no file of it.
    let id = started(upload(&server, &guest, "", b"whole").await).await;
    assert_eq!(result(&server, &guest, &id).await["bytes"], 5);
    let kept = std::fs::read_dir(server.folder.path().join("data")).unwrap();
    for file in kept {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(64).any(|window| window == [b'a'; 64]));
    }
}

#[tokio::test]
async fn cancelling_ends_the_upload_too() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let sending = Sending::begin(&server, &guest, "", "endless").await;
    let id = sending.id.to_string();
    let cancelled = server
        .post("/api/jobs/cancel", &[("id", &id)])
        .header("authorization", guest.bearer())
        .send()
        .await
        .unwrap();
    assert_eq!(cancelled.status(), 200);
    assert_eq!(end(&server, &guest, &id).await["type"], "cancelled");
    // The upload ends although its file goes on: with an error answer, or with a connection that the server closed.
    let answer = timeout(PATIENCE, sending.answer)
        .await
        .expect("it ends")
        .unwrap();
    assert!(answer.is_err() || answer.unwrap().status() == 409);
}

#[tokio::test]
async fn a_form_without_a_file_is_refused_with_a_sentence() {
    let server = Server::with(|settings| settings.progress.max_upload = 1_000).await;
    let guest = server.guest().await;
    let refused = async |request: RequestBuilder| {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    let url = server.url("/api/jobs/upload");
    let post = || {
        server
            .http
            .post(&url)
            .header("authorization", guest.bearer())
    };
    let (status, answer) = refused(
        post()
            .header("content-type", "multipart/form-data")
            .body("x"),
    )
    .await;
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("boundary"),
        "{answer}"
    );
    assert_eq!(refused(post().body("no form")).await.0, 400);
    let empty = format!("--{BOUNDARY}--\r\n");
    let (status, answer) = refused(request(&server, &guest, "").body(empty)).await;
    assert_eq!((status, &answer["field"]), (422, &"file".into()));
    let (status, answer) = refused(request(&server, &guest, "?id=7").body("")).await;
    assert_eq!((status, &answer["field"]), (422, &"id".into()));
    let (status, answer) = refused(request(&server, &guest, "?size=1001").body("")).await;
    assert_eq!(status, 413);
    assert!(
        answer["error"].as_str().unwrap().contains("1000 B"),
        "{answer}"
    );

    // A file without a declared size is stopped when it is too long, and its job reports that.
    let id = Uuid::new_v4();
    let response = upload(&server, &guest, &format!("?id={id}"), &[0; 1_001]).await;
    assert_eq!(response.status(), 413);
    let end = end(&server, &guest, &id.to_string()).await;
    assert_eq!(end["type"], "failed");
    assert!(end["error"].as_str().unwrap().contains("1000 B"), "{end}");

    let anonymous = server.http.post(&url).header(
        "content-type",
        format!("multipart/form-data; boundary={BOUNDARY}"),
    );
    assert_eq!(refused(anonymous.body("x")).await.0, 401);
}

#[tokio::test]
async fn a_browser_without_javascript_is_redirected_to_its_job_or_back() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let post = async |body: Vec<u8>| {
        let response = request(&server, &guest, "")
            .header("accept", "text/html")
            .header("referer", server.url("/progress"))
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(response.status().is_redirection());
        response.headers()["location"].to_str().unwrap().to_owned()
    };
    let job = post([head("a.txt"), b"abc".to_vec(), tail()].concat()).await;
    assert!(job.starts_with("/progress/"), "{job}");
    let id = job.trim_start_matches("/progress/");
    assert_eq!(result(&server, &guest, id).await["bytes"], 3);
    let back = post(format!("--{BOUNDARY}--\r\n").into_bytes()).await;
    let page = server
        .get(&back)
        .header("cookie", guest.cookie())
        .send()
        .await
        .unwrap();
    assert!(
        page.text().await.unwrap().contains("Choose a file"),
        "{back}"
    );
}
