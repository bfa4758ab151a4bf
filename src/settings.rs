//! Defines every setting with its flag, environment variable and default. A bad value ends the start with one sentence.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{Args, CommandFactory, Error, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use realtime::server::{RealtimeOptions, Timing};

use crate::{
    guard::limits::LimitSettings,
    web::server::units::{age, milliseconds},
};

/// Server-Sent Events and WebSocket side by side, each where it is right.
#[derive(Clone, Debug, Parser)]
// Of a setting given twice the last one counts: a server that starts again appends its address.
#[command(name = "wirewise", version, about, args_override_self = true)]
pub struct CommandLine {
    /// Without a command the server starts.
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub settings: Settings,
}

impl CommandLine {
    /// Parses the arguments and the environment of this process.
    pub fn read() -> Result<Self, Error> {
        let matches = Self::command().try_get_matches()?;
        let mut line = Self::from_arg_matches(&matches)?;
        line.settings.metrics_addr_given =
            matches.value_source("metrics_addr") != Some(ValueSource::DefaultValue);
        Ok(line)
    }
}

/// What the binary does besides serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Copies the database into a new file; a server may be running meanwhile.
    Backup { file: PathBuf },
    /// Replaces the database with a backup; no server may be using the data folder.
    Restore { file: PathBuf },
    /// Asks the server at `--addr` whether it is ready; the exit code is 1 where it is not.
    Health,
}

/// The settings of a server.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Where to listen. If a host has several addresses, the first IPv4 address is used, else the first.
    #[arg(long, env = "LEPTOS_SITE_ADDR", default_value = "127.0.0.1:3000", value_name = "HOST:PORT", value_parser = address, global = true)]
    pub addr: SocketAddr,

    /// The folder that `cargo leptos build` filled for the browser.
    #[arg(
        long,
        env = "LEPTOS_SITE_ROOT",
        default_value = "target/site",
        value_name = "FOLDER"
    )]
    pub site_root: PathBuf,

    /// Where the server keeps its database and its secret.
    #[arg(
        long,
        env = "WIREWISE_DATA_DIR",
        default_value = "data",
        value_name = "FOLDER",
        global = true
    )]
    pub data_dir: PathBuf,

    #[command(flatten)]
    pub bus: BusSettings,

    #[command(flatten)]
    pub ticker: crate::ticker::server::settings::TickerSettings,

    /// Time between two heartbeats of an event stream, in milliseconds.
    #[arg(long, env = "WIREWISE_HEARTBEAT_MS", default_value_t = 15_000, value_name = "MS", value_parser = milliseconds(100))]
    pub heartbeat_ms: u64,

    /// Time between two pings that a client of a socket is asked to send, in milliseconds.
    #[arg(long, env = "WIREWISE_CLIENT_PING_MS", default_value_t = 30_000, value_name = "MS", value_parser = milliseconds(100))]
    pub client_ping_ms: u64,

    /// Time between two Ping control frames of the server, in milliseconds.
    #[arg(long, env = "WIREWISE_PING_MS", default_value_t = 25_000, value_name = "MS", value_parser = milliseconds(100))]
    pub ping_ms: u64,

    /// A socket that was silent for this long is closed, in milliseconds.
    #[arg(long, env = "WIREWISE_IDLE_MS", default_value_t = 60_000, value_name = "MS", value_parser = milliseconds(100))]
    pub idle_ms: u64,

    /// Events that a ring in memory keeps for clients that reconnect.
    #[arg(long, env = "WIREWISE_HISTORY", default_value_t = 10_000, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub history: u32,

    #[command(flatten)]
    pub chat: crate::chat::server::settings::ChatSettings,

    /// How long a shutdown may wait for open connections, in milliseconds.
    #[arg(long, env = "WIREWISE_DRAIN_MS", default_value_t = 5_000, value_name = "MS", value_parser = milliseconds(0))]
    pub drain_ms: u64,

    #[command(flatten)]
    pub progress: crate::progress::server::settings::ProgressSettings,

    /// Origins of other sites that may call the API with credentials, as in `https://app.example.com`.
    #[arg(long = "allowed-origin", env = "WIREWISE_ALLOWED_ORIGINS", value_delimiter = ',', value_name = "ORIGIN", value_parser = origin)]
    pub allowed_origins: Vec<String>,

    /// Connections that may be open in total.
    #[arg(long, env = "WIREWISE_MAX_CONNECTIONS", default_value_t = 15_000, value_name = "CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    #[command(flatten)]
    pub limits: LimitSettings,

    /// Take a client's address, scheme and host from `X-Forwarded-For`, `-Proto` and `-Host`. Only behind a proxy that sets them.
    #[arg(long, env = "WIREWISE_TRUST_PROXY", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub trust_proxy: bool,

    #[command(flatten)]
    pub tls: TlsSettings,

    /// Let visitors break their own connections, and restart the server, from the inspector. For demonstrations, not for production.
    #[arg(long, env = "WIREWISE_ALLOW_FAULTS", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub allow_faults: bool,

    /// Where `/metrics` is answered, and nothing else: an address, or `none`. A port 0 is chosen by the system and printed.
    #[arg(long, env = "WIREWISE_METRICS_ADDR", default_value = "127.0.0.1:9464", value_name = "HOST:PORT", value_parser = metrics_address)]
    pub metrics_addr: MetricsAddress,

    /// Whether `metrics_addr` was set. The server starts without metrics only where it was left at its default.
    #[arg(skip)]
    pub metrics_addr_given: bool,

    /// Signs sessions: at least 32 characters. Without it a secret is generated once and kept in the data folder.
    #[arg(long, env = "WIREWISE_SECRET", value_name = "SECRET", hide_env_values = true, value_parser = secret)]
    pub secret: Option<String>,

    /// How long a session is valid, as in `30d` (`s`, `m`, `h`, `d`, `w`); the same user can renew it for 30 days more.
    #[arg(long, env = "WIREWISE_SESSION_LIFETIME", default_value = "30d", value_name = "AGE", value_parser = age)]
    pub session_lifetime: Duration,

    /// What to log, in the syntax of tracing's `EnvFilter`: `info`, `wirewise=debug`, …
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    pub log: String,

    /// The format of a log line.
    #[arg(
        long,
        env = "WIREWISE_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// The settings of the server's own TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsSettings {
    /// The certificate, in PEM, with those of its issuers after it: the server then speaks HTTPS only. Read again on SIGHUP.
    #[arg(
        long = "tls-cert",
        env = "WIREWISE_TLS_CERT",
        global = true,
        value_name = "FILE"
    )]
    pub cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM.
    #[arg(
        long = "tls-key",
        env = "WIREWISE_TLS_KEY",
        global = true,
        value_name = "FILE"
    )]
    pub key: Option<PathBuf>,

    /// Tell browsers to use https only, for a year. Sent over https: with `--tls-cert`, or where a trusted proxy says https.
    #[arg(long, env = "WIREWISE_HSTS", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub hsts: bool,
}

