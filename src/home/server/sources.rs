//! Serves the source that the guide links to, embedded in the binary: the files in `src` of both crates and in `deploy`,
//! and of the browser tests those in `end2end/acceptance` and `end2end/fixtures`.

use include_dir::{Dir, include_dir};

/// Folders of the repository whose files are served. A link into any other folder fails a test.
static FOLDERS: [(&str, Dir<'static>); 5] = [
    ("src", include_dir!("$CARGO_MANIFEST_DIR/src")),
    (
        "realtime/src",
        include_dir!("$CARGO_MANIFEST_DIR/realtime/src"),
    ),
    ("deploy", include_dir!("$CARGO_MANIFEST_DIR/deploy")),
    (
        "end2end/acceptance",
        include_dir!("$CARGO_MANIFEST_DIR/end2end/acceptance"),
    ),
    (
        "end2end/fixtures",
        include_dir!("$CARGO_MANIFEST_DIR/end2end/fixtures"),
    ),
];

/// The text of a file, by its path from the root of the repository.
pub fn text(path: &str) -> Option<&'static str> {
    FOLDERS.iter().find_map(|(folder, files)| {
        let path = path.strip_prefix(folder)?.strip_prefix('/')?;
        files.get_file(path)?.contents_utf8()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::server::texts::{
        MEASURED_BY,
        comparison::ROWS,
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
        let sections = [CRDT.as_slice(), &MEASURED_BY];
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
            let found = text(path).unwrap_or_else(|| panic!("{path} is not served"));
            assert!(stands_in(wanted, found), "{wanted:?} is not in {path}");
        }
    }

    #[test]
    fn every_row_and_every_case_is_shown_by_something() {
        assert!(ROWS.iter().all(|row| !row.shown_by.is_empty()));
        assert!(RECOMMENDATIONS.iter().all(|case| !case.shown_by.is_empty()));
        assert!(RULES.iter().all(|rule| !rule.shown_by.is_empty()));
    }
}
