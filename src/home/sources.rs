//! The source files that the guide links to, taken into the binary: a file that is gone fails the build.

/// Path and text of each.
macro_rules! files {
    ($($path:literal,)*) => {
        [$(($path, include_str!(concat!("../../", $path))),)*]
    };
}

static FILES: [(&str, &str); 52] = files![
    "end2end/acceptance/collab-interop.spec.ts",
    "end2end/acceptance/native-event-source.spec.ts",
    "end2end/acceptance/proxy.spec.ts",
    "end2end/acceptance/third-party.spec.ts",
    "end2end/acceptance/ticker-tabs.spec.ts",
    "end2end/fixtures/native-event-source.html",
    "src/api/origin.rs",
    "src/chat/log.rs",
    "src/collab/convergence.rs",
    "src/collab/document.rs",
    "src/collab/document_tests.rs",
    "src/collab/message.rs",
    "src/collab/protocol.rs",
    "src/first_state.rs",
    "src/home/feed.rs",
    "src/realtime/framing.rs",
    "src/home/lane.rs",
    "src/home/live.rs",
    "src/progress/job.rs",
    "src/progress/page/panel.rs",
    "src/progress/race/mod.rs",
    "src/progress/server.rs",
    "src/realtime/backoff.rs",
    "src/realtime/client/event_source.rs",
    "src/realtime/client/outbox.rs",
    "src/realtime/client/probe.rs",
    "src/realtime/client/shared_stream.rs",
    "src/realtime/client/socket.rs",
    "src/realtime/close.rs",
    "src/realtime/contract.rs",
    "src/realtime/event_parser.rs",
    "src/realtime/server/queue.rs",
    "src/realtime/server/socket.rs",
    "src/realtime/server/socket_tests.rs",
    "src/realtime/server/sse.rs",
    "src/realtime/server/sse_tests.rs",
    "src/realtime/server/topic.rs",
    "src/realtime/server/upgrade.rs",
    "src/realtime/sharing.rs",
    "src/realtime/status.rs",
    "src/session/credentials.rs",
    "src/settings.rs",
    "src/tests/chat.rs",
    "src/tests/collab.rs",
    "src/tests/compare.rs",
    "src/tests/durable.rs",
    "src/tests/progress.rs",
    "src/tests/race.rs",
    "src/tests/sessions.rs",
    "src/tests/slow_readers.rs",
    "src/tests/ticker.rs",
    "src/ticker/server.rs",
];

/// The text of a file that is linked to.
pub fn text(path: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(name, _)| *name == path);
    found.map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{
        comparison::ROWS,
        live,
        recommendations::RECOMMENDATIONS,
        rules::{ALTERNATIVES, CRDT, RULES},
        source::Source,
    };

    /// Every link of the guide.
    fn links() -> Vec<Source> {
        let rows = ROWS.iter().map(|row| row.shown_by);
        let cases = RECOMMENDATIONS.iter().map(|case| case.shown_by);
        let rules = RULES.iter().map(|rule| rule.shown_by);
        let alternatives = ALTERNATIVES.iter().map(|one| one.shown_by);
        let sections = [CRDT.as_slice(), &live::SHOWN_BY];
        let all = rows.chain(cases).chain(rules).chain(alternatives);
        all.chain(sections).flatten().copied().collect()
    }

    /// A text fragment finds whole words only.
    fn stands_in(wanted: &str, text: &str) -> bool {
        let part_of_word = |it: char| it.is_alphanumeric() || it == '_';
        text.match_indices(wanted).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + wanted.len()..]);
            !before.ends_with(part_of_word) && !after.starts_with(part_of_word)
        })
    }

    #[test]
    fn every_link_leads_to_a_file_that_is_served_and_to_a_text_that_is_in_it() {
        for Source { path, text: wanted } in links() {
            let found = text(path).unwrap_or_else(|| panic!("{path} is not in the list"));
            assert!(stands_in(wanted, found), "{wanted:?} is not in {path}");
        }
    }

    #[test]
    fn no_file_is_served_in_vain() {
        for (path, _) in FILES {
            let linked = links().iter().any(|link| link.path == path);
            assert!(linked, "nothing links to {path}");
        }
    }

    #[test]
    fn every_row_and_every_case_is_shown_by_something() {
        assert!(ROWS.iter().all(|row| !row.shown_by.is_empty()));
        assert!(RECOMMENDATIONS.iter().all(|case| !case.shown_by.is_empty()));
        assert!(RULES.iter().all(|rule| !rule.shown_by.is_empty()));
    }
}