/// What stores messages and notifies subscribers.
#[derive(Clone, Debug, clap::Args)]
pub struct BusSettings {
    /// What stores messages and notifies subscribers: `embedded` is a database in the data folder, for one server;
    /// `nats://HOST:PORT[,HOST:PORT]` (or `tls://…`) is NATS JetStream, for several.
    #[arg(
        long,
        env = "WIREWISE_BUS",
        default_value = "embedded",
        value_name = "BUS"
    )]
    pub bus: BusKind,

    /// The file with the credentials of this server's user at NATS.
    #[arg(
        long = "bus-credentials",
        env = "WIREWISE_BUS_CREDENTIALS",
        value_name = "FILE"
    )]
    pub credentials: Option<PathBuf>,

    /// How many servers of a NATS cluster hold each message: 1 or 3. It counts when the streams are made.
    #[arg(long = "bus-replicas", env = "WIREWISE_BUS_REPLICAS", default_value_t = 1, value_name = "NUMBER", value_parser = replicas)]
    pub replicas: usize,

    /// NATS is configured to sync each write, so that a power cut loses nothing that was acknowledged.
    #[arg(long = "bus-synced", env = "WIREWISE_BUS_SYNCED", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub synced: bool,
}

/// What implements the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusKind {
    Embedded,
    /// The addresses of the servers, separated by commas.
    Nats(String),
}

/// Where metrics are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAddress {
    Nowhere,
    At(SocketAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// The options of the kit.
    pub fn realtime(&self) -> RealtimeOptions {
        let timing = Timing {
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            client_ping: Duration::from_millis(self.client_ping_ms),
            ping: Duration::from_millis(self.ping_ms),
            idle: Duration::from_millis(self.idle_ms),
        };
        RealtimeOptions::default()
            .name("wirewise")
            .timing(timing)
            .connections_per_address(self.limits.max_connections_per_ip as usize)
            .messages_per_second(self.limits.messages_per_second)
            .allow_faults(self.allow_faults)
    }

    /// All defaults, for tests that change a few.
    pub fn defaults() -> Self {
        CommandLine::parse_from(["wirewise"]).settings
    }
}

