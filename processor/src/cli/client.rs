//! One HTTP request, and its answer or the server's reason for refusing it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Certificate;
use reqwest::blocking::{Client as Http, RequestBuilder};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::Value;

use crate::config::{Format, Server, read_token};

/// Longer than the server's own timeout.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The client of a server.
pub(super) struct ApiClient {
    http: Http,
    url: String,
}

/// An answer.
pub(super) struct ApiAnswer {
    pub(super) body: String,
    pub(super) next_cursor: Option<String>,
    /// The positions of the stores that it was read from, as `STORE/PARTITION=OFFSET`.
    pub(super) positions: Option<String>,
}

impl ApiAnswer {
    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).context("the answer is not JSON: is it a processor?")
    }
}

impl ApiClient {
    pub(super) fn new(server: &Server) -> Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(path) = &server.auth_token_file {
            let mut value = HeaderValue::from_str(&read_token(path)?.bearer())
                .with_context(|| format!("{} is no token", path.display()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut http = Http::builder().timeout(TIMEOUT).default_headers(headers);
        if let Some(path) = &server.tls_ca {
            let pem =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            http = http.add_root_certificate(Certificate::from_pem(&pem)?);
        }
        Ok(Self { http: http.build()?, url: server.url.trim_end_matches('/').to_owned() })
    }

    pub(super) fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
        format: Format,
    ) -> Result<ApiAnswer> {
        self.answer(self.http.get(format!("{}{path}", self.url)).query(query), format)
    }

    pub(super) fn post(&self, path: &str, body: &Value, format: Format) -> Result<ApiAnswer> {
        self.answer(self.http.post(format!("{}{path}", self.url)).json(body), format)
    }

    fn answer(&self, request: RequestBuilder, format: Format) -> Result<ApiAnswer> {
        let accept = if format == Format::Csv { "text/csv" } else { "application/json" };
        let sent = request.header(ACCEPT, accept).send();
        let response = sent.with_context(|| {
            format!("{} does not answer: is a processor running there? set --url", self.url)
        })?;
        let status = response.status();
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (next_cursor, positions) = (header("next-cursor"), header("positions"));
        let body = response.text()?;
        if status.is_success() {
            return Ok(ApiAnswer { body, next_cursor, positions });
        }
        let said: Value = serde_json::from_str(&body).unwrap_or_default();
        bail!("{}: {}", status.as_u16(), said["error"].as_str().unwrap_or("no reason given"))
    }
}
