//! Tables that are partitioned by time take every row, drop what is older than their retention, and come
//! from an earlier version with all rows; a row of an ended option stays, and one of a bucket that a
//! reorganisation has emptied goes.
//!
//! All rows come through the real sink, so its upserts and its checks of a table meet partitions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use schemas::instrument::{CLOSED, InstrumentName};
use schemas::topic::Topic;
use schemas::{
    Basis, Candle, CandleKey, Decimal, Derivative, Index, IndexKey, IndexMember, OptionMinute,
    OptionMinuteKey, OptionState, PairKey, Status, Timestamp, TokenBucket, TokenBucketKey,
    TokenKey,
};
use tests::support::broker::Row;
use tests::support::connect::Sinks;
use tests::support::postgres::Schema;
use tests::support::stack::Stack;
use tests::support::{Installation, soon};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Older than every partition that is created ahead, and than the retention of the test.
const OLD: i64 = 400 * DAY;

fn decimal(text: &str) -> Result<Decimal> {
    text.parse().ok().context("a decimal")
}

/// The minute that is so long ago.
fn minute_before(age_ms: i64) -> Result<Timestamp> {
    let age = Duration::from_millis(age_ms.unsigned_abs());
    let now = i64::try_from((SystemTime::now() - age).duration_since(UNIX_EPOCH)?.as_millis())?;
    Ok(Timestamp(now - now % MINUTE))
}

fn option() -> PairKey {
    PairKey::new("BTC-25DEC26-100000-C", "BTC", "deribit")
}

/// Minutes of the option, all with this IV.
fn minutes(installation: &Installation, times: &[Timestamp], iv: &str) -> Result<Vec<Row>> {
    let codec = installation.codec()?;
    let value = OptionMinute { mark_iv: Some(decimal(iv)?), ..OptionMinute::default() };
    let row = |time: &Timestamp| {
        let key = OptionMinuteKey { pair: option(), open_time: *time };
        (codec.to_bytes(&key), Some(codec.to_bytes(&value)))
    };
    Ok(times.iter().map(row).collect())
}

/// The file of metrics that a run writes.
fn metrics_of_a_run(installation: &Installation, schema: &Schema) -> Result<String> {
    let file = installation.folder().join("tables.prom");
    let path = file.to_string_lossy().into_owned();
    let own = [("PG_SCHEMA", schema.name()), ("TABLES_METRICS", &path)];
    installation.stack.script("tables.sh", &["maintain"], &own)?;
    std::fs::read_to_string(&file).context("TABLES_METRICS")
}

fn maintain(stack: &Stack, schema: &Schema, retention: &str) -> Result<String> {
    let arguments = ["maintain", "--table-retention", retention];
    stack.script("tables.sh", &arguments, &[("PG_SCHEMA", schema.name())])
}

/// The partition and IV of each minute, the oldest first.
const PLACES: &str =
    "SELECT tableoid::regclass, trim_scale(mark_iv) FROM options_1m ORDER BY open_time";

/// The partition of the day of a time.
fn place(schema: &Schema, time: Timestamp) -> Result<String> {
    let day = format!("to_timestamp({}) AT TIME ZONE 'UTC'", time.0 / 1000);
    let rows = schema.query(&format!("SELECT to_char({day}, '\"options_1m_p\"YYYY_MM_DD')"))?;
    rows.into_iter().next().context("a name")
}

