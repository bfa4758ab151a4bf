//! Percent-encodes request headers, so that any code can read them as text.
//!
//! A header may hold bytes beyond ASCII (RFC 9110 section 5.5, `obs-text`): a cookie that a script of the page set, the
//! address of a page in `Referer`, what a client put into `X-Forwarded-For` before the proxy added its entry. The usual
//! way to read a header, `to_str().ok()`, treats such a value as absent, with everything else in it: the session's
//! cookie beside a foreign one, the proxy's entry beside a forged one.

use axum::{extract::Request, http::HeaderValue};

/// Percent-encodes all bytes beyond visible ASCII, once, before any route, layer or library reads a header.
pub async fn in_ascii(mut request: Request) -> Request {
    for value in request.headers_mut().values_mut() {
        if value.to_str().is_err()
            && let Ok(encoded) = HeaderValue::from_str(&percent_encoded(value.as_bytes()))
        {
            *value = encoded;
        }
    }
    request
}

fn percent_encoded(bytes: &[u8]) -> String {
    let encode = |byte: &u8| match byte {
        b'\t' | b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::header};

    use super::*;

    #[tokio::test]
    async fn what_is_ascii_stays_and_the_rest_is_percent_encoded() {
        let request = Request::builder()
            .header(header::COOKIE, "stadt=Köln; a=b".as_bytes())
            .header(header::COOKIE, &b"latin=K\xF6ln"[..])
            .header(header::ACCEPT, "text/html;\tq=1")
            .body(Body::empty())
            .unwrap();
        let request = in_ascii(request).await;
        let all = |name| {
            let values = request.headers().get_all(name).into_iter();
            values
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            all(header::COOKIE),
            ["stadt=K%C3%B6ln; a=b", "latin=K%F6ln"]
        );
        assert_eq!(all(header::ACCEPT), ["text/html;\tq=1"]);
    }
}
