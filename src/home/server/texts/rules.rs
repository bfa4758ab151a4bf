//! The sections with eight rules, on when to use neither transport, and on why the shared text is a CRDT.

use leptos::prelude::*;

use super::source::{Source, Sources, source};

pub struct Rule {
    name: &'static str,
    text: &'static str,
    warns: bool,
    pub shown_by: &'static [Source],
}

pub static RULES: [Rule; 8] = [
    Rule {
        name: "Start with a plain request.",
        text: "A live connection is for what changes while somebody looks. The first state comes with the page, and the connection goes on from there.",
        warns: false,
        shown_by: &[source("src/ui/first_state.rs", "")],
    },
    Rule {
        name: "If only the server speaks, take SSE.",
        text: "It is HTTP: logs, proxies, sessions and curl know it already.",
        warns: false,
        shown_by: &[source("realtime/src/server/sse.rs", "")],
    },
    Rule {
        name: "If the browser speaks often, or in binary, take WebSocket.",
        text: "Often is more than about once a second; below that, a request for each is simpler.",
        warns: false,
        shown_by: &[source("realtime/src/server/socket.rs", "")],
    },
    Rule {
        name: "Ask what a lost message costs, and build just that.",
        text: "Nothing: send the newest. A gap: replay. Trust: acknowledge, store, send again.",
        warns: false,
        shown_by: &[
            source("realtime/src/server/selection.rs", "pub enum Delivery"),
            source("realtime/src/client/outbox.rs", ""),
        ],
    },
    Rule {
        name: "Own the reconnect, with either.",
        text: "A heartbeat that is checked, delays that double and are drawn at random, a position to go on from. A thousand browsers must not come back in the same second.",
        warns: false,
        shown_by: &[
            source("realtime/src/status.rs", ""),
            source("realtime/src/backoff.rs", ""),
        ],
    },
    Rule {
        name: "Encrypt, with either: HTTPS and WSS.",
        text: "A proxy that does not understand a protocol cannot break what it cannot read: TLS takes a socket past most of them. An https page may open no ws: at all, browsers speak HTTP/2, where a stream costs no connection of its own, over TLS only, and the lock by which tabs share one stream exists on secure pages only.",
        warns: false,
        shown_by: &[
            source("realtime/src/client/platform/browser/page.rs", "wss"),
            source("realtime/src/client/transports/shared.rs", "tabs_can_share"),
            source("deploy/nginx.conf", "http2"),
            source("deploy/Caddyfile", ""),
        ],
    },
    Rule {
        name: "No SSE for high-frequency trading.",
        text: "Text one way over one TCP connection: a lost packet holds up every price behind it, and orders go out beside it, in no common order. A desk takes a binary feed, and no browser.",
        warns: true,
        shown_by: &[source("src/inspector/framing.rs", "pub fn event_overhead")],
    },
    Rule {
        name: "No WebSocket for simple notifications.",
        text: "For a message an hour you would build the reconnect and the position to resume from, which EventSource brings along, and take on pings, close codes and a bounded queue for readers who have nothing to say.",
        warns: true,
        shown_by: &[source(
            "end2end/fixtures/native-event-source.html",
            "new EventSource",
        )],
    },
];

pub struct Alternative {
    name: &'static str,
    text: &'static str,
    pub shown_by: &'static [Source],
}

pub static ALTERNATIVES: [Alternative; 4] = [
    Alternative {
        name: "A plain fetch",
        text: "When one answer is enough, or when half a minute old is new enough: ask again every so often. It needs nothing, caches well, and costs nobody a connection in between.",
        shown_by: &[source("src/progress/server/mod.rs", "async fn job")],
    },
    Alternative {
        name: "The page, loaded again",
        text: "Without JavaScript a refresh shows the state. The progress page does so.",
        shown_by: &[source("src/progress/page/panel.rs", "noscript")],
    },
    Alternative {
        name: "WebTransport",
        text: "Datagrams and many streams over HTTP/3: a lost packet holds up nothing but itself. For fast games and media. It wants HTTP/3 on the server and UDP on the way, and a fallback where a browser or a network has neither.",
        shown_by: &[],
    },
    Alternative {
        name: "Web Push",
        text: "For whoever has closed the page: both transports end with it. A service worker wakes up for the message.",
        shown_by: &[],
    },
];

/// The sources of the section on the shared text.
pub static CRDT: [Source; 4] = [
    source(
        "src/collab/server/convergence_tests.rs",
        "everybody_ends_with_the_same_text_whatever_is_lost_doubled_or_late",
    ),
    source("src/collab/server/document.rs", "pub fn difference"),
    source(
        "src/collab/server/document_tests.rs",
        "the_known_hostile_update_is_refused_and_nobody_is_harmed",
    ),
    source(
        "end2end/acceptance/collab-interop.spec.ts",
        "stock Yjs clients and the page write one text",
    ),
];

#[component]
pub fn Rules() -> impl IntoView {
    let rule = |rule: &'static Rule| {
        let warning = rule
            .warns
            .then(|| view! { <span class="visually-hidden">"Warning: "</span> });
        view! {
            <li class:warns=rule.warns>
                <strong>{warning} {rule.name}</strong> " " {rule.text} " " <Sources places=rule.shown_by/>
            </li>
        }
    };
    view! {
        <section aria-labelledby="rules">
            <h2 id="rules">"Eight rules"</h2>
            <ol class="rules" data-test="rules">{RULES.iter().map(rule).collect_view()}</ol>
        </section>
    }
}

#[component]
pub fn Neither() -> impl IntoView {
    let alternative = |one: &'static Alternative| {
        view! {
            <div>
                <dt>{one.name}</dt>
                <dd>{one.text} " " <Sources places=one.shown_by/></dd>
            </div>
        }
    };
    view! {
        <section aria-labelledby="neither">
            <h2 id="neither">"When neither"</h2>
            <dl class="alternatives" data-test="alternatives">{ALTERNATIVES.iter().map(alternative).collect_view()}</dl>
        </section>
    }
}

#[component]
pub fn WhyCrdt() -> impl IntoView {
    view! {
        <section class="prose" aria-labelledby="crdt" data-test="crdt">
            <h2 id="crdt">"Why a CRDT and not operational transformation"</h2>
            <p>
                "With operational transformation an edit says \u{201c}at place 17\u{201d}, and somebody has to move the 17 for every edit that came "
                "first. That takes one server that puts all edits in order, and a transformation that is right for every pair of them, also for "
                "those that were made offline."
            </p>
            <p>
                "In a CRDT each character has an identity, and an edit names its neighbours. Edits can be applied in any order, twice, or after "
                "days, on any server, and everybody ends with the same text. A socket that was cut needs no replay in order: both sides say what "
                "they have, and exchange the rest. What it costs: deleted characters leave a trace, a document weighs more than its text, and "
                "a server that takes binary updates from strangers has to check them first. "
                <Sources places=&CRDT/>
            </p>
        </section>
    }
}