#[test]
fn rows_of_every_age_have_a_place_and_retention_drops_the_old() -> Result<()> {
    let installation = Installation::new("partitions")?;
    let sinks = Sinks::register(&installation, &[Topic::Options1m], &[])?;
    let (schema, stack) = (&sinks.schema, &installation.stack);
    let times = [minute_before(OLD)?, minute_before(0)?];
    let [old, new] = [place(schema, times[0])?, place(schema, times[1])?];
    let late = "options_1m_default".to_owned();
    let upsert = |iv: &str, old: &str| -> Result<()> {
        installation.write(Topic::Options1m, 0, &minutes(&installation, &times, iv)?)?;
        let expected = [format!("{old}|{iv}"), format!("{new}|{iv}")];
        soon("both rows, once each", || Ok(schema.query(PLACES)? == expected))
            .with_context(|| format!("{:?}, not {expected:?}", schema.query(PLACES)))
    };
    // The first finds no row, the second its own, in DEFAULT as in a partition.
    upsert("50", &late)?;
    upsert("51.000000000000000001", &late)?;

    let said = maintain(stack, schema, "options_1m=forever")?;
    ensure!(said.contains(&format!("created {old}, with 1 rows of {late}")), "{said}");
    let moved = [format!("{old}|51.000000000000000001"), format!("{new}|51.000000000000000001")];
    ensure!(schema.query(PLACES)? == moved, "{:?}", schema.query(PLACES)?);
    upsert("52", &old)?;

    let said = maintain(stack, schema, "options_1m=30d")?;
    ensure!(said.contains(&format!("dropped {old}")) && !said.contains(&new), "{said}");
    ensure!(schema.query(PLACES)? == [format!("{new}|52")], "{:?}", schema.query(PLACES)?);
    // Again: a row for a partition that is gone is refused by nothing, and stays until the next run.
    upsert("53", &late)?;
    let said = maintain(stack, schema, "options_1m=30d")?;
    ensure!(said.contains(&format!("deleted 1 rows of {late}")), "{said}");
    ensure!(schema.query(PLACES)? == [format!("{new}|53")], "{:?}", schema.query(PLACES)?);
    ensure!(maintain(stack, schema, "options_1m=30d")?.is_empty(), "a run without work");
    ensure!(sinks.are_running()?, "the sink stopped");
    ensure!(installation.read(Topic::DeadLetters)?.is_empty(), "a row was refused");
    let metrics = metrics_of_a_run(&installation, schema)?;
    ensure!(metrics.contains("\nmarket_tables_maintained_timestamp_seconds 1"), "{metrics}");
    let size = metrics.split("market_table_bytes{table=\"options_1m\"} ").nth(1);
    let size: u64 = size.and_then(|rest| rest.lines().next()).context("a size")?.parse()?;
    ensure!(size > 8192 && !metrics.contains("options_1m_p"), "not of all partitions: {metrics}");
    drop(sinks);
    installation.finish()
}

/// The table as an earlier version made it, with its reader, and rows of two years.
const WITHOUT_PARTITIONS: &str = "CREATE TABLE old (LIKE ohlc_1m INCLUDING ALL); \
    DROP TABLE ohlc_1m; ALTER TABLE old RENAME TO ohlc_1m; \
    ALTER INDEX old_pkey RENAME TO ohlc_1m_pkey; \
    ALTER INDEX old_open_time_idx RENAME TO ohlc_1m_open_time; \
    GRANT SELECT ON ohlc_1m TO PUBLIC; \
    INSERT INTO ohlc_1m SELECT 'BTC', 'USD', 'coinbase', 'TRADE', time, 1, 1, 1, 1, 1, 1, NULL, NULL, \
    1, 'CLOSED', 0, time, time, false, 60000, false, NULL \
    FROM generate_series(date_trunc('minute', now()) - interval '2 years', now(), '6 hours') AS time";
/// Count, and a fingerprint of every column of every row.
const ALL_ROWS: &str = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY open_time)) FROM ohlc_1m t \
                        WHERE base = 'BTC'";

fn candle(installation: &Installation, base: &str, close: &str) -> Result<Row> {
    let codec = installation.codec()?;
    let open_time = minute_before(0)?;
    let pair = PairKey::new(base, "USD", "coinbase");
    let key = CandleKey { pair, basis: Basis::Trade, open_time };
    let candle = Candle {
        status: Status::Closed,
        coverage_ms: Some(MINUTE),
        ..Candle::at(decimal(close)?, open_time, 0)
    };
    Ok((codec.to_bytes(&key), Some(codec.to_bytes(&candle))))
}

#[test]
fn a_table_without_partitions_gets_them_with_all_rows_while_its_sink_runs() -> Result<()> {
    let installation = Installation::new("migrated")?;
    let sinks = Sinks::register(&installation, &[Topic::Ohlc1m], &[])?;
    let (schema, stack) = (&sinks.schema, &installation.stack);
    let own = [("PG_SCHEMA", schema.name())];
    schema.query(WITHOUT_PARTITIONS)?;
    let write = |base: &str, close: &str| {
        installation.write(Topic::Ohlc1m, 0, &[candle(&installation, base, close)?])
    };
    let closes = || {
        let columns = "base, trim_scale(close), complete FROM ohlc_1m WHERE base <> 'BTC'";
        schema.query(&format!("SELECT {columns} ORDER BY base"))
    };
    write("ETH", "10")?;
    soon("a row of the old table", || Ok(closes()? == ["ETH|10|t"]))?;
    let before = schema.query(ALL_ROWS)?;

    let said = stack.script("tables.sh", &[], &own)?;
    ensure!(said.contains("ohlc_1m: has no partitions"), "{said}");
    schema.query("CREATE VIEW seen AS SELECT * FROM ohlc_1m")?;
    let refused = stack.script("tables.sh", &["migrate"], &own);
    ensure!(format!("{refused:?}").contains("the views seen"), "{refused:?}");
    schema.query("DROP VIEW seen")?;
    let said = stack.script("tables.sh", &["migrate"], &own)?;
    ensure!(said.contains("ohlc_1m: its rows are in the partition ohlc_1m_before"), "{said}");

    write("ETH", "11")?;
    write("SOL", "12")?;
    soon("rows after the migration", || Ok(closes()? == ["ETH|11|t", "SOL|12|t"]))?;
    for retention in ["ohlc_1m=forever", "ohlc_1m=90d"] {
        maintain(stack, schema, retention)?;
        ensure!(schema.query(ALL_ROWS)? == before, "not all rows, or other ones");
    }
    let kind = "SELECT relkind, has_table_privilege('public', oid, 'SELECT') \
                FROM pg_class WHERE oid = 'ohlc_1m'::regclass";
    ensure!(schema.query(kind)? == ["p|t"], "{:?}", schema.query(kind)?);
    let left = "SELECT conname FROM pg_constraint WHERE conname = 'before_partitions' \
                AND connamespace = current_schema::regnamespace";
    ensure!(schema.query(left)?.is_empty(), "a constraint would refuse later rows");
    // Partitions follow the old table without a hole, and one is ahead.
    let ahead = "SELECT count(*) > 0 FROM pg_inherits WHERE inhparent = 'ohlc_1m'::regclass \
                 AND inhrelid::regclass::text LIKE 'ohlc_1m_p%'";
    ensure!(schema.query(ahead)? == ["t"], "no partition ahead");
    let said = stack.script("tables.sh", &["migrate", "ohlc_1m"], &own)?;
    ensure!(said.contains("has partitions already"), "{said}");
    ensure!(sinks.are_running()?, "the sink stopped");
    ensure!(installation.read(Topic::DeadLetters)?.is_empty(), "a row was refused");
    drop(sinks);
    installation.finish()
}

