//! The server: its state, its routes, its life from the first connection to the last.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    trace::{DefaultOnResponse, TraceLayer},
};

use crate::{
    api::{
        ApiError, answer, headers, limits,
        limits::Limits,
        origin::{self, Caller},
        panicked, query,
    },
    app::{Site, shell},
    assets::{self, Assets},
    background::Supervisor,
    bus::{
        BusError, SharedBus,
        embedded::{Embedded, OpenError, Options},
    },
    chat::{self, rooms::Chat},
    collab::{self, registry::Collab},
    first_state::{FirstState, PageStatus},
    health,
    home::{self, feed::Feed},
    inspector::{self, message::Allowed},
    output,
    progress::{self, race::lane::Lanes, runner::Jobs, store::JobStore},
    realtime::{
        contract::ALIVE_ROUTE,
        message::{Limits as SocketLimits, SocketControl},
        server::{Drain, Line, Lines, Realtime, listen, socket::TEXT_BYTES},
    },
    session::{
        self, User,
        token::{self, Session, Sessions},
    },
    settings::{BusSetting, Settings},
    text_nodes::keep_text_nodes,
    theme::{self, Theme},
    ticker::{self, server::Ticker},
};

/// How long the storage may take to write its last, once the connections have ended.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// What every handler may ask for. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub settings: Arc<Settings>,
    pub leptos: LeptosOptions,
    pub assets: Assets,
    pub realtime: Realtime,
    pub limits: Limits,
    pub lines: Lines,
    pub bus: SharedBus,
    pub sessions: Sessions,
    pub ticker: Ticker,
    pub jobs: Jobs,
    pub lanes: Lanes,
    /// The feed of the guide's live comparison.
    pub compare: Feed,
    /// Watches the tasks that serve no connection.
    pub background: Supervisor,
    /// Where this server listens, once it does.
    address: Arc<OnceLock<SocketAddr>>,
    /// Somebody asked that it leaves and starts again.
    restart: CancellationToken,
    pub chat: Chat,
    pub collab: Collab,
}

/// Why the server cannot start, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("The site root {} holds no pkg folder. Build the site (make build), or name it with --site-root.", .0.display())]
    NoSite(PathBuf),
    #[error("The data folder {} cannot be used: {error}. Name another with --data-dir.", .path.display())]
    NoData { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// Not without it: whoever signed out would be let in again.
    #[error("Who signed out cannot be read from the data folder {}: {error}.", .path.display())]
    NoSignOuts { path: PathBuf, error: BusError },
    #[error("{0}")]
    NoFeed(String),
}

impl AppState {
    /// Opens what the settings name.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
        let site_root =
            std::path::absolute(&settings.site_root).unwrap_or_else(|_| settings.site_root.clone());
        if !site_root.join("pkg").is_dir() {
            return Err(StartError::NoSite(settings.site_root));
        }
        let path = || settings.data_dir.clone();
        let no_data = |error| StartError::NoData {
            path: path(),
            error,
        };
        std::fs::create_dir_all(&settings.data_dir).map_err(no_data)?;
        // First: it takes the folder's lock, and a second server must not touch what the first one keeps there.
        let bus: SharedBus = match settings.bus {
            BusSetting::Embedded => {
                let options = Options {
                    searchable: Some(chat::log::SEARCHABLE),
                    ..Options::default()
                };
                Arc::new(Embedded::with(&settings.data_dir, options)?)
            }
        };
        let sessions = Sessions::open(
            bus.clone(),
            &settings.data_dir,
            settings.secret.as_deref(),
            settings.session_lifetime,
        );
        let sessions = sessions.await.map_err(|error| match error {
            token::OpenError::Secret(error) => no_data(error),
            token::OpenError::SignedOut(error) => StartError::NoSignOuts {
                path: path(),
                error,
            },
        })?;
        let feed = settings.feed.open(&settings).map_err(StartError::NoFeed)?;
        let hash_file = site_root.join("hash.txt");
        let leptos = LeptosOptions::builder()
            .output_name("wirewise")
            .site_root(site_root.to_string_lossy())
            .site_pkg_dir("pkg")
            .site_addr(settings.addr)
            .hash_files(hash_file.is_file())
            // Absolute: by default it is looked for beside the binary, which may have been moved.
            .hash_file(Arc::<str>::from(hash_file.to_string_lossy()))
            .build();
        let drain = Drain::default();
        let background = Supervisor::new(drain.clone());
        let history = settings.history as usize;
        Ok(Self {
            leptos,
            assets: Assets::new(site_root),
            realtime: Realtime::new(settings.timing(), drain.clone()),
            limits: Limits::new(&settings),
            lines: Lines::new(settings.allow_faults),
            sessions,
            ticker: Ticker::new(feed, history),
            jobs: Jobs::new(
                settings.max_jobs as usize,
                history,
                JobStore::new(bus.clone()),
                drain,
                background.clone(),
            ),
            lanes: Lanes::default(),
            compare: Feed::default(),
            address: Arc::default(),
            restart: CancellationToken::new(),
            chat: Chat::new(bus.clone(), background.clone()),
            collab: Collab::new(bus.clone(), background.clone()),
            background,
            bus,
            settings: settings.into(),
        })
    }
}

