//! The records of one topic as JSON Lines: each as it is written, or the last one of each key.
//!
//! ```text
//! {"key":{…},"value":{…}}                     a record; "value":null is a tombstone
//! {"key":…,"value":…,"headers":{"reason":…}}  a dead letter
//! {"key":…,"value":{"kind","part","reason","from_us","until_us"}}  a mark
//! ```
//!
//! `schemas::json` has the form of keys and values. Bytes that are no record of our schemas are a
//! string in base64; no key is null.

use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;

use anyhow::{Error, Result};
use schemas::json::{self, RecordJson};
use schemas::topic::Topic;
use schemas::{Codec, FeedMark, Kind};

use super::computation::Written;
use super::marks::{self, MARKS};

/// The records to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// Those of a topic.
    Topic(Topic),
    /// The feed marks among the events, and the gaps among the quotes.
    Marks,
}

impl Printed {
    /// Every name, separated by commas.
    pub fn names() -> String {
        Topic::ALL.map(Topic::base_name).into_iter().chain([MARKS]).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Printed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == MARKS {
            return Ok(Self::Marks);
        }
        let topic = Topic::ALL.into_iter().find(|topic| topic.base_name() == text);
        topic.map(Self::Topic).ok_or_else(|| {
            anyhow::anyhow!("there is no topic of that name; name one of {}", Self::names())
        })
    }
}

/// The last record of a key.
struct Kept {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, String)>,
}

/// Prints records to a writer.
pub(super) struct Printer<'a, W> {
    printed: Printed,
    codec: Codec,
    json: RecordJson,
    /// In the order of the final print; `None` when every record is printed at once.
    last: Option<BTreeMap<Vec<u8>, Kept>>,
    out: &'a mut W,
}

impl<'a, W: Write> Printer<'a, W> {
    pub(super) fn new(printed: Printed, changes: bool, out: &'a mut W) -> Result<Self> {
        let last = (!changes).then(BTreeMap::new);
        Ok(Self { printed, codec: Codec::offline(), json: RecordJson::new()?, last, out })
    }

    /// Prints or keeps a record, if it is one of those to print.
    pub(super) fn take(&mut self, record: &Written<'_>) -> Result<()> {
        if !self.is_printed(record) {
            return Ok(());
        }
        let order = self.order(record);
        let Some(last) = &mut self.last else {
            let line = self.line(record.key, record.value, &record.headers);
            return Ok(self.out.write_all(line.as_bytes())?);
        };
        let headers = record.headers.iter();
        let kept = Kept {
            key: record.key.to_vec(),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.map(|(name, text)| ((*name).into(), (*text).into())).collect(),
        };
        last.insert(order, kept);
        Ok(())
    }

    fn is_printed(&self, record: &Written<'_>) -> bool {
        match self.printed {
            Printed::Topic(topic) if record.topic == topic.base_name() => {
                match topic {
                    // The marks among the quotes are printed as marks.
                    Topic::Quotes => self.mark(record).is_none(),
                    // Tickers alone: the facts of instruments are in the tables of options.
                    Topic::OptionTickers => self.kind(record) == Some(Kind::Ticker),
                    // Swaps alone: the facts of pools are in their table.
                    Topic::Swaps => self.kind(record) == Some(Kind::Swap),
                    _ => true,
                }
            }
            Printed::Topic(_) => false,
            Printed::Marks => self.mark(record).is_some_and(|mark| marks::is_shown(record, &mark)),
        }
    }

    /// The schema of a record's value.
    fn kind(&self, record: &Written<'_>) -> Option<Kind> {
        record.value.and_then(|value| self.codec.own(value)).map(|(kind, _)| kind)
    }

    /// The mark in a record.
    fn mark(&self, record: &Written<'_>) -> Option<FeedMark> {
        record.value.and_then(|value| marks::mark(value, &self.codec))
    }

    /// The order of the final print, and the records that replace each other. A gap of trades does not
    /// replace one of the book.
    fn order(&self, record: &Written<'_>) -> Vec<u8> {
        let mark = (self.printed == Printed::Marks).then(|| self.mark(record)).flatten();
        let part = mark.as_ref().and_then(marks::part).unwrap_or_default();
        [record.order, part.as_bytes()].concat()
    }

    /// Prints the last records, if they were kept.
    pub(super) fn finish(&mut self) -> Result<()> {
        for kept in self.last.take().unwrap_or_default().values() {
            let line = self.line(&kept.key, kept.value.as_deref(), &kept.headers);
            self.out.write_all(line.as_bytes())?;
        }
        Ok(self.out.flush()?)
    }

    fn line<T: AsRef<str>>(&self, key: &[u8], value: Option<&[u8]>, headers: &[(T, T)]) -> String {
        let mut line = String::from("{\"key\":");
        self.bytes(Some(key).filter(|key| !key.is_empty()), &mut line);
        line.push_str(",\"value\":");
        let mark = value.filter(|_| self.printed == Printed::Marks);
        match mark.and_then(|value| marks::mark(value, &self.codec)) {
            Some(mark) => marks::write(&mark, &mut line),
            None => self.bytes(value, &mut line),
        }
        for (index, (name, text)) in headers.iter().enumerate() {
            line.push_str(if index == 0 { ",\"headers\":{" } else { "," });
            json::string(name.as_ref(), &mut line);
            line.push(':');
            json::string(text.as_ref(), &mut line);
        }
        line.push_str(if headers.is_empty() { "}\n" } else { "}}\n" });
        line
    }

    fn bytes(&self, bytes: Option<&[u8]>, line: &mut String) {
        let Some(bytes) = bytes else { return line.push_str("null") };
        let own = self.codec.own(bytes);
        let written = own.and_then(|(kind, body)| self.json.write_public(kind, body, line).ok());
        if written.is_none() {
            json::base64(bytes, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::PairKey;

    use super::*;

    #[test]
    fn a_tombstone_is_null_in_either_print() -> Result<()> {
        let codec = Codec::offline();
        let [first, second] = ["B", "A"].map(|base| codec.to_bytes(&PairKey::new(base, "Q", "e")));
        for (changes, expected) in [(true, ["B", "B", "A"].as_slice()), (false, &["A", "B"])] {
            let mut out = Vec::new();
            let mut printer = Printer::new(Printed::Topic(Topic::Latest), changes, &mut out)?;
            for (key, value) in [(&first, Some(&second)), (&first, None), (&second, None)] {
                printer.take(&Written {
                    topic: Topic::Latest.base_name(),
                    key,
                    order: key,
                    value: value.map(Vec::as_slice),
                    headers: Vec::new(),
                })?;
            }
            printer.finish()?;
            let lines = String::from_utf8(out)?;
            let bases = lines.lines().map(|line| &line[16..17]);
            assert!(bases.eq(expected.iter().copied()), "{lines}");
            let end = r#"{"key":{"base":"B","quote":"Q","exchange":"e"},"value":null}"#;
            assert!(lines.lines().any(|line| line == end), "{lines}");
        }
        Ok(())
    }
}
