//! Compares the texts of a document at the end with what its writers typed. A text consists of tokens in brackets, each of
//! which somebody typed once, at a place between two others.

use std::collections::{HashMap, HashSet};

/// What one writer typed.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// The tokens that have to stand in every text, once.
    pub kept: Vec<String>,
    /// Those that it removed again.
    pub removed: Vec<String>,
    /// Those that may stand there or not: the writer left before it was told that they are saved.
    pub doubtful: Vec<String>,
}

/// What is wrong with the texts, each of which has the name of the place where it was read.
pub fn check(typed: &[Typed], texts: &[(String, String)]) -> Vec<String> {
    let mut found = vec![];
    let Some((first, expected)) = texts.first() else {
        return vec!["there is no text".into()];
    };
    found.extend(check_text(typed, expected).map(|what| format!("at {first}: {what}")));
    for (place, text) in &texts[1..] {
        // One difference is enough to say that a text is not the same.
        if text != expected {
            let what = check_text(typed, text).next();
            let what = what.unwrap_or_else(|| "another order".into());
            found.push(format!(
                "the text at {place} is not that at {first}: {what}"
            ));
        }
    }
    found
}

fn check_text<'a>(typed: &'a [Typed], text: &'a str) -> impl Iterator<Item = String> + use<'a> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for token in tokens(text) {
        *counts.entry(token).or_default() += 1;
    }
    let known: HashSet<&str> = typed
        .iter()
        .flat_map(|typed| [&typed.kept, &typed.removed, &typed.doubtful])
        .flatten()
        .map(String::as_str)
        .collect();
    let unknown: Vec<_> = counts
        .keys()
        .filter(|token| !known.contains(**token))
        .map(|token| format!("nobody typed {token:?}"))
        .collect();
    let stands = move |tokens: &'a [String], right: fn(usize) -> bool| {
        let counts = counts.clone();
        tokens.iter().filter_map(move |token| {
            let count = counts.get(token.as_str()).copied().unwrap_or_default();
            (!right(count)).then(|| format!("{token} stands there {count} times"))
        })
    };
    let wrong = typed.iter().flat_map(move |typed| {
        stands(&typed.kept, |count| count == 1)
            .chain(stands(&typed.removed, |count| count == 0))
            .chain(stands(&typed.doubtful, |count| count <= 1))
    });
    unknown.into_iter().chain(wrong)
}

/// The tokens of a text with their brackets. What stands between them is a token too, which nobody typed.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(']')
}
