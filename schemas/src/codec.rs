//! The Confluent wire format: where bytes become records and back.
//!
//! ```text
//! 0x00 | schema id, 4 bytes big-endian | Avro binary of the record
//! ```
//!
//! A record written with our own schema (its id is ours) is read by hand, without a lookup. Any
//! other id is asked of the registry; when its schema is another version of the one that is
//! expected, the record is resolved to ours by Avro's rules, so older and newer writers are read
//! alike.
//!
//! An id that the registry does not know is waited for, and asked for again (`absent.rs`).
//!
//! Invariant: an unreachable registry is never a bad record. [`DecodeError::Unavailable`] means
//! try again; everything else is the record's fault.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;

use crate::absent::{Absent, Verdict, WAIT};
use crate::avro::{Malformed, Reader, Record};
use crate::kind::Kind;
use crate::{decimal, integer};

/// The first byte of the wire format.
const MAGIC: u8 = 0;
/// Bytes before the Avro binary.
pub const HEADER_BYTES: usize = 5;
/// Foreign schemas remembered. Past it, lookups are not remembered.
const MAX_FOREIGN: usize = 1024;

/// The ids without a registry: the place of each kind, from 1.
pub const OFFLINE_IDS: [i32; Kind::ALL.len()] = {
    let (mut ids, mut id) = ([0; Kind::ALL.len()], 0);
    while id < ids.len() {
        ids[id] = Kind::ALL[id] as i32 + 1;
        id += 1;
    }
    ids
};

/// Why bytes did not become a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not in the wire format, or not a record of the schema that it names.
    #[error("corrupt Avro")]
    Corrupt,
    /// The registry knows no such schema, and was waited for.
    #[error("unknown schema id {0}")]
    UnknownSchema(i32),
    /// The schema exists but is not one that can be read as the expected one.
    #[error("schema id {0} is not a {1}")]
    WrongSchema(i32, &'static str),
    /// The registry could not be asked, or may come to know the schema; the record may well be good.
    #[error("schema registry unavailable: {0}")]
    Unavailable(String),
}

impl From<Malformed> for DecodeError {
    fn from(_: Malformed) -> Self {
        Self::Corrupt
    }
}

/// The first branch of a union on the wire: null, in all of ours.
const NULL: u8 = 0;

/// Asks for a schema by id: its text, `None` when there is none, an error when nobody could say.
pub type Lookup = dyn Fn(i32) -> Result<Option<String>, String> + Send + Sync;

/// A schema that is not one of ours.
enum Foreign {
    /// One of ours without its last fields, so many: each of them may be null, and is.
    Shorter(Kind, usize),
    /// A version of one of ours, and ours as the reference implementation resolves it.
    Version(Kind, Box<[apache_avro::Schema; 2]>),
    /// Something else.
    Other,
}

/// The time since some instant, never less than before.
pub type Clock = dyn Fn() -> Duration + Send + Sync;

/// Reads and writes records with the ids that the registry gave our schemas.
pub struct Codec {
    ids: [i32; Kind::ALL.len()],
    lookup: Box<Lookup>,
    /// Shared by all threads that decode; held for a map operation, never during a lookup.
    foreign: RwLock<HashMap<i32, Arc<Foreign>>>,
    /// Guards a few numbers for each id that was not found; held for a map operation.
    absent: Mutex<Absent>,
    /// Without one nothing is waited for.
    clock: Option<Box<Clock>>,
}

impl Codec {
    /// A codec of these ids, in the order of [`Kind::ALL`], that asks `lookup` for all others, for
    /// each that is not known once.
    pub fn new(ids: [i32; Kind::ALL.len()], lookup: Box<Lookup>) -> Self {
        Self { ids, lookup, foreign: RwLock::default(), absent: Mutex::default(), clock: None }
    }

    /// Waits for ids that are not known yet, by that clock, and asks for them again.
    #[must_use]
    pub fn waiting(self, clock: Box<Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The ids 1, 2, … without a registry, for everything that runs without one.
    pub fn offline() -> Self {
        Self::new(OFFLINE_IDS, Box::new(|_| Ok(None)))
    }

    /// The registry's id of one of our schemas.
    pub fn id(&self, kind: Kind) -> i32 {
        self.ids[kind as usize]
    }

    /// Appends `record` in the wire format.
    pub fn encode<R: Record>(&self, record: &R, out: &mut Vec<u8>) {
        self.header(R::KIND, out);
        record.write(out);
    }

    /// Appends the five bytes before a record of that schema.
    pub fn header(&self, kind: Kind, out: &mut Vec<u8>) {
        out.push(MAGIC);
        out.extend_from_slice(&self.id(kind).to_be_bytes());
    }

    /// `record` in the wire format.
    pub fn to_bytes<R: Record>(&self, record: &R) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(record, &mut out);
        out
    }

