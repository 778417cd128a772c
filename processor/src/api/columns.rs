//! The columns of a record: one list that JSON, CSV and Arrow are written from.
//!
//! An option has forty fields. A list for each format could differ from the others.

use schemas::{Decimal, Integer, PairKey, Timestamp};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::rows::AsText;

/// The value of a column, of a record `V`.
pub(super) enum Get<V: 'static> {
    /// An exact decimal.
    Number(fn(&V) -> Option<Decimal>),
    /// An instant.
    Time(fn(&V) -> Option<Timestamp>),
    /// A word or a name.
    Text(fn(&V) -> Option<&str>),
    /// A whole number.
    Whole(fn(&V) -> Option<i64>),
    /// An exact integer of up to 78 digits: text in every format, because no other type holds it.
    Exact(fn(&V) -> Option<Integer>),
    /// True or false.
    Flag(fn(&V) -> Option<bool>),
}

/// A column of a record `V`.
pub(super) struct Column<V: 'static> {
    /// The name of the field in every format.
    pub(super) name: &'static str,
    get: Get<V>,
}

/// A column of decimals.
pub(super) const fn number<V: 'static>(
    name: &'static str,
    get: fn(&V) -> Option<Decimal>,
) -> Column<V> {
    Column { name, get: Get::Number(get) }
}

/// A column of instants.
pub(super) const fn time<V: 'static>(
    name: &'static str,
    get: fn(&V) -> Option<Timestamp>,
) -> Column<V> {
    Column { name, get: Get::Time(get) }
}

/// A column of words or names.
pub(super) const fn text<V: 'static>(name: &'static str, get: fn(&V) -> Option<&str>) -> Column<V> {
    Column { name, get: Get::Text(get) }
}

/// A column of whole numbers.
pub(super) const fn whole<V: 'static>(name: &'static str, get: fn(&V) -> Option<i64>) -> Column<V> {
    Column { name, get: Get::Whole(get) }
}

/// A column of exact integers.
pub(super) const fn exact<V: 'static>(
    name: &'static str,
    get: fn(&V) -> Option<Integer>,
) -> Column<V> {
    Column { name, get: Get::Exact(get) }
}

/// A column of what is true or false.
pub(super) const fn flag<V: 'static>(name: &'static str, get: fn(&V) -> Option<bool>) -> Column<V> {
    Column { name, get: Get::Flag(get) }
}

/// The name of a pair, before the columns of its record.
pub(super) static PAIR: &[Column<PairKey>] = &[
    text("base", |pair| Some(&pair.base)),
    text("quote", |pair| Some(&pair.quote)),
    text("exchange", |pair| Some(&pair.exchange)),
];

/// A record as a JSON object.
pub(super) struct Row<'a, V: 'static> {
    /// The pair of the record, if the object has its name.
    pub(super) pair: Option<&'a PairKey>,
    /// The record.
    pub(super) record: &'a V,
    /// Its columns.
    pub(super) columns: &'static [Column<V>],
}

impl<V: 'static> Serialize for Row<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(pair) = self.pair {
            entries(PAIR, pair, &mut map)?;
        }
        entries(self.columns, self.record, &mut map)?;
        map.end()
    }
}

fn entries<V: 'static, M: serde::ser::SerializeMap>(
    columns: &[Column<V>],
    record: &V,
    map: &mut M,
) -> Result<(), M::Error> {
    for Column { name, get } in columns {
        match get {
            Get::Number(get) => map.serialize_entry(name, &get(record).map(AsText))?,
            Get::Time(get) => map.serialize_entry(name, &get(record).map(AsText))?,
            Get::Text(get) => map.serialize_entry(name, &get(record))?,
            Get::Whole(get) => map.serialize_entry(name, &get(record))?,
            Get::Exact(get) => map.serialize_entry(name, &get(record).map(AsText))?,
            Get::Flag(get) => map.serialize_entry(name, &get(record))?,
        }
    }
    Ok(())
}

