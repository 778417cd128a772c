//! What others read with: Python and kcat over the compacted topics, psql over the tables, pandas and
//! polars over the interface. Each script of `tests/clients` runs as it is documented, and says exactly
//! what was written.
//!
//! The Python packages are in an environment of their own (`infra/venv.sh`); kcat and psql are Debian's.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{MarketEvent, PairKey, Timestamp};
use serde_json::{Value, json};
use tests::support::connect::Sinks;
use tests::support::installation::IMPATIENT;
use tests::support::stack::root;
use tests::support::{Installation, settles, soon};

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const MINUTE: i64 = 60_000;

/// Base, quote, exchange, price, size and time.
type Trade = (&'static str, &'static str, &'static str, &'static str, &'static str, i64);

const TRADES: [Trade; 6] = [
    ("BTC", "USD", "coinbase", "100", "1", EPOCH),
    ("BTC", "USD", "coinbase", "101.000000000000000001", "2", EPOCH + 1_000),
    ("BTC", "USD", "coinbase", "99.5", "0.25", EPOCH + MINUTE),
    ("BTC", "USD", "coinbase", "98", "0.5", EPOCH + 5 * MINUTE),
    ("ETH", "EUR", "kraken", "10.01", "1", EPOCH),
    ("ETH", "EUR", "kraken", "10.02", "1", EPOCH + 2_000),
];

fn write(installation: &Installation) -> Result<()> {
    let codec = installation.codec()?;
    let record = |(base, quote, exchange, price, size, time): &Trade| -> Result<_> {
        let event = MarketEvent::trade(price.parse()?, size.parse()?, Timestamp(*time));
        let pair = PairKey::new(*base, *quote, *exchange);
        Ok((codec.to_bytes(&pair), Some(codec.to_bytes(&event))))
    };
    let records = TRADES.iter().map(record).collect::<Result<Vec<_>>>()?;
    installation.write(Topic::Events, 0, &records)
}

/// What a command prints, line by line.
fn lines(command: &mut Command) -> Result<Vec<String>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// What has to be there is installed, or this fails.
fn install(installation: &Installation) -> Result<()> {
    installation.stack.script("install.sh", &["kcat:kcat"], &[])?;
    let versions = lines(Command::new("bash").arg("-c").arg(format!(
        "source {}/infra/versions.env; printf '%s\\n' \
         \"confluent-kafka[avro,schemaregistry]==$CONFLUENT_KAFKA_VERSION\" \
         \"pandas==$PANDAS_VERSION\" \"polars==$POLARS_VERSION\"",
        root().display()
    )))?;
    let packages: Vec<&str> = versions.iter().map(String::as_str).collect();
    installation.stack.script("venv.sh", &[&["clients"], &packages[..]].concat(), &[])?;
    Ok(())
}

fn client(name: &str) -> String {
    root().join("tests/clients").join(name).to_string_lossy().into_owned()
}

fn python(script: &str) -> Command {
    let run = std::env::var_os("RUN_DIR").map_or(root().join(".run"), Into::into);
    let mut command = Command::new(run.join("venv/clients/bin/python"));
    command.arg(client(script));
    command
}

#[test]
fn every_documented_client_reads_exactly_what_was_written() -> Result<()> {
    let installation = Installation::new("clients")?;
    install(&installation)?;
    write(&installation)?;
    let sinks = Sinks::register(&installation, &[Topic::Latest, Topic::Ohlc1m], &[])?;
    let mut member = installation.ready_member("one", &IMPATIENT)?;
    installation.caught_up(&mut [&mut member])?;

    // Clients read once: by then no transaction may be open.
    for topic in [Topic::Latest, Topic::Ohlc1m] {
        installation.read(topic)?;
    }
    python_reads_compacted_topics(&installation)?;
    kcat_reads_keys(&installation)?;
    let address = member.address()?;
    settles("the member to show its commit", || frames_are_read(&address))?;
    psql_reads_tables(&sinks)?;

    member.stop()?;
    drop(sinks);
    installation.finish()
}

fn python_reads_compacted_topics(installation: &Installation) -> Result<()> {
    let stack = &installation.stack;
    let read = |topic: Topic, fields: &[&str]| -> Result<BTreeSet<String>> {
        let mut command = python("compacted.py");
        command.args([&stack.bootstrap_servers, &stack.registry, &installation.topic(topic)]);
        let picked = lines(&mut command)?.into_iter().map(|line| {
            let row: Value = serde_json::from_str(&line)?;
            let fields: Vec<&Value> = fields.iter().map(|name| &row[*name]).collect();
            Ok(json!(fields).to_string())
        });
        picked.collect()
    };
    let expected = |rows: &[Value]| rows.iter().map(Value::to_string).collect::<BTreeSet<_>>();
    let latest =
        read(Topic::Latest, &["base", "quote", "exchange", "price", "size", "event_time"])?;
    let wanted = expected(&[
        json!(["BTC", "USD", "coinbase", "98", "0.5", "2024-01-01T00:05:00.000Z"]),
        json!(["ETH", "EUR", "kraken", "10.02", "1", "2024-01-01T00:00:02.000Z"]),
    ]);
    ensure!(latest == wanted, "latest: {latest:#?}");
    let fields = ["base", "open_time", "high", "close", "base_volume", "trades", "status"];
    let candles = read(Topic::Ohlc1m, &fields)?;
    let (first, high) = ("2024-01-01T00:00:00.000Z", "101.000000000000000001");
    let wanted = expected(&[
        json!(["BTC", first, high, high, "3", 2, "CLOSED"]),
        json!(["BTC", "2024-01-01T00:01:00.000Z", "99.5", "99.5", "0.25", 1, "CLOSED"]),
        json!(["BTC", "2024-01-01T00:05:00.000Z", "98", "98", "0.5", 1, "OPEN"]),
        json!(["ETH", first, "10.02", "10.02", "2", 2, "OPEN"]),
    ]);
    ensure!(candles == wanted, "candles: {candles:#?}");
    Ok(())
}

fn kcat_reads_keys(installation: &Installation) -> Result<()> {
    let topic = installation.topic(Topic::Latest);
    let mut kcat = Command::new(client("kcat.sh"));
    let mut seen = lines(kcat.args([&installation.stack.bootstrap_servers, &topic]))?;
    // The same records by our own client: a key is a magic byte, four bytes of schema id, and text.
    let mut expected = Vec::new();
    for record in installation.read(Topic::Latest)? {
        let key = record.key.as_slice();
        let (head, names) = key.split_at_checked(5).context("a key has a head")?;
        let id = u32::from_be_bytes(head[1..].try_into()?);
        let names = std::str::from_utf8(names)?;
        expected.push(format!("{} {} {}{id}{names}", record.partition, record.offset, head[0]));
    }
    seen.sort();
    expected.sort();
    ensure!(!expected.is_empty() && seen == expected, "kcat: {seen:?}, not {expected:?}");
    ensure!(seen.iter().any(|line| line.ends_with("\u{6}BTC\u{6}USD\u{10}coinbase")), "{seen:?}");
    Ok(())
}

fn frames_are_read(address: &str) -> Result<()> {
    let seen = lines(python("frames.py").arg(format!("http://{address}")))?;
    let rows = [
        "2024-01-01T00:00:00.000Z 101.000000000000000001 3 2 CLOSED",
        "2024-01-01T00:01:00.000Z 99.5 0.25 1 CLOSED",
        "2024-01-01T00:05:00.000Z 98 0.5 1 OPEN",
    ];
    let by = |name: &str| rows.map(|row| format!("{name} {row}"));
    ensure!(seen == [by("pandas"), by("polars")].concat(), "frames: {seen:#?}");
    Ok(())
}

fn psql_reads_tables(sinks: &Sinks) -> Result<()> {
    let wanted = [
        "latest|BTC|USD|coinbase|98|2024-01-01 00:05:00",
        "latest|ETH|EUR|kraken|10.02|2024-01-01 00:00:02",
        "ohlc_1m|BTC|USD|coinbase|2024-01-01 00:00|100|101.000000000000000001|100|\
         101.000000000000000001|3|2|CLOSED",
        "ohlc_1m|BTC|USD|coinbase|2024-01-01 00:01|99.5|99.5|99.5|99.5|0.25|1|CLOSED",
        "ohlc_1m|BTC|USD|coinbase|2024-01-01 00:05|98|98|98|98|0.5|1|OPEN",
    ];
    let mut seen = Vec::new();
    let found = soon("the tables to hold what the topics hold", || {
        seen = sinks.schema.file(&client("latest.sql"))?;
        Ok(seen == wanted)
    });
    found.with_context(|| format!("psql: {seen:#?}"))
}
