//! `/v1/openapi.json`: the description of the routes as `OpenAPI` 3.1. A test compares it with the
//! routes.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};

/// The document, as it stands in the repository.
pub(super) const DOCUMENT: &str = include_str!("../../openapi.json");

pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
