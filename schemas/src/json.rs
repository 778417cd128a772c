//! Records as JSON, by their schemas: the form for people and for scripts.
//!
//! | Avro | JSON |
//! |---|---|
//! | record | object, its fields in the schema's order |
//! | union | the value of its branch, or null |
//! | decimal | string in plain notation, exact to the last digit |
//! | int, long, times | number; a time is in the unit of its schema, here milliseconds |
//! | string, enum | string |
//! | bytes | string, base64 |
//! | array, map | array, object |
//!
//! A schema that comes later needs no code here. Floating point and fixed types do not occur in our
//! schemas, and are refused.

use std::collections::HashMap;
use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::schema::RecordSchema;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::avro::{Malformed, Reader};
use crate::kind::Kind;

/// Decimal digits that one division takes off a number, and their power of ten.
const CHUNK: (usize, u64) = (9, 1_000_000_000);

/// Writes records of our schemas as JSON.
///
/// ```
/// use schemas::avro::Record;
/// use schemas::{Kind, PairKey, json::RecordJson};
/// let (mut body, mut text) = (Vec::new(), String::new());
/// PairKey::new("BTC", "USD", "coinbase").write(&mut body);
/// RecordJson::new()?.write(Kind::PairKey, &body, &mut text)?;
/// assert_eq!(text, r#"{"base":"BTC","quote":"USD","exchange":"coinbase"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordJson {
    /// In the order of [`Kind::ALL`].
    schemas: Vec<Schema>,
    /// The named types inside the schemas, which name them again without a definition.
    named: HashMap<String, Schema>,
}

impl RecordJson {
    /// Parses our schemas.
    ///
    /// # Errors
    /// A schema of ours is not Avro.
    pub fn new() -> Result<Self, Box<apache_avro::Error>> {
        let parsed = Kind::ALL.iter().map(|kind| Schema::parse_str(kind.schema()));
        let schemas: Vec<Schema> = parsed.collect::<Result<_, _>>()?;
        let mut named = HashMap::new();
        for schema in &schemas {
            collect(schema, &mut named);
        }
        Ok(Self { schemas, named })
    }

    /// Appends the record whose Avro binary is `body`.
    ///
    /// # Errors
    /// `body` is not one record of the schema; `out` is then as it was.
    pub fn write(&self, kind: Kind, body: &[u8], out: &mut String) -> Result<(), Malformed> {
        self.write_fields(kind, body, out, |_| true)
    }

    /// The same without the fields that are state: those whose doc begins with `State:`. Records of
    /// prices keep theirs, which is how they have always been printed.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_public(&self, kind: Kind, body: &[u8], out: &mut String) -> Result<(), Malformed> {
        let hides = matches!(kind, Kind::TopOfBook | Kind::Spread);
        let is_state = |doc: Option<&str>| doc.is_some_and(|doc| doc.starts_with("State:"));
        self.write_fields(kind, body, out, |doc| !(hides && is_state(doc)))
    }

    fn write_fields(
        &self,
        kind: Kind,
        body: &[u8],
        out: &mut String,
        shows: impl Fn(Option<&str>) -> bool,
    ) -> Result<(), Malformed> {
        let (start, mut reader) = (out.len(), Reader::new(body));
        let written = match &self.schemas[kind as usize] {
            Schema::Record(record) => self.record(record, &mut reader, out, &shows),
            schema => self.value(schema, &mut reader, out),
        };
        let written = written.and_then(|()| reader.is_empty().then_some(()).ok_or(Malformed));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn record(
        &self,
        record: &RecordSchema,
        from: &mut Reader<'_>,
        out: &mut String,
        shows: &dyn Fn(Option<&str>) -> bool,
    ) -> Result<(), Malformed> {
        out.push('{');
        let mut hidden = String::new();
        for field in &record.fields {
            if !shows(field.doc.as_deref()) {
                hidden.clear();
                self.value(&field.schema, from, &mut hidden)?;
                continue;
            }
            string(&field.name, separated(out));
            out.push(':');
            self.value(&field.schema, from, out)?;
        }
        out.push('}');
        Ok(())
    }

    fn value(
        &self,
        schema: &Schema,
        from: &mut Reader<'_>,
        out: &mut String,
    ) -> Result<(), Malformed> {
        match schema {
            Schema::Null => out.push_str("null"),
            Schema::Boolean => out.push_str(if from.boolean()? { "true" } else { "false" }),
            Schema::String | Schema::Uuid => string(from.string()?, out),
            Schema::Bytes => base64(from.bytes()?, out),
            Schema::Decimal(decimal) => {
                let _ = write!(out, "\"{}\"", plain(from.bytes()?, decimal.scale));
            }
            Schema::Enum(symbols) => string(pick(&symbols.symbols, from)?, out),
            Schema::Union(union) => self.value(pick(union.variants(), from)?, from, out)?,
            Schema::Record(record) => self.record(record, from, out, &|_| true)?,
            Schema::Array(array) => {
                out.push('[');
                let mut left = 0;
                while more(&mut left, from)? {
                    self.value(&array.items, from, separated(out))?;
                }
                out.push(']');
            }
            Schema::Map(map) => {
                out.push('{');
                let mut left = 0;
                while more(&mut left, from)? {
                    string(from.string()?, separated(out));
                    out.push(':');
                    self.value(&map.types, from, out)?;
                }
                out.push('}');
            }
            Schema::Ref { name } => {
                self.value(self.named.get(&name.name).ok_or(Malformed)?, from, out)?;
            }
            Schema::Float
            | Schema::Double
            | Schema::Fixed(_)
            | Schema::Duration
            | Schema::BigDecimal => return Err(Malformed),
            // Every other type is an int or a long with a meaning.
            _ => {
                let _ = write!(out, "{}", from.long()?);
            }
        }
        Ok(())
    }
}

