//! Rows as an Apache Arrow IPC stream, which pandas and polars read without parsing.
//!
//! Decimals are `decimal128(38, 18)` and times are milliseconds in UTC. Integers of up to 78 digits
//! are text: Arrow's widest decimal has 76.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, Schema};
use schemas::decimal::{PRECISION, SCALE};

use crate::api::book_rows::SpreadRow;
use crate::api::columns::{Cells, Table as Columns};
use crate::api::rows::{AsText, CandleRow, Number, Time};

/// The candles as one batch.
pub(super) fn stream(rows: &[CandleRow]) -> Result<Vec<u8>, ArrowError> {
    let mut table = Table::new(rows);
    table.time("open_time", |row| row.open_time);
    table.decimals(&[
        ("open", |row| row.open),
        ("high", |row| row.high),
        ("low", |row| row.low),
        ("close", |row| row.close),
        ("base_volume", |row| row.base_volume),
        ("quote_volume", |row| row.quote_volume),
        ("taker_buy_base", |row| row.taker_buy_base),
        ("taker_buy_quote", |row| row.taker_buy_quote),
    ])?;
    table.long("trades", false, |row| Some(row.trades));
    table.text("status", |row| row.status);
    table.int("revision", |row| row.revision);
    table.flag("gap", |row| row.gap);
    table.long("coverage_ms", true, |row| row.coverage_ms);
    table.flag("partial_start", |row| row.partial_start);
    table.long("missing_trades", true, |row| row.missing_trades);
    table.flag("complete", |row| row.complete);
    table.flag("filled", |row| row.filled == Some(true));
    table.write()
}

/// The spreads as one batch.
pub(super) fn spreads(rows: &[SpreadRow]) -> Result<Vec<u8>, ArrowError> {
    let mut table = Table::new(rows);
    table.time("open_time", |row| row.open_time);
    table.long("updates", false, |row| Some(row.updates));
    table.decimals(&[
        ("spread_min", |row| row.spread_min),
        ("spread_max", |row| row.spread_max),
        ("spread_max_abs", |row| row.spread_max_abs),
        ("spread_mean", |row| row.spread_mean),
        ("mid_open", |row| row.mid_open),
        ("mid_high", |row| row.mid_high),
        ("mid_low", |row| row.mid_low),
        ("mid_close", |row| row.mid_close),
        ("mid_mean", |row| row.mid_mean),
        ("mid_mean_10", |row| row.mid_mean_10),
        ("microprice", |row| row.microprice),
        ("imbalance", |row| row.imbalance),
    ])?;
    table.long("coverage_ms", true, |row| row.coverage_ms);
    table.flag("gap", |row| row.gap);
    table.text("status", |row| Some(row.status));
    table.int("revision", |row| Some(row.revision));
    table.write()
}

/// A table as one batch. Every column may have nulls.
pub(super) fn of_columns(table: &Columns<'_>) -> Result<Vec<u8>, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (name, cells) in &table.columns {
        let column: ArrayRef = match cells {
            Cells::Numbers(values) => {
                Arc::new(decimal(values.iter().map(|value| value.map(AsText)))?)
            }
            Cells::Times(values) => {
                let times = values.iter().map(|time| time.map(|time| time.0));
                let times: TimestampMillisecondArray = times.collect();
                Arc::new(times.with_timezone("UTC"))
            }
            Cells::Texts(values) => Arc::new(values.iter().collect::<StringArray>()),
            Cells::Wholes(values) => Arc::new(values.iter().collect::<Int64Array>()),
            Cells::Flags(values) => Arc::new(values.iter().collect::<BooleanArray>()),
            Cells::Exacts(values) => {
                let texts = values.iter().map(|value| value.map(|value| value.to_string()));
                Arc::new(texts.collect::<StringArray>())
            }
        };
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    batch(fields, columns)
}

fn batch(fields: Vec<Field>, columns: Vec<ArrayRef>) -> Result<Vec<u8>, ArrowError> {
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// A column of decimals, and the field of a row that it holds.
type Decimals<R> = (&'static str, fn(&R) -> Option<Number>);

/// Columns made of rows, in the order in which they are added.
struct Table<'a, R> {
    rows: &'a [R],
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl<'a, R> Table<'a, R> {
    const fn new(rows: &'a [R]) -> Self {
        Self { rows, fields: Vec::new(), columns: Vec::new() }
    }

    fn add(&mut self, name: &str, nullable: bool, column: ArrayRef) {
        self.fields.push(Field::new(name, column.data_type().clone(), nullable));
        self.columns.push(column);
    }

    fn time(&mut self, name: &str, get: fn(&R) -> Time) {
        let times = self.rows.iter().map(|row| get(row).0.0);
        let times = TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC");
        self.add(name, false, Arc::new(times));
    }

    fn decimals(&mut self, columns: &[Decimals<R>]) -> Result<(), ArrowError> {
        for (name, get) in columns {
            let column = decimal(self.rows.iter().map(get))?;
            self.add(name, true, Arc::new(column));
        }
        Ok(())
    }

    fn long(&mut self, name: &str, nullable: bool, get: fn(&R) -> Option<i64>) {
        let column: Int64Array = self.rows.iter().map(get).collect();
        self.add(name, nullable, Arc::new(column));
    }

    fn int(&mut self, name: &str, get: fn(&R) -> Option<i32>) {
        let column: Int32Array = self.rows.iter().map(get).collect();
        self.add(name, true, Arc::new(column));
    }

    fn text(&mut self, name: &str, get: fn(&R) -> Option<&'static str>) {
        let column: StringArray = self.rows.iter().map(get).collect();
        self.add(name, true, Arc::new(column));
    }

    fn flag(&mut self, name: &str, get: fn(&R) -> bool) {
        let column: BooleanArray = self.rows.iter().map(|row| Some(get(row))).collect();
        self.add(name, false, Arc::new(column));
    }

    fn write(self) -> Result<Vec<u8>, ArrowError> {
        batch(self.fields, self.columns)
    }
}

fn decimal(values: impl Iterator<Item = Option<Number>>) -> Result<Decimal128Array, ArrowError> {
    // 38 and 18 fit.
    let (precision, scale) = (u8::try_from(PRECISION), i8::try_from(SCALE));
    let units: Decimal128Array = values.map(|value| Some(value?.0.units())).collect();
    units.with_precision_and_scale(precision.unwrap_or(38), scale.unwrap_or(18))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Decimal128Type;
    use arrow_schema::DataType;
    use schemas::Timestamp;

    use super::*;

    #[test]
    fn a_stream_holds_the_exact_units_and_nulls() -> Result<(), Box<dyn std::error::Error>> {
        let price = "100000.000000000000000001".parse()?;
        let rows = [
            CandleRow::filled(Timestamp(60_000), Some(price)),
            CandleRow::filled(Timestamp(120_000), None),
        ];
        let bytes = stream(&rows)?;
        let mut reader = arrow_ipc::reader::StreamReader::try_new(&bytes[..], None)?;
        let batch = reader.next().ok_or("no batch")??;
        let close = batch.column_by_name("close").ok_or("no close")?;
        let close = close.as_primitive::<Decimal128Type>();
        assert_eq!(close.iter().collect::<Vec<_>>(), [Some(price.units()), None]);
        assert_eq!(close.data_type(), &DataType::Decimal128(38, 18));
        let complete = batch.column_by_name("complete").ok_or("no complete")?;
        assert_eq!(complete.as_boolean().true_count(), 0);
        assert_eq!(batch.num_columns(), 18);
        Ok(())
    }
}
