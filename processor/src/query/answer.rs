//! From a request to its answer: the format that is accepted, freshness, and what the client has
//! already.
//!
//! ```text
//! Ask ──format, max_lag_ms──► read, off the async threads ──► Found ──► headers, 200 | 304 | 503
//! ```
//!
//! The tag is of the answer's bytes: a commit that changes nothing that was asked for leaves it as
//! it was. It is weak, because compression changes the bytes on the way.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use streams::store::Moment;

use super::budget::Budget;
use super::connections::Line;
use super::error::Refusal;
use super::extent::Extent;
use super::params::{MAX_LAG, Params};

/// The time before which everything that was committed is in the answer.
pub(super) const AS_OF: HeaderName = HeaderName::from_static("as-of");
/// How long ago that is.
pub(super) const LAG: HeaderName = HeaderName::from_static("lag-ms");
/// `store/partition=next offset`: all before is in the answer.
pub(super) const POSITIONS: HeaderName = HeaderName::from_static("positions");
/// Where the next page begins, for formats that have no place for it.
pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");
/// The interval that was chosen, for formats that have no place for it.
pub(super) const RESOLUTION: HeaderName = HeaderName::from_static("resolution");

/// What of it is older than the stores, for formats that have no place for it.
pub(super) const HISTORY: HeaderName = HeaderName::from_static("history");

/// What an answer can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
    Arrow,
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The best of `offered` by what a client accepts; the first one when it does not say.
    fn accepted(accept: &str, offered: &[Self]) -> Option<Self> {
        let weight = |format: Self| {
            let ranges = accept.split(',').filter_map(|range| matches(range, format.media_type()));
            // The most specific range speaks for a type.
            ranges.max_by_key(|(specific, _)| *specific).map_or(0, |(_, weight)| weight)
        };
        let mut best: Option<(Self, u32)> = None;
        for format in offered {
            let weight = weight(*format);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((*format, weight));
            }
        }
        best.map(|(format, _)| format)
    }
}

/// How specific a range of `Accept` is about a type, and its weight in thousandths.
fn matches(range: &str, media_type: &str) -> Option<(u8, u32)> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let main = media_type.split('/').next().unwrap_or_default();
    let specific = if name.eq_ignore_ascii_case(media_type) {
        2
    } else if name.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(main)) {
        1
    } else if name == "*/*" {
        0
    } else {
        return None;
    };
    Some((specific, parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths)))
}

/// `0.75` as 750. What is no weight counts as none was given.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = format!("{fraction:0<3}");
    match (whole, fraction.get(..3).and_then(|digits| digits.parse::<u32>().ok())) {
        ("0", Some(fraction)) => fraction,
        _ => 1000,
    }
}

/// What every read is asked with.
pub(super) struct Ask {
    pub(super) params: Params,
    accept: Option<String>,
    known_tags: Option<String>,
    /// The connection that it came by; a test has none.
    line: Option<Line>,
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        Ok(Self {
            params: Params::new(pairs)?,
            accept: joined(&parts.headers, &header::ACCEPT),
            // Elsewhere the header would ask that nothing be done.
            known_tags: joined(&parts.headers, &header::IF_NONE_MATCH)
                .filter(|_| parts.method.is_safe()),
            line: parts.extensions.get().cloned(),
        })
    }
}

/// A header that may be given several times is one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}

impl Ask {
    /// The format to answer in.
    pub(super) fn format(&self, offered: &[Format]) -> Result<Format, Refusal> {
        let accept = self.accept.as_deref().unwrap_or("*/*");
        Format::accepted(accept, offered).ok_or_else(|| {
            let names: Vec<_> = offered.iter().map(|format| format.media_type()).collect();
            Refusal::not_acceptable(&names.join(", "))
        })
    }

    /// The greatest lag that the client puts up with.
    pub(super) fn max_lag_ms(&self) -> Result<Option<u64>, Refusal> {
        self.params.number(MAX_LAG, 0..=i64::MAX.unsigned_abs())
    }

    /// The answer in full, or that the client has it already, or that there is no memory for it.
    pub(super) fn answer(
        &self,
        found: Found,
        extent: &Extent,
        now: Moment,
        budget: &Budget,
    ) -> Result<Response, Refusal> {
        let tag = tag(&found.body);
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        if let Some(as_of) = extent.as_of(now) {
            set(AS_OF, as_of.to_string());
            set(LAG, extent.lag_ms(now).unwrap_or(0).to_string());
        }
        if let Some(positions) = extent.positions() {
            set(POSITIONS, positions);
        }
        for (name, value) in found.headers {
            set(name, value);
        }
        set(header::VARY, "accept".into());
        // A cache may keep it, and has to ask each time whether it is still so.
        set(header::CACHE_CONTROL, "no-cache".into());
        let known = self.known_tags.as_deref().is_some_and(|known| is_known(known, &tag));
        set(header::ETAG, tag);
        if known {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        set(header::CONTENT_TYPE, found.format.media_type().into());
        let body = budget.answer(found.body, self.line.as_ref()).ok_or_else(Refusal::no_memory)?;
        Ok((headers, body).into_response())
    }
}

fn tag(body: &[u8]) -> String {
    // Without a key of its own it is the same in every process, as views behind one address need.
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("W/\"{:016x}\"", hasher.finish())
}

fn is_known(known: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.split(',').any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

/// What a route has found, written.
pub(super) struct Found {
    format: Format,
    body: Bytes,
    headers: Vec<(HeaderName, String)>,
}

impl Found {
    pub(super) fn json(whole: &impl Serialize) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(whole).map_err(|error| Refusal::broken(&error))?;
        Ok(Self { format: Format::Json, body: body.into(), headers: Vec::new() })
    }

    /// A line for each row, under the names of its fields.
    pub(super) fn csv<R: Serialize>(rows: impl Iterator<Item = R>) -> Result<Self, Refusal> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in rows {
            writer.serialize(row).map_err(|error| Refusal::broken(&error))?;
        }
        let body = writer.into_inner().map_err(|error| Refusal::broken(&error))?;
        Ok(Self { format: Format::Csv, body: body.into(), headers: Vec::new() })
    }

    pub(super) fn arrow(stream: Vec<u8>) -> Self {
        Self { format: Format::Arrow, body: stream.into(), headers: Vec::new() }
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: Option<String>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }
}

/// `a/0=1,b/2=3`.
pub(super) fn list(pairs: impl Iterator<Item = (String, i64)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        let comma = if out.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(out, "{comma}{name}={value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Format; 3] = [Format::Json, Format::Csv, Format::Arrow];

    #[test]
    fn the_best_accepted_format_is_taken() {
        for (accept, format) in [
            ("*/*", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("text/*;q=0.5, application/json;q=0.4", Some(Format::Csv)),
            ("application/vnd.apache.arrow.stream, */*;q=0.1", Some(Format::Arrow)),
            ("application/json;q=0, */*;q=0.1", Some(Format::Csv)),
            ("image/png", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(Format::accepted(accept, &ALL), format, "{accept}");
        }
    }

    #[test]
    fn a_tag_is_known_in_a_list_weak_or_not() {
        let tag = tag(b"1");
        assert!(is_known(&format!("\"x\", {tag}"), &tag));
        assert!(is_known(tag.trim_start_matches("W/"), &tag));
        assert!(is_known("*", &tag));
        assert!(!is_known("W/\"0\"", &tag));
    }
}
