//! Serves the files of the site root: precompressed, with an ETag, and cached for ever only where that is right.
//!
//! `tools/site.mjs` names the files of a release after their content. Other builds have names that stay while the bytes
//! change. The header `immutable` is therefore sent only where the hash in the name is the hash of the bytes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use md5::{Digest, Md5};
use tower::ServiceExt;
use tower_http::services::ServeDir;

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("public, no-cache");

/// Serves the files. Cheap to clone.
#[derive(Clone)]
pub struct Assets {
    root: Arc<Path>,
    files: ServeDir,
    /// Hashes by path. A file is hashed again when it has changed (as it does under `cargo leptos watch`).
    known: Arc<Mutex<HashMap<PathBuf, HashedFile>>>,
}

#[derive(Clone)]
struct HashedFile {
    modified: SystemTime,
    hash: String,
}

impl Assets {
    pub fn new(root: PathBuf) -> Self {
        let files = ServeDir::new(&root)
            .precompressed_br()
            .precompressed_gzip()
            .append_index_html_on_directories(false);
        Self {
            root: root.into(),
            files,
            known: Arc::default(),
        }
    }

    /// The base64 MD5 of a file, as `tools/site.mjs` computes it for file names; `None` when there is no such file.
    async fn hash(&self, path: &str) -> Option<String> {
        let path = self.root.join(path.trim_start_matches('/'));
        let metadata = tokio::fs::metadata(&path)
            .await
            .ok()
            .filter(|metadata| metadata.is_file())?;
        let modified = metadata.modified().ok()?;
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&path)
            .cloned();
        if let Some(known) = known.filter(|known| known.modified == modified) {
            return Some(known.hash);
        }
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Md5::digest(tokio::fs::read(&path).await.ok()?));
        let known = HashedFile {
            modified,
            hash: hash.clone(),
        };
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path, known);
        Some(hash)
    }

    async fn serve(&self, request: Request, hash: &str) -> Response {
        let path = request.uri().path().to_owned();
        // A weak ETag, because the same entity is sent in several encodings.
        let etag = format!("W/\"{hash}\"");
        let cache = if is_named_by(&path, hash) {
            IMMUTABLE
        } else {
            REVALIDATE
        };
        let mut response = if matches_etag(request.headers(), &etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.files
                .clone()
                .oneshot(request)
                .await
                .into_response()
                .map(Body::new)
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, cache);
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

/// Answers with a file of the site root, or else passes the request on. This layer comes before everything that depends
/// on the user, because shared caches may keep a file.
pub async fn files_first(State(assets): State<Assets>, request: Request, next: Next) -> Response {
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    let hash = match request.uri().path() {
        path if readable && is_public(path) => assets.hash(path).await,
        _ => None,
    };
    match hash {
        Some(hash) => assets.serve(request, &hash).await,
        None => next.run(request).await,
    }
}

/// Whether a path may name a file: no parent folders, no hidden files, and not `hash.txt`, which is the build's own.
fn is_public(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    let plain = parts.all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('%'));
    plain && !path.starts_with("//") && path != "/hash.txt"
}

/// Whether the file name contains the hash as a part of its own: `wirewise.HASH.wasm`.
fn is_named_by(path: &str, hash: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| {
        name.split('.')
            .any(|part| part == hash || part.ends_with(&format!("_{hash}")))
    })
}

/// Matches `If-None-Match` (RFC 9110 section 13.1.2): a list of tags, compared weakly, or a star.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = headers
        .get_all(header::IF_NONE_MATCH)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_contains_the_hash_is_immutable() {
        assert!(is_named_by("/pkg/wirewise.abc-_1.wasm", "abc-_1"));
        assert!(!is_named_by("/pkg/wirewise.other.wasm", "abc-_1"));
        assert!(!is_named_by("/favicon.svg", "abc-_1"));
        assert!(!is_named_by("/abc-_1/wirewise.js", "abc-_1"));
    }

    #[test]
    fn only_plain_paths_name_files() {
        assert!(is_public("/favicon.svg") && is_public("/pkg/wirewise.a.js"));
        for path in [
            "/",
            "/hash.txt",
            "//hash.txt",
            "/./hash.txt",
            "/a/../hash.txt",
            "/.env",
            "/pkg/%68",
            "/pkg//a",
        ] {
            assert!(!is_public(path), "{path}");
        }
    }

    #[test]
    fn etags_compare_weakly_and_in_lists() {
        let matches = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            matches_etag(&headers, "W/\"x\"")
        };
        assert!(
            matches("\"x\"") && matches("W/\"x\"") && matches("\"a\", W/\"x\"") && matches("*")
        );
        assert!(!matches("\"xy\"") && !matches(""));
    }
}