/// Parses an address and a port, or a host, which is looked up, and a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let expected =
        "an address is a host and a port, as in 127.0.0.1:3000, [::1]:3000 or localhost:3000";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let host_and_port = text.rsplit_once(':');
    let host_and_port =
        host_and_port.filter(|(host, _)| !host.is_empty() && !host.contains(['/', ':', '@']));
    let (host, port) = host_and_port.ok_or(expected)?;
    let port: u16 = port.parse().map_err(|_| expected)?;
    let found = (host, port).to_socket_addrs();
    let found =
        found.map_err(|error| format!("the host {host} is not found ({error}); {expected}"))?;
    let mut found: Vec<SocketAddr> = found.collect();
    // A client that then connects to 127.0.0.1 must reach the server, so IPv4 comes first. The sort is stable.
    found.sort_by_key(SocketAddr::is_ipv6);
    let none = || format!("the host {host} has no address; {expected}");
    found.first().copied().ok_or_else(none)
}

fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    match text {
        "none" => Ok(MetricsAddress::Nowhere),
        _ => address(text)
            .map(MetricsAddress::At)
            .map_err(|error| format!("{error}; none turns the metrics off")),
    }
}

impl FromStr for BusKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "a bus is embedded, or nats://HOST:PORT[,HOST:PORT], or tls://HOST:PORT[,HOST:PORT]";
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let scheme = ["nats://", "tls://"]
            .into_iter()
            .find(|scheme| text.starts_with(scheme))
            .ok_or(expected)?;
        let servers = text.split(',').map(|server| {
            let host = server.strip_prefix(scheme).unwrap_or(server);
            let server = format!("{scheme}{host}");
            let parsed = server.parse::<async_nats::ServerAddr>();
            let is_plain = !host.is_empty() && !host.contains(['/', '@', ' ']);
            (parsed.is_ok() && is_plain).then_some(server)
        });
        let servers: Option<Vec<String>> = servers.collect();
        Ok(Self::Nats(servers.ok_or(expected)?.join(",")))
    }
}

/// JetStream takes any odd number up to five; two would survive no failure that one does not.
fn replicas(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("a stream has 1 replica or 3".into()),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let uri: axum::http::Uri = text
        .parse()
        .map_err(|_| "an origin looks like https://app.example.com".to_owned())?;
    match (uri.scheme_str(), uri.authority(), uri.path()) {
        (Some("http" | "https"), Some(_), "/" | "") => Ok(text.to_ascii_lowercase()),
        _ => Err("an origin is a scheme and a host, as in https://app.example.com".into()),
    }
}

