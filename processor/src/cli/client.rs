//! One HTTP request, and its answer or the server's reason for refusing it.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use reqwest::blocking::{Client as Http, RequestBuilder, Response};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, StatusCode};
use serde_json::Value;

use crate::config::{Format, Server, read_token};

/// Longer than the server's own timeout, and than several heartbeats of a stream: it bounds each read.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The client of a server. Clones share its connections.
#[derive(Clone)]
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

    /// [`Self::get`]; `None` when the server answers that it does not have it.
    pub(super) fn find(
        &self,
        path: &str,
        query: &[(&str, String)],
        format: Format,
    ) -> Result<Option<ApiAnswer>> {
        let request = self.http.get(format!("{}{path}", self.url)).query(query);
        let response = self.send(request.header(ACCEPT, accepted(format)))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer(response).map(Some)
    }

    pub(super) fn post(&self, path: &str, body: &Value, format: Format) -> Result<ApiAnswer> {
        self.answer(self.http.post(format!("{}{path}", self.url)).json(body), format)
    }

    /// The answer without end of `/v1/events`, as it comes.
    pub(super) fn events(&self, query: &[(&str, String)]) -> Result<Response> {
        let response = self.send(self.http.get(format!("{}/v1/events", self.url)).query(query))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(refused(status, &response.text()?))
    }

    fn send(&self, request: RequestBuilder) -> Result<Response> {
        request.send().with_context(|| {
            format!("{} does not answer: is a processor running there? set --url", self.url)
        })
    }

    fn answer(&self, request: RequestBuilder, format: Format) -> Result<ApiAnswer> {
        answer(self.send(request.header(ACCEPT, accepted(format)))?)
    }
}

const fn accepted(format: Format) -> &'static str {
    if matches!(format, Format::Csv) { "text/csv" } else { "application/json" }
}

fn answer(response: Response) -> Result<ApiAnswer> {
    let status = response.status();
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (next_cursor, positions) = (header("next-cursor"), header("positions"));
    let body = response.text()?;
    if status.is_success() {
        return Ok(ApiAnswer { body, next_cursor, positions });
    }
    Err(refused(status, &body))
}

/// The server's reason for refusing a request.
fn refused(status: StatusCode, body: &str) -> anyhow::Error {
    let said: Value = serde_json::from_str(body).unwrap_or_default();
    anyhow!("{}: {}", status.as_u16(), said["error"].as_str().unwrap_or("no reason given"))
}