    /// Reads a record of this type, whichever compatible version wrote it.
    #[inline]
    pub fn decode<R: Record>(&self, bytes: &[u8]) -> Result<R, DecodeError> {
        let (id, body) = split(bytes)?;
        if id == self.id(R::KIND) {
            return Ok(read_all(body)?);
        }
        self.resolve(id, body, R::KIND)
    }

    /// The Avro binary of a record of this type in our own schema: what was written by ourselves
    /// as it is, anything else resolved. It is checked to be one whole record.
    pub fn body<'a, R: Record>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
        let (id, body) = split(bytes)?;
        if id == self.id(R::KIND) {
            read_all::<R>(body)?;
            return Ok(Cow::Borrowed(body));
        }
        let record: R = self.resolve(id, body, R::KIND)?;
        let mut rewritten = Vec::new();
        record.write(&mut rewritten);
        Ok(Cow::Owned(rewritten))
    }

    /// The schema and the Avro binary of a record with one of our own ids; `None` for any other.
    pub fn own<'a>(&self, bytes: &'a [u8]) -> Option<(Kind, &'a [u8])> {
        let (id, body) = split(bytes).ok()?;
        Some((Kind::ALL.into_iter().find(|&kind| self.id(kind) == id)?, body))
    }

    /// Which of our schemas wrote `bytes`, some version of it; `None` when it is another.
    pub fn kind(&self, bytes: &[u8]) -> Result<Option<Kind>, DecodeError> {
        if let Some((kind, _)) = self.own(bytes) {
            return Ok(Some(kind));
        }
        let (id, _) = split(bytes)?;
        Ok(match &*self.foreign(id)? {
            Foreign::Shorter(kind, _) | Foreign::Version(kind, _) => Some(*kind),
            Foreign::Other => None,
        })
    }

    fn resolve<R: Record>(&self, id: i32, body: &[u8], kind: Kind) -> Result<R, DecodeError> {
        match &*self.foreign(id)? {
            Foreign::Shorter(found, lacking) if *found == kind => {
                let nulls = std::iter::repeat_n(NULL, *lacking);
                Ok(read_all(&body.iter().copied().chain(nulls).collect::<Vec<_>>())?)
            }
            Foreign::Version(found, schemas) if *found == kind => resolve_version(schemas, body),
            Foreign::Shorter(..) | Foreign::Version(..) | Foreign::Other => {
                Err(DecodeError::WrongSchema(id, kind.as_str()))
            }
        }
    }

    fn foreign(&self, id: i32) -> Result<Arc<Foreign>, DecodeError> {
        let known = self.foreign.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let now = self.clock.as_ref().map_or(Duration::ZERO, |clock| clock());
        let absent = || self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = absent().is_due(id, now);
        let text = if is_due { (self.lookup)(id).map_err(DecodeError::Unavailable)? } else { None };
        let Some(text) = text else {
            if is_due {
                absent().asked(id, now);
            }
            return Err(match absent().verdict(id, now) {
                Verdict::Wait if self.clock.is_some() => DecodeError::Unavailable(format!(
                    "it does not know schema id {id}, which is waited for: {WAIT:?} at most"
                )),
                _ => DecodeError::UnknownSchema(id),
            });
        };
        absent().found(id);
        let found = Arc::new(Foreign::parse(&text));
        let mut remembered = self.foreign.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() < MAX_FOREIGN {
            remembered.insert(id, Arc::clone(&found));
        }
        Ok(found)
    }
}

impl Foreign {
    fn parse(text: &str) -> Self {
        let Ok(schema) = resolvable(text) else {
            return Self::Other;
        };
        let kind = schema.name().and_then(|name| {
            let full = name.fullname(None);
            Kind::ALL.into_iter().find(|kind| full == format!("market.{}", kind.as_str()))
        });
        let ours = kind.and_then(|kind| Some((kind, resolvable(kind.schema()).ok()?)));
        let Some((kind, ours)) = ours else { return Self::Other };
        match lacking_fields(&schema, &ours) {
            Some(lacking) => Self::Shorter(kind, lacking),
            None => Self::Version(kind, Box::new([schema, ours])),
        }
    }
}

