//! Builds the router: all routes, and the layers around them.

use axum::{
    Router,
    extract::Request,
    middleware::{self, from_fn, from_fn_with_state},
    routing::{any, get, post},
};
use leptos::prelude::provide_context;
use tower_http::{
    compression::{CompressionLayer, CompressionLevel},
    trace::TraceLayer,
};

use super::{
    assets,
    health::{self, Reporter},
    render::{self, Pages},
    security_headers::{self, HeaderPolicy},
    shared_parts::QUALITY,
    state::AppState,
    trace,
};
use crate::{
    app::ALIVE_ROUTE,
    guard::{
        limits,
        origin::{self, OriginPolicy},
    },
    inspector,
    routes::{Provide, Routes},
    session,
    ui::theme,
    web::server::{answer, headers, panicked, query},
};

/// Collects the routes of all features and those of the server itself.
pub fn routes(state: &AppState) -> Routes {
    let web = state.web();
    let restart = state.settings.allow_faults.then(|| state.restart.clone());
    let sessions = state.sessions.clone();
    Routes::default()
        .plain(session::server::routes(sessions.clone()))
        .plain(theme::server::routes())
        .context(move || provide_context(sessions.clone()))
        .merge(inspector::server::routes(
            web.clone(),
            restart,
            state.bus.clone(),
        ))
        .merge(state.features.routes(&web, &state.settings))
}

/// The router of a server.
pub fn router(state: AppState) -> Router {
    let routes = routes(&state);
    assemble(&state, routes)
}

/// Puts the layers around the routes.
pub fn assemble(state: &AppState, routes: Routes) -> Router {
    let contexts: std::sync::Arc<[Provide]> = routes.contexts.into();
    let plain = routes
        .plain
        .merge(server_functions(contexts.clone()))
        .route("/api", get(answer::unknown_path))
        .route("/api/", any(answer::unknown_path))
        .route("/api/{*path}", any(answer::unknown_path))
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(from_fn(limits::end_slow_requests))
        .merge(routes.slow);
    let plain = in_api(plain).layer(from_fn_with_state(
        state.limits.clone(),
        limits::limit_requests,
    ));
    // Only the time until the answer is limited here, and a stream or socket answers at once. How long it stays open is
    // its own matter.
    let live = routes
        .live
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(from_fn(limits::end_slow_requests));
    let live = in_api(live).layer(from_fn_with_state(
        state.realtime.clone(),
        inspector::server::name_connections,
    ));
    // Page renders spawn their tasks through this executor. In a process with a second router it is set already.
    let _ = any_spawner::Executor::init_tokio();
    let pages = Pages {
        leptos: state.leptos.clone(),
        contexts,
        first_states: routes.first_states.into(),
    };
    // Every page renders in the same way (`SsrMode::Async`), so one handler serves them all; the router of the app
    // selects the page.
    let pages = Router::new()
        .fallback(render::page)
        .with_state(pages)
        .layer(from_fn(limits::end_slow_requests))
        .layer(from_fn_with_state(
            state.sessions.clone(),
            session::server::for_pages,
        ))
        .layer(middleware::map_response(render::headers))
        .layer(from_fn_with_state(
            state.assets.clone(),
            assets::files_first,
        ))
        .layer(from_fn(panicked::as_page));
    let policy = OriginPolicy {
        trust_proxy: state.settings.trust_proxy,
        allowed: state.settings.allowed_origins.clone().into(),
        public: routes.public.into(),
    };
    let headers_of_answers = HeaderPolicy {
        hsts: state.settings.tls.hsts,
        trust_proxy: state.settings.trust_proxy,
    };
    let reporter = Reporter {
        drain: state.realtime.drain().clone(),
        bus: state.bus.clone(),
        background: state.background.clone(),
        remarks: routes.remarks.into(),
    };
    let checked = |router: Router| {
        router
            .layer(from_fn_with_state(policy.clone(), origin::check))
            .layer(middleware::map_request(headers::in_ascii))
    };
    let answered = |router: Router| {
        router
            .layer(from_fn(answer::refuse_without_path))
            .layer(from_fn_with_state(
                headers_of_answers,
                security_headers::add,
            ))
            .layer(middleware::map_response(
                inspector::server::remember_answers,
            ))
    };
    let others = Router::new()
        .merge(plain)
        .merge(pages)
        .layer(CompressionLayer::new().quality(CompressionLevel::Precise(QUALITY)));
    let others = checked(others)
        .route(ALIVE_ROUTE, get(async || "alive\n"))
        .route(health::READY_ROUTE, get(health::ready).with_state(reporter));
    let others =
        answered(others).layer(TraceLayer::new_for_http().on_response(trace::of_answers()));
    // Past the compression and the trace of bodies: the one would pass on each event of a stream as it is, the other would read
    // the clock for it.
    let live = answered(checked(live)).layer(from_fn(trace::up_to_the_answer));
    others.merge(live)
}

/// The layers of every route of the API.
fn in_api(router: Router) -> Router {
    router
        .layer(from_fn(answer::map_server_function_errors))
        .layer(from_fn(panicked::in_json))
        .layer(from_fn(query::spell))
}

fn server_functions(contexts: std::sync::Arc<[Provide]>) -> Router {
    let handle = move |request: Request| {
        let contexts = contexts.clone();
        let provide = move || contexts.iter().for_each(|provide| provide());
        leptos_axum::handle_server_fns_with_context(provide, request)
    };
    // All server functions are called with POST, because each of them changes something.
    let paths = leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path);
    paths.fold(Router::new(), |router, path| {
        router.route(path, post(handle.clone()))
    })
}