impl AppState {
    /// Where this server can reach itself, for a race against itself.
    pub fn own_address(&self) -> Result<SocketAddr, ApiError> {
        let unknown = || ApiError::new(503, "The server does not listen yet. Try again.");
        let address = *self.address.get().ok_or_else(unknown)?;
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(SocketAddr::new(ip, address.port()))
    }

    /// Makes [`run`] leave as for a shutdown, and say that it is to start again.
    pub fn restart(&self) {
        self.restart.cancel();
    }
}

/// Why a server left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was told to.
    Shutdown,
    /// It was asked to start again.
    Restart,
    /// It could not go on, for the reason in this sentence.
    Broken(String),
}

/// Serves until `shutdown` resolves, then leaves within the drain time, whatever the clients do.
pub async fn run(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()>,
) -> Left {
    let restart = state.restart.clone();
    let drain = state.realtime.drain().clone();
    if let Ok(address) = listener.local_addr() {
        let _ = state.address.set(address);
    }
    state.jobs.restore().await;
    // Before the first connection, so that none is missing from the counts.
    let _ = prometheus();
    run_in_background(&state);
    let (chat, collab, bus) = (state.chat.clone(), state.collab.clone(), state.bus.clone());
    let background = state.background.clone();
    let deadline = Duration::from_millis(state.settings.drain_ms);
    let max_connections = state.settings.max_connections as usize;
    let serving = listen::serve(listener, router(state), max_connections, drain.clone());
    let serving = background.essential("accept loop", serving);
    tokio::pin!(shutdown);
    let why = tokio::select! {
        () = &mut shutdown => Left::Shutdown,
        () = restart.cancelled() => Left::Restart,
        sentence = background.broken() => Left::Broken(sentence),
        sentence = health::storage_broken(&bus) => Left::Broken(sentence),
    };
    tracing::info!(
        deadline_ms = deadline.as_millis() as u64,
        "leaving: no new connections, clients are told to come back"
    );
    drain.start();
    let leaving = async {
        let _ = serving.await;
        match drain.finish(deadline).await {
            0 => tracing::info!("left: every connection has ended"),
            left => tracing::warn!(
                connections = left,
                "left: the deadline passed with connections still open"
            ),
        }
        let last_writes = async {
            chat.save_marks().await;
            collab.save().await;
            bus.close().await;
        };
        if tokio::time::timeout(LAST_WRITES, last_writes)
            .await
            .is_err()
        {
            tracing::warn!("left: the storage did not take the last writes in time");
        }
    };
    tokio::pin!(leaving);
    // Whoever ends a server that is about to start again means to end it.
    if why == Left::Restart {
        tokio::select! {
            () = &mut leaving => return Left::Restart,
            () = &mut shutdown => {}
        }
    }
    leaving.await;
    match why {
        Left::Broken(sentence) => Left::Broken(sentence),
        Left::Shutdown | Left::Restart => Left::Shutdown,
    }
}

