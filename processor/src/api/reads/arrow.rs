//! Candles as an Apache Arrow IPC stream, which pandas and polars read without parsing.
//!
//! Decimals are `decimal128(38, 18)` and times are milliseconds in UTC.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, Schema};
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
    let open_time = rows.iter().map(|row| row.open_time.0.0);
    let open_time = TimestampMillisecondArray::from_iter_values(open_time).with_timezone("UTC");
    let mut columns: Vec<Column> = vec![("open_time", false, Arc::new(open_time))];
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
        columns.push((name, true, Arc::new(decimal(rows.iter().map(get))?)));
    }
    let long = |get: fn(&CandleRow) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<Int64Array>())
    };
    let boolean = |get: fn(&CandleRow) -> Option<bool>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<BooleanArray>())
    };
    let status: StringArray = rows.iter().map(|row| row.status).collect();
    let revision: Int32Array = rows.iter().map(|row| row.revision).collect();
    columns.extend([
        ("trades", false, long(|row| Some(row.trades))),
        ("status", true, Arc::new(status) as ArrayRef),
        ("revision", true, Arc::new(revision)),
        ("gap", false, boolean(|row| Some(row.gap))),
        ("coverage_ms", true, long(|row| row.coverage_ms)),
        ("partial_start", false, boolean(|row| Some(row.partial_start))),
        ("missing_trades", true, long(|row| row.missing_trades)),
        ("complete", false, boolean(|row| Some(row.complete))),
        ("filled", false, boolean(|row| Some(row.filled == Some(true)))),
    ]);
    let field =
        |(name, nullable, array): &Column| Field::new(*name, array.data_type().clone(), *nullable);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, _, a)| a).collect())
}

fn decimal(values: impl Iterator<Item = Option<Number>>) -> Result<Decimal128Array, ArrowError> {
    // 38 and 18 fit.
    let (precision, scale) = (u8::try_from(PRECISION), i8::try_from(SCALE));
    let units: Decimal128Array = values.map(|value| Some(value?.0.units())).collect();
    units.with_precision_and_scale(precision.unwrap_or(38), scale.unwrap_or(18))
}

#[cfg(test)]
mod tests {
    use arrow_array::Array as _;
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
