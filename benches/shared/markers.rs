//! Tables that a program writes into a document, between two markers.

use std::{fs, path::Path};

/// Replaces what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in a document of the repository.
pub fn write(document: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let before = fs::read_to_string(&path).unwrap();
    let after = replaced(&before, name, text).expect("the document has both markers");
    fs::write(path, after).unwrap();
}

fn replaced(document: &str, name: &str, text: &str) -> Option<String> {
    let [begin, end] = ["begin", "end"].map(|end| format!("<!-- {name}: {end} -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        text.trim()
    ))
}