/// Adds the named types inside a schema. All of ours are in one namespace.
fn collect(schema: &Schema, named: &mut HashMap<String, Schema>) {
    if let Some(name) = schema.name()
        && !matches!(schema, Schema::Ref { .. })
    {
        named.insert(name.name.clone(), schema.clone());
    }
    match schema {
        Schema::Record(record) => {
            record.fields.iter().for_each(|field| collect(&field.schema, named));
        }
        Schema::Union(union) => union.variants().iter().for_each(|one| collect(one, named)),
        Schema::Array(array) => collect(&array.items, named),
        Schema::Map(map) => collect(&map.types, named),
        _ => {}
    }
}

/// The symbol of an enum, or the branch of a union.
fn pick<'a, T>(all: &'a [T], from: &mut Reader<'_>) -> Result<&'a T, Malformed> {
    let index = usize::try_from(from.long()?).map_err(|_| Malformed)?;
    all.get(index).ok_or(Malformed)
}

/// Another item follows in the blocks of an array or map; `left` is what is left of the block.
fn more(left: &mut i64, from: &mut Reader<'_>) -> Result<bool, Malformed> {
    if *left == 0 {
        *left = from.long()?;
        if *left < 0 {
            // The block's size in bytes, for readers that skip it.
            from.long()?;
            *left = left.checked_neg().ok_or(Malformed)?;
        }
    }
    *left -= 1;
    Ok(*left >= 0)
}

/// Appends the comma before an item that is not the first.
fn separated(out: &mut String) -> &mut String {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
    out
}