/// The values of one column, one for each row.
pub(super) enum Cells<'a> {
    /// Exact decimals.
    Numbers(Vec<Option<Decimal>>),
    /// Instants.
    Times(Vec<Option<Timestamp>>),
    /// Words or names.
    Texts(Vec<Option<&'a str>>),
    /// Whole numbers.
    Wholes(Vec<Option<i64>>),
    /// Exact integers.
    Exacts(Vec<Option<Integer>>),
    /// True or false.
    Flags(Vec<Option<bool>>),
}

impl Cells<'_> {
    /// The text of a row's value; empty for null.
    fn text(&self, row: usize) -> String {
        fn shown<T: ToString>(values: &[Option<T>], row: usize) -> String {
            values.get(row).and_then(Option::as_ref).map(T::to_string).unwrap_or_default()
        }
        match self {
            Self::Numbers(values) => shown(values, row),
            Self::Times(values) => shown(values, row),
            Self::Texts(values) => shown(values, row),
            Self::Wholes(values) => shown(values, row),
            Self::Exacts(values) => shown(values, row),
            Self::Flags(values) => shown(values, row),
        }
    }
}

/// Rows as columns, for CSV and Arrow.
#[derive(Default)]
pub(super) struct Table<'a> {
    /// Names and values, in their order.
    pub(super) columns: Vec<(String, Cells<'a>)>,
    rows: usize,
}

impl<'a> Table<'a> {
    /// Adds columns of records, their names after `prefix`. A row may lack its record.
    pub(super) fn add<V: 'static>(
        &mut self,
        prefix: &str,
        columns: &'static [Column<V>],
        records: &[Option<&'a V>],
    ) {
        self.rows = self.rows.max(records.len());
        for Column { name, get } in columns {
            let records = records.iter().copied();
            let cells = match get {
                Get::Number(get) => Cells::Numbers(records.map(|record| get(record?)).collect()),
                Get::Time(get) => Cells::Times(records.map(|record| get(record?)).collect()),
                Get::Text(get) => Cells::Texts(records.map(|record| get(record?)).collect()),
                Get::Whole(get) => Cells::Wholes(records.map(|record| get(record?)).collect()),
                Get::Exact(get) => Cells::Exacts(records.map(|record| get(record?)).collect()),
                Get::Flag(get) => Cells::Flags(records.map(|record| get(record?)).collect()),
            };
            self.columns.push((format!("{prefix}{name}"), cells));
        }
    }

    /// A line of names, then a line for each row.
    pub(super) fn csv(&self) -> csv::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|(name, _)| name))?;
        for row in 0..self.rows {
            writer.write_record(self.columns.iter().map(|(_, cells)| cells.text(row)))?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Trade {
        price: Option<Decimal>,
        side: &'static str,
    }

    static TRADE: &[Column<Trade>] =
        &[number("price", |trade| trade.price), text("side", |trade| Some(trade.side))];

    #[test]
    fn json_and_csv_have_the_same_names_and_values() -> Result<(), Box<dyn std::error::Error>> {
        let trades = [
            Trade { price: Some("100000.000000000000000001".parse()?), side: "buy" },
            Trade { price: None, side: "a,b" },
        ];
        let pair = PairKey::new("B", "Q", "x");
        let row = Row { pair: Some(&pair), record: &trades[0], columns: TRADE };
        let json = r#"{"base":"B","quote":"Q","exchange":"x","price":"100000.000000000000000001","side":"buy"}"#;
        assert_eq!(serde_json::to_string(&row)?, json);
        let mut table = Table::default();
        table.add("call_", TRADE, &[Some(&trades[0]), Some(&trades[1]), None]);
        let csv = String::from_utf8(table.csv()?)?;
        let lines = "call_price,call_side\n100000.000000000000000001,buy\n,\"a,b\"\n,\n";
        assert_eq!(csv, lines);
        Ok(())
    }
}