#[test]
fn a_retention_that_is_wrong_changes_no_table() -> Result<()> {
    let stack = Stack::up()?;
    let schema = Schema::create(&stack, &format!("test_retention_{}", std::process::id()))?;
    for (retention, words) in [
        ("ohlc_1d=90d", "'ohlc_1d=90d' names no table that is partitioned by time: use ohlc_1m"),
        ("ohlc_1m", "'ohlc_1m' is not TABLE=DURATION: write days, weeks or years"),
        ("options_1m=30d,ohlc_1m=0d", "'ohlc_1m=0d' is not TABLE=DURATION"),
        ("ohlc_1m=1m", "'ohlc_1m=1m' is not TABLE=DURATION"),
        ("ohlc_1m=1d; DROP TABLE latest", "is not TABLE=DURATION"),
    ] {
        let refused = format!("{:?}", maintain(&stack, &schema, retention).err());
        ensure!(refused.contains(words), "{retention}: {refused}");
    }
    Ok(())
}

/// The columns of `options` that differ between the states of the test.
const OPTION: &str = "SELECT currency, trim_scale(strike), \"right\", o.right, state, bid_iv, mark_price, ask, \
                      closed_at IS NULL, settlement_price FROM options o";

#[test]
fn a_row_of_an_ended_option_stays_and_null_is_null() -> Result<()> {
    let installation = Installation::new("ended")?;
    let sinks = Sinks::register(&installation, &[Topic::Options, Topic::Derivatives], &[])?;
    let codec = installation.codec()?;
    let name = InstrumentName::parse("BTC-25DEC26-100000-C").context("a name")?;
    let open = OptionState {
        mark_price: Some(decimal("0.000000000000000001")?),
        bid_iv: Some(Decimal::ZERO),
        ..OptionState::named(&name).context("an option")?
    };
    let closed = OptionState {
        state: CLOSED.into(),
        closed_at: Some(Timestamp(1_798_185_600_000)),
        ..open.clone()
    };
    let key = codec.to_bytes(&option());
    let record = |state: &OptionState| (key.clone(), Some(codec.to_bytes(state)));
    let row = |state: &str, closes: &str| {
        let iv = "0.000000000000000000";
        [format!("BTC|100000|CALL|CALL|{state}|{iv}|0.000000000000000001||{closes}|")]
    };
    installation.write(Topic::Options, 0, &[record(&open)])?;
    soon("the option", || Ok(sinks.schema.query(OPTION)? == row("OPEN", "t")))
        .with_context(|| format!("{:?}", sinks.schema.query(OPTION)))?;
    installation.write(Topic::Options, 0, &[record(&closed), (key.clone(), None)])?;
    soon("its end", || Ok(sinks.schema.query(OPTION)? == row("CLOSED", "f")))?;
    // A row behind the tombstone: the sink has read it.
    let other = codec.to_bytes(&PairKey::new("OTHER", "BTC", "deribit"));
    installation.write(Topic::Options, 0, &[(other, Some(codec.to_bytes(&open)))])?;
    let states = "SELECT base, state FROM options ORDER BY base";
    let expected = ["BTC-25DEC26-100000-C|CLOSED", "OTHER|OPEN"];
    soon("the option that follows", || Ok(sinks.schema.query(states)? == expected))?;

    let name = InstrumentName::parse("BTC-PERPETUAL").context("a name")?;
    let perpetual = Derivative {
        current_funding: Some(decimal("-0.00001")?),
        ..Derivative::named(&name).context("a perpetual")?
    };
    let key = codec.to_bytes(&PairKey::new("BTC-PERPETUAL", "USD", "deribit"));
    installation.write(Topic::Derivatives, 0, &[(key, Some(codec.to_bytes(&perpetual)))])?;
    let shown = "SELECT class, currency, trim_scale(current_funding), expiry_time, funding_8h \
                 FROM derivatives";
    let expected = ["PERPETUAL|BTC|-0.00001||"];
    soon("the perpetual", || Ok(sinks.schema.query(shown)? == expected))?;
    ensure!(sinks.are_running()?, "a sink stopped");
    drop(sinks);
    installation.finish()
}

