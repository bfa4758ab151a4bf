//! Tests that a start that cannot succeed ends at once, with one sentence and a code that is not zero.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{process::binary, tls::write_pair};

/// A folder with a valid site root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site/pkg")).unwrap();
    folder
}

fn start(folder: &Path, flags: &[&str]) -> Output {
    let defaults = [
        "--addr",
        "127.0.0.1:0",
        "--site-root",
        "site",
        "--data-dir",
        "data",
    ];
    // A flag given twice is refused, so a test's own replace those of the same name.
    let kept = defaults
        .chunks(2)
        .filter(|pair| !flags.contains(&pair[0]))
        .flatten();
    Command::new(env!("CARGO_BIN_EXE_wirewise"))
        .args(kept)
        .args(flags)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The one line with which the start ended.
fn refusal(folder: &Path, flags: &[&str]) -> String {
    let output = start(folder, flags);
    assert_eq!(
        output.status.code(),
        Some(1),
        "it must not start with {flags:?}"
    );
    assert!(output.stdout.is_empty());
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(words.lines().count(), 1, "{words}");
    words
}

#[test]
fn a_taken_port_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let words = refusal(folder().path(), &["--addr", &addr]);
    assert!(words.contains(&addr) && words.contains("--addr"), "{words}");
}

#[test]
fn a_secret_that_is_too_short_is_refused_and_not_shown() {
    let words = refusal(folder().path(), &["--secret", "correct horse"]);
    assert!(words.contains("at least 32"), "{words}");
    assert!(
        words.contains("--secret") && !words.contains("horse"),
        "{words}"
    );
}

#[test]
fn a_taken_port_for_metrics_is_reported_where_a_setting_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let words = refusal(folder().path(), &["--metrics-addr", &addr]);
    assert!(
        words.contains(&addr) && words.contains("--metrics-addr"),
        "{words}"
    );
}

#[test]
fn a_taken_default_port_for_metrics_is_logged_and_the_server_starts_without_metrics() {
    // Where this fails, another process has the port, which is as good.
    let _taken = TcpListener::bind("127.0.0.1:9464");
    let folder = folder();
    let mut command = Command::new(binary());
    command.args(["--addr", "127.0.0.1:0", "--site-root", "site"]);
    command.args(["--data-dir", "data", "--log", "warn"]);
    command.env_remove("WIREWISE_METRICS_ADDR");
    command.current_dir(folder.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("Wirewise listens on "), "{line:?}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut more = String::new();
    stdout.read_to_string(&mut more).unwrap();
    assert_eq!(more, "");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("127.0.0.1:9464") && log.contains("--metrics-addr"),
        "{log}"
    );
}

#[test]
fn a_host_is_looked_up_whether_a_flag_or_the_environment_names_it() {
    let folder = folder();
    for change in [
        (&["--addr", "localhost:0"][..], None),
        (&[], Some("localhost:0")),
    ] {
        let mut command = Command::new(binary());
        command.args(["--site-root", "site", "--data-dir", "data"]);
        command.args(["--metrics-addr", "none"]);
        command.args(change.0).current_dir(folder.path());
        command.envs(change.1.map(|addr| ("LEPTOS_SITE_ADDR", addr)));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains("http://127.0.0.1:"), "{line:?}");
    }
    let mut command = Command::new(binary());
    command.env("LEPTOS_SITE_ADDR", "localhost");
    let output = command.current_dir(folder.path()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words.contains("--addr") && words.contains("localhost:3000"),
        "{words}"
    );
}

#[test]
fn a_missing_site_root_is_reported() {
    let words = refusal(folder().path(), &["--site-root", "nowhere"]);
    assert!(
        words.contains("nowhere") && words.contains("--site-root"),
        "{words}"
    );
}

#[test]
fn a_data_folder_that_cannot_be_created_or_written_is_reported() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    for data_dir in ["file", "file/below"] {
        let words = refusal(folder.path(), &["--data-dir", data_dir]);
        assert!(
            words.contains(data_dir) && words.contains("--data-dir"),
            "{words}"
        );
    }
    // Not by permissions, which the superuser ignores: the file that must be written is a folder.
    std::fs::create_dir_all(folder.path().join("data/secret")).unwrap();
    let words = refusal(folder.path(), &[]);
    assert!(
        words.contains("data") && words.contains("--data-dir"),
        "{words}"
    );
}

#[test]
fn a_bad_setting_is_reported() {
    for (flags, needles) in [
        (["--tick-ms", "0"], ["--tick-ms", "1..=86400000"]),
        (["--log-format", "xml"], ["--log-format", "text, json"]),
        (["--feed", "magic"], ["--feed", "simulated"]),
        (["--feed", "replay:nowhere.csv"], ["nowhere.csv", "--feed"]),
        (["--speed", "0"], ["--speed", "from 0.001"]),
        (["--products", "BTC"], ["--products", "BTC-USD"]),
    ] {
        let words = refusal(folder().path(), &flags);
        assert!(
            needles.iter().all(|needle| words.contains(needle)),
            "{words}"
        );
    }
}

#[test]
fn a_replay_file_is_found_from_the_working_directory_and_one_without_a_good_row_is_refused() {
    let folder = folder();
    std::fs::write(
        folder.path().join("bad.csv"),
        "timestamp,symbol,price\nsoon,ACME,1\n",
    )
    .unwrap();
    let words = refusal(folder.path(), &["--feed", "replay:bad.csv"]);
    assert!(
        words.contains("bad.csv") && words.contains("no good row") && words.contains("line 2"),
        "{words}"
    );
}

#[test]
fn a_certificate_that_cannot_be_used_is_reported() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    write_pair(folder.path());
    let other = tempfile::tempdir().unwrap();
    write_pair(other.path());
    std::fs::copy(other.path().join("key.pem"), file("other.pem")).unwrap();
    std::fs::write(file("empty.pem"), "").unwrap();
    std::fs::write(
        file("broken.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for (certificate, key, needle) in [
        ("nowhere.pem", "key.pem", "nowhere.pem cannot be read"),
        ("cert.pem", "nowhere.pem", "nowhere.pem cannot be read"),
        ("empty.pem", "key.pem", "empty.pem holds no certificate"),
        ("cert.pem", "empty.pem", "empty.pem holds no private key"),
        ("cert.pem", "cert.pem", "cert.pem holds no private key"),
        ("key.pem", "key.pem", "key.pem holds no certificate"),
        ("cert.pem", "other.pem", "other.pem does not belong"),
        ("broken.pem", "key.pem", "broken.pem and the private key"),
    ] {
        let flags = ["--tls-cert", certificate, "--tls-key", key];
        let words = refusal(folder.path(), &flags);
        assert!(words.contains(needle), "{words}");
        assert!(
            words.contains("--tls-cert") && words.contains("--tls-key"),
            "{words}"
        );
    }
}

#[test]
fn a_certificate_without_a_key_and_a_key_without_a_certificate_are_reported() {
    let folder = folder();
    write_pair(folder.path());
    for (given, file, missing) in [
        ("--tls-cert", "cert.pem", "--tls-key"),
        ("--tls-key", "key.pem", "--tls-cert"),
    ] {
        let words = refusal(folder.path(), &[given, file]);
        assert!(
            words.contains(&format!("{given} needs {missing}")),
            "{words}"
        );
    }
}