/// Appends a JSON string.
pub fn string(text: &str, out: &mut String) {
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

/// Appends bytes as a JSON string in base64.
pub fn base64(bytes: &[u8], out: &mut String) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

/// A big-endian two's complement number of any length, `scale` of its digits behind the point. No
/// exponent, and no zeros at the end of the fraction.
fn plain(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut rest = bytes.to_vec();
    if negative {
        negate(&mut rest);
    }
    let mut chunks = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        chunks.push(format!("{:0width$}", take_chunk(&mut rest), width = CHUNK.0));
    }
    chunks.reverse();
    let digits = chunks.concat();
    let digits = format!("{:0>width$}", digits.trim_start_matches('0'), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    let (sign, point) =
        (if negative { "-" } else { "" }, if fraction.is_empty() { "" } else { "." });
    format!("{sign}{whole}{point}{fraction}")
}

/// Two's complement.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// Divides by the chunk's power of ten; the remainder.
fn take_chunk(bytes: &mut [u8]) -> u64 {
    let mut remainder = 0;
    for byte in bytes {
        let dividend = (remainder << 8) | u64::from(*byte);
        *byte = ((dividend / CHUNK.1) & 0xff) as u8;
        remainder = dividend % CHUNK.1;
    }
    remainder
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::avro;

    #[test]
    fn a_number_of_any_length_keeps_every_digit() {
        // 2^255, which a 256 bit token amount may reach.
        let mut bytes = vec![0; 33];
        bytes[1] = 0x80;
        let digits =
            "57896044618658097711785492504343953926634992332820282019728792003956564819968";
        assert_eq!(plain(&bytes, 0), digits);
        negate(&mut bytes);
        assert_eq!(plain(&bytes, 18), format!("-{}.{}", &digits[..59], &digits[59..]));
        assert_eq!(
            (plain(&[], 2), plain(&[0], 18), plain(&[0xff], 2)),
            ("0".into(), "0".into(), "-0.01".into())
        );
    }

    #[test]
    fn lists_and_types_that_are_named_again_are_written() -> Result<(), Box<dyn std::error::Error>>
    {
        let level = r#"{"type":"record","name":"Level","fields":[{"name":"size","type":"long"}]}"#;
        let schema = format!(
            r#"{{"type":"record","name":"Book","namespace":"market","fields":[
                {{"name":"bids","type":{{"type":"array","items":{level}}}}},
                {{"name":"asks","type":{{"type":"array","items":"Level"}}}},
                {{"name":"notes","type":{{"type":"map","values":["null","string"]}}}}]}}"#
        );
        let schema = Schema::parse_str(&schema)?;
        let mut named = HashMap::new();
        collect(&schema, &mut named);
        let json = RecordJson { schemas: vec![schema], named };
        let mut body = Vec::new();
        // Two blocks, the first with its size in bytes; no asks; one note.
        for number in [-2, 2, 7, 8, 1, 9, 0, 0, 1] {
            avro::long(&mut body, number);
        }
        avro::string(&mut body, "a \"b\"");
        avro::optional(&mut body, Some("c"), avro::string);
        avro::long(&mut body, 0);
        let mut text = "before ".to_owned();
        json.write(Kind::PairKey, &body, &mut text)?;
        let expected =
            r#"{"bids":[{"size":7},{"size":8},{"size":9}],"asks":[],"notes":{"a \"b\"":"c"}}"#;
        assert_eq!(text, format!("before {expected}"));
        // What is cut off leaves nothing behind.
        text.truncate(7);
        assert_eq!(json.write(Kind::PairKey, &body[..body.len() - 1], &mut text), Err(Malformed));
        assert_eq!(text, "before ");
        Ok(())
    }

    #[test]
    fn the_public_form_of_books_has_no_state_and_that_of_prices_all_of_it()
    -> Result<(), Box<dyn std::error::Error>> {
        use crate::avro::Record;
        use crate::{Candle, Decimal, Spread, Timestamp};
        let json = RecordJson::new()?;
        let (mut spread, mut candle) = (Vec::new(), Vec::new());
        Spread { updates: 3, ..Spread::default() }.write(&mut spread);
        Candle::at(Decimal::ONE, Timestamp(1), 7).write(&mut candle);
        let (mut whole, mut public, mut price) = (String::new(), String::new(), String::new());
        json.write(Kind::Spread, &spread, &mut whole)?;
        json.write_public(Kind::Spread, &spread, &mut public)?;
        json.write_public(Kind::Candle, &candle, &mut price)?;
        assert!(whole.ends_with(r#""revision":0,"spread_last":null,"spread_sum":"AA==","mid_sum":"AA==","counted_ms":0}"#), "{whole}");
        assert!(public.starts_with(r#"{"updates":3,"spread_min":null,"#), "{public}");
        assert!(public.ends_with(r#""status":"OPEN","revision":0}"#), "{public}");
        assert!(price.ends_with(r#""open_tie":7,"close_tie":7,"seen":""}"#), "{price}");
        let cut = &spread[..spread.len() - 1];
        assert_eq!(json.write_public(Kind::Spread, cut, &mut public), Err(Malformed));
        Ok(())
    }

    proptest! {
        #[test]
        fn a_number_of_sixteen_bytes_is_what_the_language_prints(number: i128) {
            prop_assert_eq!(plain(&number.to_be_bytes(), 0), number.to_string());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let json = RecordJson::new().map_err(|error| TestCaseError::fail(error.to_string()))?;
            for kind in Kind::ALL {
                let _ = json.write(kind, &bytes, &mut String::new());
            }
        }
    }
}