/// What goes on besides the connections. Each of these starts again when it panics.
fn run_in_background(state: &AppState) {
    let (background, drain) = (&state.background, state.realtime.drain().clone());
    let jobs = state.jobs.clone();
    background.run("jobs", move || jobs.clone().run());
    let (ticker, until) = (state.ticker.clone(), drain.clone());
    background.run("price feed", move || ticker.clone().run(until.clone()));
    let (collab, until) = (state.collab.clone(), drain.clone());
    background.run("boards", move || collab.clone().run(until.clone()));
    let compare = state.compare.clone();
    background.run("comparison", move || compare.clone().run(drain.clone()));
    let limits = state.limits.clone();
    background.run("limits", move || limits.clone().forget_the_quiet());
    let (chat, retention) = (state.chat.clone(), state.settings.chat_retention);
    background.run("chat rooms", move || chat.clone().run(retention));
    let bus = state.bus.clone();
    background.run("storage probe", move || health::probe_storage(bus.clone()));
}

/// All routes and their layers.
pub fn router(state: AppState) -> Router {
    let api = Router::new()
        .merge(session::server::routes())
        .merge(theme::server::routes())
        .merge(ticker::server::routes())
        .merge(progress::server::routes())
        .merge(chat::server::routes())
        .merge(collab::server::routes())
        .merge(home::server::routes())
        .merge(inspector::server::routes(&state))
        .merge(server_functions(&state))
        .route("/api", get(answer::unknown_path))
        .route("/api/", any(answer::unknown_path))
        .route("/api/{*path}", any(answer::unknown_path))
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(from_fn(limits::end_slow_requests))
        // Uploads watch their own time.
        .merge(progress::server::upload_routes())
        .layer(from_fn(answer::map_server_function_errors))
        .layer(CatchPanicLayer::custom(panicked::in_json))
        .layer(from_fn(query::spell))
        .layer(from_fn_with_state(state.clone(), limits::limit_requests))
        .layer(from_fn_with_state(
            state.clone(),
            inspector::server::name_connections,
        ));
    // What renders pages spawns its tasks through this; a second router in the same process finds it set already.
    let _ = any_spawner::Executor::init_tokio();
    // Every page renders in one way (`SsrMode::Async`), so one handler serves them all; the app's own router decides.
    let pages = Router::new()
        .fallback(render_page)
        .layer(from_fn(limits::end_slow_requests))
        .layer(from_fn_with_state(
            state.clone(),
            session::server::for_pages,
        ))
        .layer(middleware::map_response(page_headers))
        .layer(from_fn_with_state(state.clone(), assets::files_first))
        .layer(CatchPanicLayer::custom(panicked::as_page));
    Router::new()
        .merge(api)
        .merge(pages)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(state.clone(), origin::check))
        .layer(middleware::map_request(headers::in_ascii))
        .route(ALIVE_ROUTE, get(async || "alive\n"))
        .route(health::READY_ROUTE, get(health::ready))
        .route("/metrics", get(metrics_text))
        .layer(middleware::map_response(security_headers))
        .layer(middleware::map_response(
            inspector::server::remember_answers,
        ))
        .layer(
            TraceLayer::new_for_http()
                .on_response(DefaultOnResponse::new().level(tracing::Level::DEBUG)),
        )
        .with_state(state)
}

/// Renders a page; for a path that no route has, the page that says so.
async fn render_page(State(state): State<AppState>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = ApiError::new(405, "Pages are only read: with GET or HEAD.");
        return ([(header::ALLOW, "GET, HEAD")], error).into_response();
    }
    let options = state.leptos.clone();
    let path = request.uri().path();
    let first_messages = chat::server::first_state(&state.chat, path).await;
    let first_board = collab::server::first_state(&state.collab, path).await;
    let context = page_context(&state, move || {
        first_messages();
        first_board();
    });
    let handler =
        leptos_axum::render_app_async_with_context(context, move || shell(options.clone()));
    keep_text_nodes(handler(request).await.into_response())
}