/// How many of our last fields the writer lacks, if that is the only difference and all of them are
/// null without a value: a log of years is then read as fast as our own records.
fn lacking_fields(writer: &apache_avro::Schema, ours: &apache_avro::Schema) -> Option<usize> {
    use apache_avro::Schema::{Null, Record, Union};
    let (Record(writer), Record(ours)) = (writer, ours) else { return None };
    let (shared, lacking) = ours.fields.split_at_checked(writer.fields.len())?;
    let same = shared.iter().zip(&writer.fields);
    let is_null = |schema: &apache_avro::Schema| matches!(schema, Union(union) if union.variants().first() == Some(&Null));
    let is_shorter = same.into_iter().all(|(a, b)| a.name == b.name && a.schema == b.schema)
        && lacking.iter().all(|field| field.default == Some(Value::Null) && is_null(&field.schema));
    is_shorter.then_some(lacking.len())
}

fn split(bytes: &[u8]) -> Result<(i32, &[u8]), DecodeError> {
    match bytes {
        [MAGIC, a, b, c, d, body @ ..] => Ok((i32::from_be_bytes([*a, *b, *c, *d]), body)),
        _ => Err(DecodeError::Corrupt),
    }
}

/// One record and nothing after it.
fn read_all<R: Record>(body: &[u8]) -> Result<R, Malformed> {
    let mut reader = Reader::new(body);
    let record = R::read(&mut reader)?;
    if reader.is_empty() { Ok(record) } else { Err(Malformed) }
}

/// Avro's schema resolution by the reference implementation, whose result is written with our
/// schema and then read like any other record. Slow, and rare.
fn resolve_version<R: Record>(
    [writer, ours]: &[apache_avro::Schema; 2],
    body: &[u8],
) -> Result<R, DecodeError> {
    let corrupt = |_| DecodeError::Corrupt;
    let mut body = Whole { rest: body, is_cut: false };
    let value = apache_avro::from_avro_datum(writer, &mut body, Some(ours)).map_err(corrupt)?;
    if !body.rest.is_empty() || body.is_cut {
        return Err(DecodeError::Corrupt);
    }
    let rewritten = apache_avro::to_avro_datum(ours, value).map_err(corrupt)?;
    Ok(read_all(&rewritten)?)
}

/// Bytes that remember a read past their end: the reference implementation takes the end for a null
/// or an empty string.
struct Whole<'a> {
    rest: &'a [u8],
    is_cut: bool,
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.is_cut |= into.len() > self.rest.len();
        self.rest.read(into)
    }
}

/// The schema with its decimals as the bytes that they are. The reference implementation refuses to
/// resolve a decimal whose bytes could not hold every number of its precision, that is, nearly all.
fn resolvable(text: &str) -> Result<apache_avro::Schema, apache_avro::Error> {
    match serde_json::from_str(text) {
        Ok(mut schema) => {
            decimals_as_bytes(&mut schema);
            apache_avro::Schema::parse(&schema)
        }
        // For its error, which says what is wrong.
        Err(_) => apache_avro::Schema::parse_str(text),
    }
}

/// A decimal of another scale is left as it is: it does not resolve to bytes, and must not be read
/// as ours.
fn decimals_as_bytes(schema: &mut Value) {
    match schema {
        Value::Object(parts) => {
            if parts.get("logicalType").is_some_and(|name| name == "decimal") && is_ours(parts) {
                parts.remove("logicalType");
            }
            parts.values_mut().for_each(decimals_as_bytes);
        }
        Value::Array(parts) => parts.iter_mut().for_each(decimals_as_bytes),
        _ => {}
    }
}

/// It has the precision and the scale of one of our two types.
fn is_ours(schema: &serde_json::Map<String, Value>) -> bool {
    let number = |name| schema.get(name).and_then(Value::as_u64);
    [(decimal::PRECISION, decimal::SCALE), (integer::PRECISION, integer::SCALE)]
        .map(|(precision, scale)| (Some(precision.into()), Some(scale.into())))
        .contains(&(number("precision"), number("scale")))
}
