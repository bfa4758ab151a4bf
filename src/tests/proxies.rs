//! Tests a server behind a proxy: what it takes from the headers of the proxy, and what it logs if the proxy is not
//! trusted.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::{
    process::binary,
    support::{Remote, Server},
};

#[tokio::test]
async fn the_cookie_is_secure_where_the_browser_speaks_https() {
    let server = Server::with(|settings| settings.trust_proxy = true).await;
    for (scheme, secure) in [
        ("https", true),
        ("HTTPS", true),
        // The browser's side comes first, that of our own proxy last.
        ("https, http", true),
        ("https,http", true),
        ("http, https", false),
        ("http", false),
        ("", false),
    ] {
        for path in ["/api/session/guest", "/api/theme"] {
            let request = server.post(path, &[("theme", "dark")]);
            let request = request.header("x-forwarded-proto", scheme);
            let answer = request.send().await.unwrap();
            let cookie = answer.headers()["set-cookie"].to_str().unwrap();
            assert_eq!(cookie.contains("Secure"), secure, "{scheme:?}: {cookie}");
        }
    }
}

/// Starts a server with these flags, sends it a request with these headers twice, and returns its log.
async fn logged(flags: &[&str], headers: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site/pkg")).unwrap();
    let mut child = Command::new(binary())
        .args(["--addr", "127.0.0.1:0", "--site-root", "site"])
        .args(["--data-dir", "data", "--log", "warn"])
        .args(["--metrics-addr", "none"])
        .args(flags)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let addr = line.trim().rsplit('/').next().unwrap().parse().unwrap();
    let server = Remote::new(addr);
    for _ in 0..2 {
        let mut request = server.get("/api/ticker/symbols");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut log = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    child.wait().unwrap();
    log
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_logged_once() {
    for header in [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=192.0.2.1;proto=https"),
    ] {
        let log = logged(&[], &[header]).await;
        let lines: Vec<_> = log
            .lines()
            .filter(|it| it.contains("--trust-proxy"))
            .collect();
        assert_eq!(lines.len(), 1, "{header:?}: {log}");
        assert!(lines[0].contains("WARN"), "{log}");
    }
    assert_eq!(logged(&[], &[]).await, "");
    let trusted = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(logged(&["--trust-proxy"], &trusted).await, "");
    // A trusted proxy that sends the client address in a header that is not read.
    let log = logged(&["--trust-proxy"], &[("forwarded", "for=192.0.2.1")]).await;
    assert_eq!(log.matches("X-Forwarded-For").count(), 1, "{log}");
}
