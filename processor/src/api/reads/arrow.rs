//! Candles as an Apache Arrow IPC stream, which pandas and polars read without parsing.
//!
//! Decimals are `decimal128(38, 18)` and times are milliseconds in UTC.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use schemas::decimal::{PRECISION, SCALE};

use crate::api::rows::{CandleRow, Number};

/// The candles as one batch.
pub(super) fn stream(rows: &[CandleRow]) -> Result<Vec<u8>, ArrowError> {
    let batch = batch(rows)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// A column: its name, whether it has nulls, and its values.
type Column = (&'static str, bool, ArrayRef);
/// A column of decimals, and the field of a row that it holds.
type Decimals = (&'static str, fn(&CandleRow) -> Option<Number>);

fn batch(rows: &[CandleRow]) -> Result<RecordBatch, ArrowError> {
    let mut open_time = TimestampMillisecondBuilder::new().with_timezone("UTC");
    for row in rows {
        open_time.append_value(row.open_time.0.0);
    }
    let mut columns: Vec<Column> = vec![("open_time", false, Arc::new(open_time.finish()))];
    let decimals: [Decimals; 8] = [
        ("open", |row| row.open),
        ("high", |row| row.high),
        ("low", |row| row.low),
        ("close", |row| row.close),
        ("base_volume", |row| row.base_volume),
        ("quote_volume", |row| row.quote_volume),
        ("taker_buy_base", |row| row.taker_buy_base),
        ("taker_buy_quote", |row| row.taker_buy_quote),
    ];
    for (name, get) in decimals {
        columns.push((name, true, decimal(rows.iter().map(get))));
    }
    columns.push(("trades", false, long(rows.iter().map(|row| Some(row.trades)))));
    let mut status = StringBuilder::new();
    for row in rows {
        status.append_option(row.status);
    }
    columns.push(("status", true, Arc::new(status.finish())));
    let mut revision = Int32Builder::new();
    for row in rows {
        revision.append_option(row.revision);
    }
    columns.push(("revision", true, Arc::new(revision.finish())));
    columns.push(("gap", false, boolean(rows.iter().map(|row| row.gap))));
    columns.push(("coverage_ms", true, long(rows.iter().map(|row| row.coverage_ms))));
    columns.push(("partial_start", false, boolean(rows.iter().map(|row| row.partial_start))));
    columns.push(("missing_trades", true, long(rows.iter().map(|row| row.missing_trades))));
    columns.push(("complete", false, boolean(rows.iter().map(|row| row.complete))));
    columns.push(("filled", false, boolean(rows.iter().map(|row| row.filled.unwrap_or(false)))));
    let field =
        |(name, nullable, array): &Column| Field::new(*name, array.data_type().clone(), *nullable);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, _, a)| a).collect())
}

fn decimal(values: impl Iterator<Item = Option<Number>>) -> ArrayRef {
    // 38 and 18 fit.
    let (precision, scale) = (u8::try_from(PRECISION), i8::try_from(SCALE));
    let data_type = DataType::Decimal128(precision.unwrap_or(38), scale.unwrap_or(18));
    let mut builder = Decimal128Builder::new().with_data_type(data_type);
    for value in values {
        builder.append_option(value.map(|value| value.0.units()));
    }
    Arc::new(builder.finish())
}

fn long(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = Int64Builder::new();
    for value in values {
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}

fn boolean(values: impl Iterator<Item = bool>) -> ArrayRef {
    let mut builder = BooleanBuilder::new();
    for value in values {
        builder.append_value(value);
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use arrow_array::Array as _;
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Decimal128Type;
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
