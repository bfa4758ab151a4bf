//! The section that compares the two transports, property by property.

use leptos::prelude::*;

use super::source::{Source, Sources, source};

pub struct Row {
    property: &'static str,
    events: &'static str,
    socket: &'static str,
    pub shown_by: &'static [Source],
}

pub static ROWS: [Row; 17] = [
    Row {
        property: "Direction",
        events: "Server to browser. What the browser has to say goes in ordinary requests, each with a status of its own.",
        socket: "Both ways at once on one connection, each way in the order of sending.",
        shown_by: &[
            source("realtime/src/contract.rs", "pub trait StreamContract"),
            source("realtime/src/contract.rs", "pub trait SocketContract"),
        ],
    },
    Row {
        property: "Protocol",
        events: "HTTP: a response of type text/event-stream that does not end (WHATWG HTML, section 9.2). HTTP/1.1, 2 and 3 carry it alike.",
        socket: "A protocol of its own (RFC 6455) on a connection that began as HTTP: frames, control frames, a closing handshake.",
        shown_by: &[
            source("realtime/src/server/frame.rs", "pub fn frame"),
            source("realtime/src/server/socket.rs", "async fn run"),
        ],
    },
    Row {
        property: "Opening",
        events: "A GET, answered with 200 and the type. Any other status or type ends the EventSource for good, and script cannot see which it was; the kit asks once more by fetch, to find out.",
        socket: "A GET with Upgrade: websocket and a random key, answered with 101 and a hash of that key; over HTTP/2 an extended CONNECT (RFC 8441). Whatever refuses it, script sees 1006; so this server accepts, then closes with a code that says why.",
        shown_by: &[
            source(
                "realtime/src/client/platform/browser/requests.rs",
                "async fn why_refused",
            ),
            source("realtime/src/server/upgrade.rs", "pub struct SocketRequest"),
            source(
                "src/tests/sessions.rs",
                "a_socket_takes_cookie_bearer_and_ticket_and_closes_none_with_4001",
            ),
        ],
    },
    Row {
        property: "End",
        events: "The browser calls close(). The server can only end the response, which looks like a lost connection: the browser comes back, and only then 204 tells it to stay away.",
        socket: "Either side sends a Close frame with a code and up to 123 bytes of reason, and the other one answers it. Without one it is 1006: lost.",
        shown_by: &[
            source(
                "src/tests/progress.rs",
                "a_job_is_watched_to_its_one_end_and_then_the_stream_answers_204",
            ),
            source("realtime/src/close.rs", "pub enum CloseCode"),
        ],
    },
    Row {
        property: "Reconnect",
        events: "Built in: after a few seconds, or what retry: says, it asks again and sends Last-Event-ID. What was missed the server must still hold. The kit does it itself instead: with delays that double, drawn at random.",
        socket: "Yours to build: the delay, the position, the replay, and what was sent but never acknowledged.",
        shown_by: &[
            source("realtime/src/backoff.rs", "pub fn delay_ms"),
            source(
                "src/tests/ticker.rs",
                "resuming_while_prices_run_leaves_no_gap_and_no_duplicate",
            ),
            source(
                "src/tests/chat.rs",
                "a_member_who_comes_back_gets_exactly_what_was_missed",
            ),
        ],
    },
    Row {
        property: "Silent death",
        events: "A line that died without a word looks like a server with no news. Comments keep proxies awake, but script does not see them: the heartbeat has to be an event, and somebody has to check it.",
        socket: "The protocol's Ping and Pong are invisible to script as well. The page sends a ping message of its own, and measures the round trip by it.",
        shown_by: &[
            source("realtime/src/status.rs", "MISSED_BEATS"),
            source("realtime/src/status.rs", "PONG_MS"),
            source(
                "end2end/acceptance/proxy.spec.ts",
                "an event stream that falls silent is replaced",
            ),
        ],
    },
    Row {
        property: "Data",
        events: "UTF-8 text in lines: id, event, data, retry. A line break within data takes one more data line, and a client joins the lines: the bytes above hold such an event.",
        socket: "Messages, text (UTF-8) or binary, of any length. The server has to bound it: tungstenite by itself takes 64 MiB.",
        shown_by: &[
            source(
                "realtime/src/server/sse_tests.rs",
                "any_event_split_anywhere_is_read_back_as_it_was",
            ),
            source("realtime/src/event_parser.rs", "fn next_event"),
            source(
                "realtime/src/server/socket_tests.rs",
                "a_text_of_64_kib_is_taken_and_one_byte_more_is_1009",
            ),
        ],
    },
    Row {
        property: "Binary",
        events: "Not at all. In base64 three bytes become four: a third more on the wire, and a string to decode on arrival.",
        socket: "As it is. Text and binary messages share a connection and stay in order.",
        shown_by: &[
            source("src/collab/message.rs", "A state vector in base64"),
            source("src/collab/protocol.rs", "pub fn decode"),
        ],
    },
    Row {
        property: "Bytes around a message",
        events: "The event's lines and the length of its chunk: about 50 in the live comparison above, and hardly more for longer data.",
        socket: "2 bytes up to a payload of 125, 4 up to 65,535, then 10; 4 more from the browser, for the mask.",
        shown_by: &[
            source("src/inspector/framing.rs", "pub fn event_overhead"),
            source(
                "src/tests/compare.rs",
                "the_framing_that_the_page_shows_is_what_is_on_the_wire",
            ),
        ],
    },
    Row {
        property: "Credentials",
        events: "Cookies. EventSource cannot set a header, so programs use a bearer token and strangers a one-time ticket in the address.",
        socket: "Cookies, and no header either. It is exempt from CORS: the server itself must check Origin, or wherever the cookie is sent along (SameSite=None, or a sibling host) another site can open a socket as the visitor.",
        shown_by: &[
            source("src/web/server/cookies.rs", "pub fn carries_credentials"),
            source("src/guard/origin.rs", "fn is_sensitive"),
        ],
    },
    Row {
        property: "Browsers",
        events: "All of today's: Chrome 6, Firefox 6, Safari 5, Edge 79 (2020). Never Internet Explorer.",
        socket: "All of today's: Chrome 16, Firefox 11, Safari 6, Edge 12, Internet Explorer 10 (2012).",
        shown_by: &[
            source(
                "end2end/acceptance/native-event-source.spec.ts",
                "the browser comes back by itself and resumes without gap or duplicate",
            ),
            source(
                "end2end/acceptance/third-party.spec.ts",
                "curl reads the stream",
            ),
        ],
    },
    Row {
        property: "Connections a browser opens",
        events: "Over HTTP/1.1 six to a host, for all tabs together: the seventh tab waits for ever. Over HTTP/2 they are streams of one connection, usually a hundred. Here the tabs share one stream.",
        socket: "Counted apart from the six: 255 to a host in Chromium, 200 in all in Firefox.",
        shown_by: &[
            source("realtime/src/sharing.rs", ""),
            source(
                "end2end/acceptance/ticker-tabs.spec.ts",
                "ten tabs share one stream",
            ),
        ],
    },
    Row {
        property: "Proxies",
        events: "It is HTTP and goes wherever HTTP goes, unless a proxy collects the response before it hands it on. X-Accel-Buffering: no asks nginx not to, other proxies have a switch of their own, and Cache-Control: no-transform keeps all from compressing it. nginx closes what is silent for 60 s.",
        socket: "Each proxy must hand on the upgrade: nginx wants HTTP/1.1 and both headers said by hand, and closes after 60 s as well. Inspecting middleboxes break it more often than a plain response; TLS takes it past most.",
        shown_by: &[
            source("realtime/src/server/sse.rs", "x-accel-buffering"),
            source(
                "src/tests/ticker.rs",
                "a_client_that_asks_for_compression_gets_none_on_a_stream",
            ),
            source("realtime/src/server/upgrade.rs", ""),
            source("deploy/nginx.conf", "proxy_read_timeout"),
            source("deploy/Caddyfile", ""),
        ],
    },
    Row {
        property: "NAT and firewalls",
        events: "One outgoing TCP connection, so both pass. But a mapping that carries nothing is forgotten: RFC 5382 asks for two hours and more, phones' networks may take minutes, and neither end is told. A heartbeat every 15 s keeps it.",
        socket: "The same. Here the server pings every 25 s, the page every 30 s, and 60 s without a word end it.",
        shown_by: &[
            source("src/settings.rs", "pub heartbeat_ms"),
            source("src/settings.rs", "pub idle_ms"),
            source(
                "end2end/acceptance/proxy.spec.ts",
                "a socket that falls silent is replaced",
            ),
        ],
    },
    Row {
        property: "A slow reader",
        events: "The stream is pulled: whoever reads slowly gets the newest value of each key, or resumes. A thousand messages behind cost the server one number.",
        socket: "Messages queue for each socket. The queue needs a bound in bytes, and an answer for when it is full: here close 4100, then a resume.",
        shown_by: &[
            source(
                "src/tests/slow_readers.rs",
                "a_reader_that_stops_for_a_minute_of_a_thousand_prices_a_second_costs_at_most_64_kib",
            ),
            source(
                "realtime/src/server/queue.rs",
                "past_the_bound_the_socket_closes_as_too_slow",
            ),
        ],
    },
    Row {
        property: "Cost to the server",
        events: "A write to each subscriber: an event is encoded once, its bytes are shared, and events that wait leave together. An idle connection is two small buffers and a place in a topic.",
        socket: "The same, with a queue for each socket beside it. Neither is the reason to choose one: race them on this very server, over its own listener.",
        shown_by: &[
            source("src/progress/server/tasks/race/mod.rs", ""),
            source(
                "src/tests/race.rs",
                "a_burst_delivers_everything_over_both_transports_in_order",
            ),
        ],
    },
    Row {
        property: "Cost to you",
        events: "Ten lines on the server, three in the browser, and every tool that reads HTTP can look at it. Resume takes a history, with either.",
        socket: "All that stands above: heartbeat, reconnect, resume, acknowledgements, a bounded queue, close codes, the check of Origin.",
        shown_by: &[
            source("realtime/src/client/use_event_source.rs", ""),
            source("realtime/src/client/use_socket.rs", ""),
            source("realtime/src/client/outbox.rs", ""),
        ],
    },
];

const EVENTS: &str = "Server-Sent Events";
const SOCKET: &str = "WebSocket";

#[component]
pub fn Comparison() -> impl IntoView {
    let row = |row: &'static Row| {
        view! {
            <tr>
                <th scope="row">{row.property}</th>
                <td data-label=EVENTS>{row.events}</td>
                <td data-label=SOCKET>{row.socket}</td>
                <td class="sources"><Sources places=row.shown_by/></td>
            </tr>
        }
    };
    view! {
        <section aria-labelledby="comparison">
            <h2 id="comparison">"Property by property"</h2>
            <div class="table-wrap">
                <table class="guide-table" data-test="comparison">
                    <thead>
                        <tr><th scope="col">"Property"</th><th scope="col">{EVENTS}</th><th scope="col">{SOCKET}</th><th scope="col">"Shown by"</th></tr>
                    </thead>
                    <tbody>{ROWS.iter().map(row).collect_view()}</tbody>
                </table>
            </div>
        </section>
    }
}
