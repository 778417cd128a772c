//! The parameters of a request, parsed once into typed values.
//!
//! A parameter that is unknown, given twice or out of range is a 400 that names it, so that a
//! typing error is never ignored.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use schemas::pair::MAX_PART_BYTES;
use schemas::{PairKey, Timestamp};

use super::error::{Refusal, Result};

/// The parameter that every read accepts.
pub(super) const MAX_LAG: &str = "max_lag_ms";

/// Names and values, each name once.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Result<Self> {
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            if params.contains_key(&name) {
                return Err(Refusal::bad(format!("{name}: given twice")));
            }
            params.insert(name, value);
        }
        Ok(Self(params))
    }

    /// Refuses every name but these and [`MAX_LAG`].
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        self.just(&[known, &[MAX_LAG]].concat())
    }

    /// Refuses every name but these.
    pub(super) fn just(&self, known: &[&str]) -> Result<()> {
        let Some(name) = self.0.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let known = known.join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        Err(Refusal::bad(format!("{name}: no such parameter; there are {known}")))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn part(&self, name: &str) -> Result<String> {
        let value = self.get(name).ok_or_else(|| Refusal::bad(format!("{name}: is missing")))?;
        part(name, value)
    }

    /// `base`, `quote` and `exchange`.
    pub(super) fn pair(&self) -> Result<PairKey> {
        Ok(PairKey::new(self.part("base")?, self.part("quote")?, self.part("exchange")?))
    }

    /// RFC 3339, or milliseconds since 1970.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let parsed = text.parse().ok().map(Timestamp).or_else(|| Timestamp::parse_rfc3339(text));
        parsed.map(Some).ok_or_else(|| {
            Refusal::bad(format!("{name}: {text:?} is neither RFC 3339 nor milliseconds"))
        })
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (low, high) = range.into_inner();
            Refusal::bad(format!("{name}: {text:?} is not a number from {low} to {high}"))
        })
    }

    /// The number of rows, from 1 to `max`.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize> {
        let number = self.number("limit", 1..=max as u64)?;
        Ok(number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default))
    }

    /// `true` or `false`; false without the parameter.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(Refusal::bad(format!("{name}: {text:?} is neither true nor false"))),
        }
    }

    /// One of a few words; the first without the parameter.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T> {
        let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let refused = |text| Refusal::bad(format!("{name}: {text:?} is none of {}", known()));
        let text = self.get(name).unwrap_or_else(|| words.first().map_or("", |(word, _)| word));
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, value)| *value).ok_or_else(|| refused(text))
    }
}

/// A valid part of a pair's name.
pub(super) fn part(name: &str, value: &str) -> Result<String> {
    if value.is_empty() || value.len() > MAX_PART_BYTES {
        return Err(Refusal::bad(format!("{name}: must be 1 to {MAX_PART_BYTES} bytes")));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let given = params(&[("max_lag_ms", "5")]);
        assert_eq!(given.limit(5, 10).ok(), Some(5));
        assert_eq!(given.time("from").ok(), Some(None));
        assert_eq!(given.word("fill", &[("none", 0), ("null", 1)]).ok(), Some(0));
        assert_eq!(given.number(MAX_LAG, 0..=10).ok(), Some(Some(5)));
        assert!(given.only(&[]).is_ok());
    }
}
