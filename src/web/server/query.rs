//! Corrects or refuses the query of an API request before any handler reads it.
//!
//! The rule: a known parameter counts in any spelling ([`Spelling::Same`]). A name that is near a known one is refused
//! with a sentence, since it would otherwise be ignored silently. Any other (`_=123`, `utm_source`) is ignored. A known
//! parameter may be given once.

use axum::{
    extract::Request,
    http::{Uri, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::web::{
    error::ApiError,
    parameters::{Spelling, spelling},
};

/// All parameters that any route takes; docs/protocol.md lists them.
const KNOWN: [&str; 11] = [
    "symbols",
    "added",
    LAST_EVENT_ID,
    "ticket",
    "before",
    "limit",
    "q",
    "readonly",
    "id",
    "size",
    "note",
];
/// May be given more than once: a position is never an error, and libraries add theirs to an address that may have one.
/// The last one counts.
const LAST_EVENT_ID: &str = "last_event_id";
/// May be given more than once: of several tickets the first that is valid counts, as with cookies; one that a library
/// repeats is used up.
const TICKET: &str = "ticket";

/// Replaces the names by the known ones, or refuses what is mistyped or given twice.
pub async fn spell(mut request: Request, next: Next) -> Response {
    match spelt(request.uri()) {
        Ok(None) => {}
        Ok(Some(uri)) => *request.uri_mut() = uri,
        Err(error) => return error.into_response(),
    }
    next.run(request).await
}

/// The address with known names; `None` if it has them already.
fn spelt(uri: &Uri) -> Result<Option<Uri>, ApiError> {
    let Some(query) = uri.query() else {
        return Ok(None);
    };
    let mut pairs: Vec<(&str, &str)> = vec![];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (written, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = known(&decoded(written))?.unwrap_or(written);
        if KNOWN.contains(&name)
            && name != TICKET
            && let Some(place) = pairs.iter().position(|(known, _)| *known == name)
        {
            if name != LAST_EVENT_ID {
                return Err(twice(name));
            }
            pairs.remove(place);
        }
        pairs.push((name, value));
    }
    let spelt: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let spelt = spelt.join("&");
    if spelt == query {
        return Ok(None);
    }
    let mut parts = uri.clone().into_parts();
    // The parts are those of a valid address. If they do not make one together, the address stays as it was.
    parts.path_and_query = PathAndQuery::try_from(format!("{}?{spelt}", uri.path())).ok();
    Ok(Uri::from_parts(parts).ok())
}

/// The known name that is meant; `None` if none is.
fn known(name: &str) -> Result<Option<&'static str>, ApiError> {
    let find = |wanted| {
        KNOWN
            .into_iter()
            .find(|known| spelling(name, known) == wanted)
    };
    if let Some(meant) = find(Spelling::Same) {
        return Ok(Some(meant));
    }
    match find(Spelling::Mistyped) {
        None => Ok(None),
        Some(near) => Err(ApiError {
            field: Some(name.to_owned()),
            ..ApiError::new(
                400,
                format!(
                    "There is no query parameter \"{name}\". Did you mean \"{near}\"? Known are {}.",
                    KNOWN.join(", ")
                ),
            )
        }),
    }
}

fn twice(name: &str) -> ApiError {
    ApiError {
        field: Some(name.to_owned()),
        ..ApiError::new(
            400,
            format!(
                "The query's \"{name}\" is given more than once. Give it once; several values are separated by commas."
            ),
        )
    }
}

/// Percent-decodes the ASCII characters of a name. Known names are ASCII, so that the rest may stay encoded.
fn decoded(name: &str) -> String {
    let mut pieces = name.split('%');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let byte = piece
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                decoded.push(byte.into());
                decoded.push_str(&piece[2..]);
            }
            None => {
                decoded.push('%');
                decoded.push_str(piece);
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt_query(query: &str) -> Result<String, String> {
        let uri: Uri = format!("/api/ticker/events?{query}").parse().unwrap();
        let spelt = spelt(&uri).map_err(|error| error.error)?;
        Ok(spelt.unwrap_or(uri).query().unwrap_or_default().to_owned())
    }

    #[test]
    fn known_names_count_in_any_spelling_and_foreign_ones_stay() {
        for (query, expected) in [
            ("symbols=ACME,INIT&_=123", "symbols=ACME,INIT&_=123"),
            ("symbols[]=ACME", "symbols=ACME"),
            (
                "symbols%5B%5D=ACME&utm_source=a",
                "symbols=ACME&utm_source=a",
            ),
            ("%53ymbols=ACME%2CINIT", "symbols=ACME%2CINIT"),
            ("ReadOnly=1&v", "readonly=1&v="),
            ("last_event_id=a-1&lastEventId=a-2", "last_event_id=a-2"),
            ("%zz=1&%=2&%C3%A9=3", "%zz=1&%=2&%C3%A9=3"),
            ("t=1&t=2", "t=1&t=2"),
            ("", ""),
        ] {
            assert_eq!(spelt_query(query).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_is_mistyped_or_given_twice_is_refused_in_words() {
        for (query, needle) in [
            ("symbol=ACME", "Did you mean \"symbols\"?"),
            ("limits=5", "Did you mean \"limit\"?"),
            ("readonyl=1", "Did you mean \"readonly\"?"),
            ("symbols=A&symbols=B", "\"symbols\" is given more than once"),
            (
                "symbols[]=A&symbols[]=B",
                "\"symbols\" is given more than once",
            ),
            ("limit=1&LIMIT=1", "\"limit\" is given more than once"),
        ] {
            let error = spelt_query(query).unwrap_err();
            assert!(error.contains(needle), "{query}: {error}");
        }
    }
}
