//! From a request to its answer: content negotiation, freshness, and conditional requests.
//!
//! ```text
//! ReadRequest ──format, max_lag_ms──► read on the blocking pool ──► Representation ──► headers, 200 | 304 | 503
//! ```
//!
//! The entity tag is a digest of the answer's bytes, so a commit that changes no requested row
//! keeps it. It is weak, because compression changes the bytes on the way.

use std::hash::{DefaultHasher, Hasher as _};

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use streams::store::Moment;

use super::budget::Budget;
use super::connections::ConnectionHandle;
use super::error::{Refusal, Result};
use super::extent::Extent;
use super::params::{MAX_LAG, Params};

/// Every change committed before this time is in the answer.
pub(super) const AS_OF: HeaderName = HeaderName::from_static("as-of");
/// The age of the answer: now less `as-of`.
pub(super) const LAG: HeaderName = HeaderName::from_static("lag-ms");
/// `store/partition=next offset`: the answer contains every change below the offset.
pub(super) const POSITIONS: HeaderName = HeaderName::from_static("positions");
/// The cursor of the next page, for formats without a field for it.
pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");
/// The interval that was chosen, for formats without a field for it.
pub(super) const RESOLUTION: HeaderName = HeaderName::from_static("resolution");

/// Whether older candles were read from the history, for formats without a field for it.
pub(super) const HISTORY: HeaderName = HeaderName::from_static("history");

/// The media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Json,
    Csv,
    Arrow,
}

impl MediaType {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The media type of `offered` that the client prefers; the first one without an `Accept`
    /// header.
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

/// `0.75` as 750. An invalid weight counts as 1, the default.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = format!("{fraction:0<3}");
    match (whole, fraction.get(..3).and_then(|digits| digits.parse::<u32>().ok())) {
        ("0", Some(fraction)) => fraction,
        _ => 1000,
    }
}

/// The parameters and headers that every read has.
pub(super) struct ReadRequest {
    pub(super) params: Params,
    accept: Option<String>,
    known_tags: Option<String>,
    /// The connection of the request; requests of unit tests have none.
    handle: Option<ConnectionHandle>,
}

impl<S: Send + Sync> FromRequestParts<S> for ReadRequest {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        Ok(Self {
            params: Params::new(pairs)?,
            accept: joined(&parts.headers, &header::ACCEPT),
            // For other methods the header is a precondition, which no route supports.
            known_tags: joined(&parts.headers, &header::IF_NONE_MATCH)
                .filter(|_| parts.method.is_safe()),
            handle: parts.extensions.get().cloned(),
        })
    }
}

/// A header that may be given several times is one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}

impl ReadRequest {
    /// The media type of the answer.
    pub(super) fn format(&self, offered: &[MediaType]) -> Result<MediaType> {
        let accept = self.accept.as_deref().unwrap_or("*/*");
        MediaType::accepted(accept, offered).ok_or_else(|| {
            let names: Vec<_> = offered.iter().map(|format| format.media_type()).collect();
            Refusal::not_acceptable(&names.join(", "))
        })
    }

    /// The maximum age that the client accepts.
    pub(super) fn max_lag_ms(&self) -> Result<Option<u64>> {
        self.params.number(MAX_LAG, 0..=i64::MAX.unsigned_abs())
    }

    /// The answer in full, 304 if the client has it already, or a refusal if memory is short.
    pub(super) fn answer(
        &self,
        found: Representation,
        extent: &Extent,
        now: Moment,
        budget: &Budget,
    ) -> Result<Response> {
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
        // A cache may store the answer, and must revalidate it for each use.
        set(header::CACHE_CONTROL, "no-cache".into());
        let known = self.known_tags.as_deref().is_some_and(|known| is_known(known, &tag));
        set(header::ETAG, tag);
        if known {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        set(header::CONTENT_TYPE, found.format.media_type().into());
        let body =
            budget.answer(found.body, self.handle.as_ref()).ok_or_else(Refusal::no_memory)?;
        Ok((headers, body).into_response())
    }
}

fn tag(body: &[u8]) -> String {
    // The hasher has a fixed key, so all views behind one address give the same tag.
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("W/\"{:016x}\"", hasher.finish())
}

fn is_known(known: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.split(',').any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

/// The body of an answer in one media type, and its headers.
pub(super) struct Representation {
    format: MediaType,
    body: Bytes,
    headers: Vec<(HeaderName, String)>,
}

impl Representation {
    pub(super) fn json(whole: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(whole).map_err(|error| Refusal::broken(&error))?;
        Ok(Self { format: MediaType::Json, body: body.into(), headers: Vec::new() })
    }

    /// One line per row, with the field names as the header.
    pub(super) fn csv<R: Serialize>(rows: impl Iterator<Item = R>) -> Result<Self> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in rows {
            writer.serialize(row).map_err(|error| Refusal::broken(&error))?;
        }
        let body = writer.into_inner().map_err(|error| Refusal::broken(&error))?;
        Ok(Self::csv_text(body))
    }

    pub(super) fn csv_text(text: Vec<u8>) -> Self {
        Self { format: MediaType::Csv, body: text.into(), headers: Vec::new() }
    }

    pub(super) fn arrow(stream: Vec<u8>) -> Self {
        Self { format: MediaType::Arrow, body: stream.into(), headers: Vec::new() }
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: Option<String>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MediaType; 3] = [MediaType::Json, MediaType::Csv, MediaType::Arrow];

    #[test]
    fn the_best_accepted_format_is_taken() {
        for (accept, format) in [
            ("*/*", Some(MediaType::Json)),
            ("text/csv", Some(MediaType::Csv)),
            ("text/*;q=0.5, application/json;q=0.4", Some(MediaType::Csv)),
            ("application/vnd.apache.arrow.stream, */*;q=0.1", Some(MediaType::Arrow)),
            ("application/json;q=0, */*;q=0.1", Some(MediaType::Csv)),
            ("image/png", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(MediaType::accepted(accept, &ALL), format, "{accept}");
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
