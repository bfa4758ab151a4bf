//! The theme of a request, and the route that the switch posts to if no script runs.

use axum::{
    Extension, Form, Router,
    extract::rejection::FormRejection,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;

use super::{COOKIE, THEME_ROUTE, THEME_RULE, Theme};
use crate::web::{
    error::ApiError,
    server::{
        answer::{back_to_form, wants_page},
        caller::Caller,
        cookies::cookies,
    },
};

/// The theme in the cookie; without a valid one, the system's.
pub fn theme_of(headers: &HeaderMap) -> Theme {
    cookies(headers, COOKIE)
        .find_map(|word| Theme::from_word(&word))
        .unwrap_or_default()
}

pub fn routes() -> Router {
    Router::new().route(THEME_ROUTE, post(choose))
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    theme: String,
}

async fn choose(
    caller: Extension<Caller>,
    headers: HeaderMap,
    form: Result<Form<Choice>, FormRejection>,
) -> Result<Response, ApiError> {
    let form = form
        .map_err(|rejection| ApiError::new(rejection.status().as_u16(), rejection.body_text()))?;
    let theme =
        Theme::from_word(&form.theme).ok_or_else(|| ApiError::field("theme", THEME_RULE))?;
    let mut response = match wants_page(&headers) {
        true => back_to_form(&headers, THEME_ROUTE, None),
        false => StatusCode::NO_CONTENT.into_response(),
    };
    if let Ok(cookie) = HeaderValue::from_str(&theme.cookie(caller.secure)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_names_no_theme_leaves_it_to_the_system() {
        let theme = |cookies: &'static str| {
            let mut headers = HeaderMap::new();
            let cookies = HeaderValue::from_bytes(cookies.as_bytes()).unwrap();
            headers.insert(header::COOKIE, cookies);
            theme_of(&headers)
        };
        assert_eq!(theme("a=b; wirewise_theme=dark"), Theme::Dark);
        assert_eq!(theme("wirewise_theme=light"), Theme::Light);
        assert_eq!(
            theme("stadt=Köln; wirewise_theme=; wirewise_theme=dark"),
            Theme::Dark
        );
        for cookies in ["", "wirewise_theme=", "wirewise_theme=\"><script>"] {
            assert_eq!(theme(cookies), Theme::System, "{cookies:?}");
        }
    }
}
