//! The section with seven cases: the transport, the reason, the cost of a lost message, and the page that shows the
//! pattern.

use leptos::prelude::*;

use super::source::{Source, Sources, source};

pub struct Recommendation {
    case: &'static str,
    transport: &'static str,
    reason: &'static str,
    lost: &'static str,
    /// The page that shows something of the kind.
    page: &'static str,
    pub shown_by: &'static [Source],
}

pub static RECOMMENDATIONS: [Recommendation; 7] = [
    Recommendation {
        case: "Chat",
        transport: "WebSocket",
        reason: "Everybody speaks at any time; one order for all, and an acknowledgement for each message.",
        lost: "A sentence that nobody answers. So it waits in an outbox, is kept in a log, and goes again under the same id.",
        page: "/chat",
        shown_by: &[
            source("src/chat/server/log.rs", ""),
            source(
                "src/tests/durable.rs",
                "kill_9_loses_nothing_that_was_acknowledged",
            ),
        ],
    },
    Recommendation {
        case: "Stock ticker",
        transport: "SSE",
        reason: "Only the server speaks, to many, and the latest price wins.",
        lost: "Nothing, once the next price is there. What was missed is replayed while it is held; later a snapshot mends it.",
        page: "/ticker",
        shown_by: &[
            source("src/ticker/server/mod.rs", "pub fn publish"),
            source("realtime/src/server/topic.rs", "LatestPerKey"),
        ],
    },
    Recommendation {
        case: "Game",
        transport: "WebSocket",
        reason: "Small messages both ways many times a second. WebTransport where a lost packet must not hold up the next.",
        lost: "Nothing: the next place replaces it. A late one is worse than none, so only the newest is sent.",
        page: "/collab",
        shown_by: &[
            source("realtime/src/server/queue.rs", "pub fn push_volatile"),
            source(
                "src/tests/collab.rs",
                "a_thousand_moves_are_not_counted_against_the_rate_and_come_conflated",
            ),
        ],
    },
    Recommendation {
        case: "Mail notification",
        transport: "SSE",
        reason: "A few words now and then, one way. The browser reconnects by itself and says what it saw last.",
        lost: "A mail that is seen late; it is in the mailbox all the same. The resume brings the notice.",
        page: "/ticker",
        shown_by: &[
            source("realtime/src/server/sse.rs", "struct ResumeFrom"),
            source(
                "end2end/acceptance/native-event-source.spec.ts",
                "the browser comes back by itself and resumes without gap or duplicate",
            ),
        ],
    },
    Recommendation {
        case: "Monitoring",
        transport: "SSE",
        reason: "Many values, one way, read at the pace of whoever looks. The same stream feeds curl and scripts.",
        lost: "A point of a curve costs nothing; an alarm costs an outage. So curves are conflated, and alarms replayed.",
        page: "/#live",
        shown_by: &[
            source("src/home/page/measurement.rs", "fn figures"),
            source(
                "src/tests/slow_readers.rs",
                "a_reader_that_wakes_reads_little_old_news_and_then_the_newest_prices",
            ),
            source(
                "end2end/acceptance/third-party.spec.ts",
                "curl reads the stream",
            ),
        ],
    },
    Recommendation {
        case: "Collaborative editing",
        transport: "WebSocket",
        reason: "Every key goes out and comes in, in binary, and pointers beside it.",
        lost: "Two people would read different texts. So both sides say what they have, and exchange the difference.",
        page: "/collab",
        shown_by: &[
            source("src/collab/protocol.rs", ""),
            source(
                "src/collab/server/convergence_tests.rs",
                "everybody_ends_with_the_same_text_whatever_is_lost_doubled_or_late",
            ),
        ],
    },
    Recommendation {
        case: "Progress of a task",
        transport: "SSE",
        reason: "The task speaks, everybody watches, and there is an end. Cancelling is an ordinary request.",
        lost: "A step costs nothing, the next one says more. The end must not be lost: it is told to whoever comes later, too.",
        page: "/progress",
        shown_by: &[
            source("src/progress/server/job.rs", ""),
            source(
                "src/tests/progress.rs",
                "a_watcher_that_is_cut_at_every_event_misses_nothing",
            ),
        ],
    },
];

const REASON: &str = "Reason";
const LOST: &str = "A lost message costs";

#[component]
pub fn Recommendations() -> impl IntoView {
    let row = |row: &'static Recommendation| {
        view! {
            <tr>
                <th scope="row">{row.case}</th>
                <td><span class="badge" data-transport=row.transport>{row.transport}</span></td>
                <td data-label=REASON>{row.reason}</td>
                <td data-label=LOST>{row.lost}</td>
                <td class="sources"><a href=row.page>{row.page}</a> <Sources places=row.shown_by/></td>
            </tr>
        }
    };
    view! {
        <section aria-labelledby="recommendations">
            <h2 id="recommendations">"What to take for what"</h2>
            <div class="table-wrap">
                <table class="guide-table" data-test="recommendations">
                    <thead>
                        <tr><th scope="col">"Case"</th><th scope="col">"Transport"</th><th scope="col">{REASON}</th><th scope="col">{LOST}</th><th scope="col">"Shown by"</th></tr>
                    </thead>
                    <tbody>{RECOMMENDATIONS.iter().map(row).collect_view()}</tbody>
                </table>
            </div>
        </section>
    }
}
