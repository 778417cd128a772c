//! The status page and its files, embedded in the binary.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The page may run its own module, style itself, and connect to the server that sent it. The
/// digest is that of the style element which the chart library adds for its attribution.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
    'sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY='; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of `processor/page`.
macro_rules! part {
    ($name:literal, $kind:expr) => {
        get(|| async { part($kind, include_str!(concat!("../../page/", $name))) })
    };
}

/// The page's routes.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    const CHARTS: &str = "/page/vendor/lightweight-charts.standalone.production.mjs";
    Router::new()
        .route("/", part!("index.html", HTML))
        .route("/page/page.css", part!("page.css", CSS))
        .route("/page/page.js", part!("page.js", SCRIPT))
        .route("/page/options.css", part!("options.css", CSS))
        .route("/page/tokens.css", part!("tokens.css", CSS))
        .route("/page/pair-index.css", part!("pair-index.css", CSS))
        .route("/page/pair-index.js", part!("pair-index.js", SCRIPT))
        .route("/page/book.js", part!("book.js", SCRIPT))
        .route("/page/options.js", part!("options.js", SCRIPT))
        .route("/page/chain.js", part!("chain.js", SCRIPT))
        .route("/page/tokens.js", part!("tokens.js", SCRIPT))
        .route("/page/smile.js", part!("smile.js", SCRIPT))
        .route("/page/dom.js", part!("dom.js", SCRIPT))
        .route("/page/text.js", part!("text.js", SCRIPT))
        .route("/page/icon.svg", part!("icon.svg", SVG))
        .route(CHARTS, part!("vendor/lightweight-charts.standalone.production.mjs", SCRIPT))
        .route("/page/vendor/LICENSE", part!("vendor/lightweight-charts.LICENSE", TEXT))
        .route("/page/vendor/NOTICE", part!("vendor/lightweight-charts.NOTICE", TEXT))
}

fn part(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        // A new binary may contain a new page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, text).into_response()
}
