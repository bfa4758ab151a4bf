//! Tests the part of a page that visitors share: it is the same for all of them, nothing in it is of one of them, and it is
//! never out of date.

use reqwest::Response;
use scraper::{Html, Selector};
use uuid::Uuid;
use wirewise::session::{User, server::token::Session};

use crate::support::Server;

/// A visitor with a name of their own, and how they ask for pages.
struct Visitor {
    session: Session,
    token: String,
    encoding: &'static str,
}

impl Visitor {
    fn new(server: &Server, name: &str) -> Self {
        let session = server.state.sessions.guest();
        let session = Session {
            user: User::new(session.user.id, name.into()),
            ..session
        };
        Self {
            token: server.state.sessions.token(&session),
            session,
            encoding: "identity",
        }
    }

    async fn asks(&self, server: &Server, path: &str) -> Response {
        let cookie = format!("wirewise_session={}; wirewise_theme=dark", self.token);
        let request = server
            .get(path)
            .header("cookie", cookie)
            .header("accept-encoding", self.encoding);
        request.send().await.unwrap()
    }

    async fn page(&self, server: &Server, path: &str) -> String {
        self.asks(server, path).await.text().await.unwrap()
    }
}

/// What stands in an element of a page.
fn within(page: &str, element: &str) -> String {
    let selector = Selector::parse(element).unwrap();
    let html = Html::parse_document(page);
    html.select(&selector).next().unwrap().inner_html()
}

/// A page without its nonce, which is another one each time.
fn without_nonce(page: &str) -> String {
    let from = page.find("nonce=\"").unwrap() + "nonce=\"".len();
    let nonce = &page[from..from + page[from..].find('"').unwrap()];
    page.replace(nonce, "")
}

#[tokio::test]
async fn visitors_share_a_part_in_which_nothing_is_of_one_of_them() {
    let server = Server::start().await;
    let ada = Visitor::new(&server, "Ada <Lovelace>");
    let grace = Visitor::new(&server, "Grace");
    // The first one, for whom the part is rendered, has everything that a visitor can have of their own.
    let refused = "/ticker?__err=YWxsIHdyb25n&utm_source=secret-campaign";
    ada.page(&server, refused).await;
    let first = ada.page(&server, "/ticker").await;
    let second = grace.page(&server, "/ticker").await;
    let stranger = server.text("/ticker").await;
    assert!(first.contains("Ada &lt;Lovelace&gt;") && second.contains("Grace"));
    for page in [&second, &stranger] {
        for own in ["Lovelace", "secret-campaign", "YWxsIHdyb25n", &ada.token] {
            assert!(!page.contains(own), "{own}");
        }
        let id: Uuid = ada.session.user.id;
        assert!(!page.contains(&id.to_string()));
        assert_eq!(within(page, "main"), within(&first, "main"));
    }
    assert!(!stranger.contains("Grace"));
}

#[tokio::test]
async fn a_part_is_that_of_the_newest_prices() {
    let server = Server::start().await;
    let reader = Visitor::new(&server, "Reader");
    let mut before = String::new();
    for _ in 0..3 {
        server.step(1);
        let prices = server.state.features.ticker.first_prices();
        for encoding in ["identity", "br", "gzip"] {
            let reader = Visitor {
                encoding,
                token: reader.token.clone(),
                session: reader.session.clone(),
            };
            let page = read(reader.asks(&server, "/ticker").await).await;
            let html = Html::parse_document(&page);
            let state = Selector::parse("#first-prices").unwrap();
            let state: String = html.select(&state).flat_map(|state| state.text()).collect();
            assert_eq!(state, serde_json::to_string(&(&prices,)).unwrap());
            assert_ne!(within(&page, "main"), before);
        }
        before = within(&reader.page(&server, "/ticker").await, "main");
    }
}

#[tokio::test]
async fn a_view_that_a_visitor_has_chosen_is_shared_with_nobody() {
    let server = Server::start().await;
    let reader = Visitor::new(&server, "Reader");
    let rows = |page: &str| page.matches("data-test=\"price-row\"").count();
    let all = rows(&reader.page(&server, "/ticker").await);
    let chosen = "/ticker?symbols=ACME,INIT&stream=own";
    for _ in 0..2 {
        assert_eq!(rows(&reader.page(&server, chosen).await), 2);
        assert_eq!(rows(&reader.page(&server, "/ticker").await), all);
    }
    assert!(all > 2);
}

#[tokio::test]
async fn a_compressed_page_is_the_same_page() {
    let server = Server::start().await;
    let plain = Visitor::new(&server, "Reader");
    let page = without_nonce(&plain.page(&server, "/ticker").await);
    for encoding in ["br", "gzip"] {
        let compressed = Visitor {
            encoding,
            token: plain.token.clone(),
            session: plain.session.clone(),
        };
        // The second one gets the part that was compressed for the first.
        for _ in 0..2 {
            let answer = compressed.asks(&server, "/ticker").await;
            let headers = answer.headers();
            assert_eq!(headers["content-encoding"], encoding);
            assert_eq!(headers["content-type"], "text/html; charset=utf-8");
            assert_eq!(headers["cache-control"], "private, no-cache");
            let vary: Vec<_> = headers.get_all("vary").iter().collect();
            assert_eq!(vary, ["accept-encoding"]);
            assert!(headers.contains_key("content-security-policy"));
            assert_eq!(without_nonce(&read(answer).await), page);
        }
    }
}

#[tokio::test]
async fn a_request_for_the_head_of_a_page_gets_no_body() {
    let server = Server::start().await;
    let page = server.get("/ticker").header("accept-encoding", "br");
    let length = |answer: &Response| answer.headers()["content-length"].clone();
    let with_body = page.try_clone().unwrap().send().await.unwrap();
    let url = server.url("/ticker");
    let head = reqwest::Client::new().head(url);
    let head = head.header("accept-encoding", "br").send().await.unwrap();
    assert_eq!(head.headers()["content-encoding"], "br");
    assert_eq!(length(&head).len(), length(&with_body).len());
    assert_eq!(head.bytes().await.unwrap().len(), 0);
}

/// The text of an answer, decompressed.
async fn read(answer: Response) -> String {
    let encoding = answer.headers().get("content-encoding").cloned();
    let bytes = answer.bytes().await.unwrap();
    let mut text = vec![];
    match encoding.as_ref().map(|encoding| encoding.to_str().unwrap()) {
        Some("br") => brotli::BrotliDecompress(&mut &bytes[..], &mut text).unwrap(),
        Some("gzip") => {
            let mut reader = flate2::read::GzDecoder::new(&bytes[..]);
            std::io::copy(&mut reader, &mut text).map(drop).unwrap();
        }
        _ => text.extend(&bytes),
    }
    String::from_utf8(text).unwrap()
}