fn secret(text: &str) -> Result<String, String> {
    if text.len() >= 32 {
        Ok(text.to_owned())
    } else {
        Err("a secret has at least 32 characters".into())
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "a log filter looks like info or wirewise=debug ({error})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let all = [&["wirewise"], arguments].concat();
        CommandLine::try_parse_from(all)
            .expect_err("refused")
            .to_string()
    }

    fn settings(arguments: &[&str]) -> Settings {
        let all = [&["wirewise"], arguments].concat();
        CommandLine::try_parse_from(all).unwrap().settings
    }

    #[test]
    fn a_bad_value_is_refused_with_the_setting_and_what_it_takes() {
        for (arguments, needles) in [
            (["--addr", "here"], ["--addr", "localhost:3000"]),
            (["--addr", "3000"], ["--addr", "localhost:3000"]),
            (["--addr", ":3000"], ["--addr", "localhost:3000"]),
            (["--addr", "localhost:http"], ["--addr", "localhost:3000"]),
            (["--addr", "localhost:70000"], ["--addr", "localhost:3000"]),
            (["--addr", "::1:3000"], ["--addr", "[::1]:3000"]),
            (
                ["--addr", "http://localhost:3000"],
                ["--addr", "localhost:3000"],
            ),
            (
                ["--addr", "nowhere.invalid:3000"],
                ["--addr", "nowhere.invalid is not found"],
            ),
            (["--metrics-addr", "9464"], ["--metrics-addr", "none turns"]),
            (["--tick-ms", "0"], ["--tick-ms", "1..=86400000"]),
            (["--heartbeat-ms", "soon"], ["--heartbeat-ms", "soon"]),
            (["--feed", "magic"], ["--feed", "simulated"]),
            (["--feed", "simulated:x"], ["--feed", "SEED"]),
            (["--feed", "replay:"], ["--feed", "names a file"]),
            (["--feed", "coinbase:here"], ["--feed", "wss://"]),
            (["--speed", "fast"], ["--speed", "from 0.001"]),
            (["--speed", "0"], ["--speed", "from 0.001"]),
            (["--speed", "NaN"], ["--speed", "from 0.001"]),
            (["--products", ""], ["--products", "BTC-USD,ETH-USD"]),
            (["--products", "BTC"], ["--products", "BTC-USD,ETH-USD"]),
            (["--secret", "short"], ["--secret", "at least 32"]),
            (
                ["--allowed-origin", "example.com"],
                ["--allowed-origin", "https://app.example.com"],
            ),
            (["--log-format", "xml"], ["--log-format", "json"]),
            (["--max-upload", "1 pound"], ["--max-upload", "1GiB"]),
            (["--max-upload", "99999999TiB"], ["--max-upload", "1GiB"]),
            (["--log", "=="], ["--log", "wirewise=debug"]),
            (["--bus", "redis://here"], ["--bus", "nats://HOST"]),
            (["--bus", "nats://"], ["--bus", "nats://HOST"]),
            (["--bus", "nats://a:x"], ["--bus", "nats://HOST"]),
            (["--bus", "nats://a,"], ["--bus", "nats://HOST"]),
            (["--bus", "nats://a,tls://b"], ["--bus", "nats://HOST"]),
            (
                ["--bus-replicas", "2"],
                ["--bus-replicas", "1 replica or 3"],
            ),
            (["--chat-retention", "0d"], ["--chat-retention", "30d"]),
            (["--chat-retention", "d"], ["--chat-retention", "30d"]),
            (["--chat-retention", "5ä"], ["--chat-retention", "30d"]),
            (
                ["--chat-retention", "99999999999w"],
                ["--chat-retention", "30d"],
            ),
            (["--session-lifetime", "0s"], ["--session-lifetime", "30d"]),
            (["--session-lifetime", "1"], ["--session-lifetime", "30d"]),
            (
                ["--max-connections", "0"],
                ["--max-connections", "1..=1000000"],
            ),
        ] {
            let text = refusal(&arguments);
            assert!(needles.iter().all(|needle| text.contains(needle)), "{text}");
        }
    }

    #[test]
    fn a_host_is_looked_up_and_ipv4_comes_first() {
        for (text, address) in [
            ("localhost:3000", "127.0.0.1:3000"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            assert_eq!(
                settings(&["--addr", text]).addr,
                address.parse().unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bus_is_embedded_or_servers_of_nats() {
        let nats = |servers: &str| BusKind::Nats(servers.into());
        for (text, expected) in [
            ("embedded", BusKind::Embedded),
            ("nats://a:4222", nats("nats://a:4222")),
            ("nats://a:1,b:2", nats("nats://a:1,nats://b:2")),
            ("tls://a,tls://b", nats("tls://a,tls://b")),
        ] {
            assert_eq!(settings(&["--bus", text]).bus.bus, expected);
        }
    }

    #[test]
    fn metrics_are_on_loopback_unless_an_address_or_none_is_given() {
        let at = |text: &str| MetricsAddress::At(text.parse().unwrap());
        for (arguments, expected) in [
            (&[][..], at("127.0.0.1:9464")),
            (&["--metrics-addr", "0.0.0.0:0"], at("0.0.0.0:0")),
            (&["--metrics-addr", "none"], MetricsAddress::Nowhere),
        ] {
            assert_eq!(settings(arguments).metrics_addr, expected);
        }
    }

    #[test]
    fn an_upload_may_have_a_gibibyte() {
        assert_eq!(Settings::defaults().progress.max_upload, 1 << 30);
    }

    #[test]
    fn origins_are_a_list() {
        let settings = settings(&["--allowed-origin", "https://A.example,http://b:8080/"]);
        assert_eq!(
            settings.allowed_origins,
            ["https://a.example", "http://b:8080"]
        );
    }

    #[test]
    fn an_age_has_a_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("36h", 129_600),
            ("30d", 2_592_000),
            ("1w", 604_800),
        ] {
            let age = settings(&["--chat-retention", text]).chat.retention;
            assert_eq!(age, Some(Duration::from_secs(seconds)));
        }
        assert_eq!(settings(&[]).chat.retention, None);
    }

    #[test]
    fn the_data_folder_may_stand_before_and_after_a_command() {
        for arguments in [
            ["--data-dir", "there", "backup", "file"],
            ["restore", "--data-dir", "there", "file"],
        ] {
            let all = [&["wirewise"][..], &arguments].concat();
            let line = CommandLine::try_parse_from(all).unwrap();
            assert_eq!(line.settings.data_dir, PathBuf::from("there"));
            assert!(line.command.is_some());
        }
    }

    #[test]
    fn trust_proxy_is_a_flag_or_a_value() {
        for (arguments, expected) in [
            (&["--trust-proxy"][..], true),
            (&["--trust-proxy", "false"], false),
            (&[], false),
        ] {
            assert_eq!(settings(arguments).trust_proxy, expected);
        }
    }

    #[test]
    fn faults_are_allowed_only_where_that_was_asked_for() {
        assert!(!settings(&[]).allow_faults);
        assert!(settings(&["--allow-faults"]).allow_faults);
    }
}