/// The `welcome` of a feature's socket, with what this server takes.
pub fn welcome<W: Serialize>(
    state: &AppState,
    line: &Line,
    connections: usize,
    binary_bytes: usize,
    feature: W,
) -> SocketControl<W> {
    let limits = SocketLimits {
        text_bytes: TEXT_BYTES,
        binary_bytes,
        messages_per_second: state.limits.messages_per_second(),
    };
    state.realtime.welcome(line, connections, limits, feature)
}

/// A plain request to a socket's route.
pub fn no_upgrade(rejection: WebSocketUpgradeRejection) -> ApiError {
    let error = format!(
        "This route speaks WebSocket (RFC 6455): {}.",
        rejection.body_text()
    );
    ApiError::new(rejection.status().as_u16(), error)
}

/// What a render may ask for: who asks, and the first state of each page.
fn page_context(
    state: &AppState,
    first_states: impl Fn() + Clone + Send + Sync + 'static,
) -> impl Fn() + Clone + Send + Sync + 'static {
    let state = state.clone();
    move || {
        provide_context(state.clone());
        let parts = use_context::<Parts>();
        if let Some(parts) = &parts {
            provide_visitor(parts);
        }
        let allowed = Allowed {
            faults: state.settings.allow_faults,
        };
        FirstState::provide(move |()| allowed);
        let ticker = state.ticker.clone();
        FirstState::provide(move |()| ticker.first_prices());
        first_states();
        progress::server::provide_first_state(&state);
        let Some(response) = use_context::<ResponseOptions>() else {
            return;
        };
        if let Some(nonce) = leptos::nonce::use_nonce() {
            response.insert_header(
                header::CONTENT_SECURITY_POLICY,
                content_security_policy(&nonce, parts.as_ref()),
            );
        }
        PageStatus::provide(move |status| {
            if let Ok(status) = StatusCode::from_u16(status) {
                response.set_status(status);
            }
        });
    }
}

/// What the request itself says: who asks, in which theme, and what they call us.
fn provide_visitor(parts: &Parts) {
    let theme = theme::server::theme_of(&parts.headers);
    FirstState::<(), Theme>::provide(move |()| theme);
    if let Some(session) = parts.extensions.get::<Session>() {
        let user = session.user.clone();
        FirstState::<(), User>::provide(move |()| user.clone());
    }
    if let Some(caller) = parts.extensions.get::<Caller>() {
        provide_context(Site(caller.site()));
    }
}

fn server_functions(state: &AppState) -> Router<AppState> {
    let context = state.clone();
    let handle = move |request: Request| {
        let state = context.clone();
        leptos_axum::handle_server_fns_with_context(move || provide_context(state.clone()), request)
    };
    // All of them are posts: whatever changes something is.
    let paths = leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path);
    paths.fold(Router::new(), |router, path| {
        router.route(path, post(handle.clone()))
    })
}

async fn metrics_text() -> String {
    metrics::counter!("wirewise_log_lines_dropped").absolute(output::dropped_lines());
    prometheus().render()
}

/// Pages are a visitor's own. Not `no-store`: that would keep them out of the back-forward cache.
async fn page_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// Scripts only with this page's nonce, styles only from files. The host's sockets are named, since in Safari before 15.4
/// `'self'` covers none. In `cargo leptos watch` the reload socket is another port.
fn content_security_policy(nonce: &str, request: Option<&Parts>) -> HeaderValue {
    let caller = request.and_then(|parts| parts.extensions.get::<Caller>());
    let sockets = caller.map(Caller::socket_sources).unwrap_or_default();
    let reload = if std::env::var_os("LEPTOS_WATCH").is_some() {
        " ws://127.0.0.1:* ws://localhost:*"
    } else {
        ""
    };
    let policy = format!(
        "default-src 'self'; script-src 'strict-dynamic' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'{sockets}{reload}; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'self'"))
}

/// The process's metrics; the recorder of the `metrics` crate is global.
fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder takes the metrics");
        }
        handle
    })
}