#[test]
fn a_bucket_without_swaps_loses_its_row_and_integers_have_all_their_digits() -> Result<()> {
    let installation = Installation::new("vanishing")?;
    let sinks = Sinks::register(&installation, &[Topic::Token5m, Topic::Index], &[])?;
    let codec = installation.codec()?;
    let open_time = minute_before(0)?;
    let bucket = |volume: Option<&str>| -> Result<TokenBucket> {
        let volume = volume.map(str::parse).transpose()?;
        Ok(TokenBucket {
            swaps: 3,
            volume,
            pools: 2,
            event_time: open_time,
            ..TokenBucket::default()
        })
    };
    let key =
        |token: &str| codec.to_bytes(&TokenBucketKey::new(&TokenKey::new(1, token), open_time));
    let largest = "9".repeat(78);
    let least = format!("-{}", "1".repeat(78));
    let rows =
        [("a", Some(largest.as_str())), ("b", Some(&least)), ("c", None), ("d", Some("128"))];
    let records =
        rows.map(|(token, volume)| Ok((key(token), Some(codec.to_bytes(&bucket(volume)?)))));
    let records = records.into_iter().collect::<Result<Vec<Row>>>()?;
    installation.write(Topic::Token5m, 0, &records)?;
    let shown = "SELECT token, volume, volume_usd FROM token_5m ORDER BY token";
    let expected = [format!("a|{largest}|"), format!("b|{least}|"), "c||".into(), "d|128|".into()];
    soon("four tokens", || Ok(sinks.schema.query(shown)? == expected))
        .with_context(|| format!("{:?}", sinks.schema.query(shown)))?;

    // One that vanishes, one that comes back in the same batch, and one that was never there.
    let back = (key("b"), Some(codec.to_bytes(&bucket(Some("-1"))?)));
    let gone = |token: &str| (key(token), None);
    installation.write(Topic::Token5m, 0, &[gone("a"), gone("b"), back, gone("x"), gone("d")])?;
    let expected = ["b|-1|", "c||"];
    soon("rows to vanish", || Ok(sinks.schema.query(shown)? == expected))
        .with_context(|| format!("{:?}", sinks.schema.query(shown)))?;

    let member = |exchange: &str, price: &str, used: bool| -> Result<IndexMember> {
        let (price, exchange) = (decimal(price)?, exchange.to_owned());
        let unused_because = (!used).then(|| Index::STALE.to_owned());
        Ok(IndexMember { exchange, price, event_time: open_time, age_ms: 7, used, unused_because })
    };
    let members = vec![member("a\"b", "61845.36", true)?, member("kraken", "0", false)?];
    let index = Index { price: Some(decimal("61845.36")?), used: 1, members, ..Index::default() };
    let empty = Index::default();
    let records = [("BTC", index), ("NONE", empty)].map(|(base, index)| {
        (codec.to_bytes(&IndexKey::new(base, "USD")), Some(codec.to_bytes(&index)))
    });
    installation.write(Topic::Index, 0, &records)?;
    let shown = "SELECT base, trim_scale(price), used, members FROM index ORDER BY base";
    let time = open_time.0;
    let expected = [
        format!(
            "BTC|61845.36|1|[{{\"used\": true, \"price\": \"61845.36\", \"age_ms\": 7, \
             \"exchange\": \"a\\\"b\", \"event_time\": {time}, \"unused_because\": null}}, \
             {{\"used\": false, \"price\": \"0\", \"age_ms\": 7, \"exchange\": \"kraken\", \
             \"event_time\": {time}, \"unused_because\": \"stale\"}}]"
        ),
        "NONE||0|[]".into(),
    ];
    soon("the index with its members", || Ok(sinks.schema.query(shown)? == expected))
        .with_context(|| format!("{:?}", sinks.schema.query(shown)))?;
    ensure!(sinks.are_running()?, "a sink stopped");
    drop(sinks);
    installation.finish()
}
