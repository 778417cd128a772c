//! The web origins that may stream: this server's own, and those that are configured.
//!
//! A browser sends `Origin` with each request of a page. A request without it does not come from
//! another site's page.

use anyhow::{Result, bail};
use axum::http::{HeaderMap, HeaderValue, header};

/// Allowed origins besides this server's own.
pub(super) struct Origins(Vec<String>);

impl Origins {
    /// Origins that [`origin`] has parsed.
    pub(super) const fn new(allowed: Vec<String>) -> Self {
        Self(allowed)
    }

    /// Whether a request's origin is allowed.
    pub(super) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = origin.split_once("://").map(|(_, host)| host);
        own.is_some() && own == host
            || self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    /// The header by which a browser gives the answer to a page of another origin.
    pub(super) fn header(headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(header::ORIGIN).cloned()
    }
}

/// Parses one allowed origin.
pub(super) fn origin(text: &str) -> Result<String> {
    let web = ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme).is_some_and(|host| !host.is_empty() && !host.contains('/'))
    });
    if text == "*" || web {
        return Ok(text.to_owned());
    }
    bail!("an origin is http:// or https:// and a host, without a path, or *")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &[&str], origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        Origins::new(allowed.iter().map(|&text| text.to_owned()).collect()).allow(&headers)
    }

    #[test]
    fn our_own_page_may_and_others_by_name_only() {
        assert!(allows(&[], None));
        assert!(allows(&[], Some("http://127.0.0.1:8080")));
        for other in ["http://127.0.0.1:9", "https://example.org", "null", "", "://"] {
            assert!(!allows(&[], Some(other)), "{other}");
        }
        assert!(allows(&["https://example.org"], Some("https://example.org")));
        assert!(!allows(&["https://example.org"], Some("https://example.org.evil")));
        assert!(allows(&["*"], Some("https://example.org")));
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        for text in ["*", "http://localhost:3000", "https://example.org"] {
            assert!(origin(text).is_ok(), "{text}");
        }
        for text in ["", "example.org", "https://", "https://example.org/", "ftp://x"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
