//! What is written down a second time, outside of the code, says the same as the code: connectors,
//! tables, topics on the broker, alert rules and panels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use schemas::{Decimal, Kind, PairKey, Ticker, Timestamp};
use serde_json::Value;
use tests::support::broker::Row;
use tests::support::postgres::Schema;
use tests::support::stack::root;
use tests::support::venue::Simulated;
use tests::support::{Installation, Stack, broker, soon, topics};
use venues::Venue;

/// The topics of which a row can vanish: a reorganisation takes the last swap of a bucket.
const VANISHING: [Topic; 3] = [Topic::PoolMinutes, Topic::Token5m, Topic::Token1h];

fn connector(topic: Topic) -> Result<Value> {
    let path = root().join("connect").join(format!("{}.json", topic.base_name()));
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
}

fn setting<'a>(config: &'a Value, name: &str) -> &'a str {
    config[name].as_str().unwrap_or_default()
}

/// A field of a schema: its name, and what it is in SQL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    name: String,
    kind: String,
    nullable: bool,
}

/// The fields of a schema, those marked as state apart.
fn fields(schema: &str) -> Result<(Vec<Column>, BTreeSet<String>)> {
    let schema: Value = serde_json::from_str(schema)?;
    let (mut columns, mut state) = (Vec::new(), BTreeSet::new());
    for field in schema["fields"].as_array().context("fields")? {
        let name = setting(field, "name").to_owned();
        if setting(field, "doc").starts_with("State:") {
            state.insert(name.clone());
        }
        let branches = field["type"].as_array();
        let of = branches.and_then(|b| b.iter().find(|b| *b != "null")).unwrap_or(&field["type"]);
        let plain = of.as_str().or(of["type"].as_str()).unwrap_or_default();
        let kind = match (plain, of["logicalType"].as_str()) {
            ("bytes", Some("decimal")) => format!("numeric({},{})", of["precision"], of["scale"]),
            ("long", Some("timestamp-millis")) => "timestamp with time zone".into(),
            ("long", None) => "bigint".into(),
            ("int", None) => "integer".into(),
            ("boolean", None) => "boolean".into(),
            ("string" | "enum", None) => "text".into(),
            // Of records: the sink writes them as JSON.
            ("array", None) => "jsonb".into(),
            other => format!("no column for {other:?}"),
        };
        columns.push(Column { name, kind, nullable: branches.is_some() });
    }
    Ok((columns, state))
}

fn excluded(topic: Topic) -> Result<BTreeSet<String>> {
    let config = connector(topic)?;
    let names = setting(&config, "field.exclude.list").split(',');
    Ok(names.filter(|name| !name.is_empty()).map(|name| name.trim().to_owned()).collect())
}

#[test]
fn every_sink_upserts_its_own_topic_into_its_own_table_by_the_key() -> Result<()> {
    for topic in Topic::SUNK {
        let (name, config) = (topic.base_name(), connector(topic)?);
        for (setting_name, expected) in [
            ("topics", format!("${{TOPIC_PREFIX}}{name}")),
            ("collection.name.format", format!("${{PG_SCHEMA}}.{name}")),
            ("dead.letters.topic", Topic::DeadLetters.name("${TOPIC_PREFIX}")),
            // Anything else lets go of rows that cannot be decoded while the registry is away.
            ("errors.tolerance", String::new()),
            ("insert.mode", "upsert".into()),
            ("primary.key.mode", "record_key".into()),
            ("delete.enabled", VANISHING.contains(&topic).to_string()),
            ("schema.evolution", "none".into()),
            ("consumer.override.isolation.level", "read_committed".into()),
            ("consumer.override.auto.offset.reset", "earliest".into()),
        ] {
            let found = setting(&config, setting_name);
            ensure!(found == expected, "connect/{name}.json: {setting_name} is {found:?}");
        }
        let (_, value) = topic.kinds().context("a topic with schemas")?;
        let (_, state) = fields(value.schema())?;
        // State that no reader needs, and nothing else, is left out.
        ensure!(excluded(topic)? == state, "connect/{name}.json excludes {:?}", excluded(topic)?);
    }
    let expected: BTreeSet<_> =
        Topic::SUNK.iter().map(|topic| format!("{}.json", topic.base_name())).collect();
    let found: BTreeSet<_> = files(&root().join("connect"), &["json"])?
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    ensure!(found == expected, "connect/ has {found:?}");
    Ok(())
}

#[test]
fn every_table_has_the_fields_of_its_topic() -> Result<()> {
    let stack = Stack::up()?;
    let schema = Schema::create(&stack, &format!("test_tables_{}", std::process::id()))?;
    for topic in Topic::SUNK {
        let table = topic.base_name();
        let (key, value) = topic.kinds().context("a topic with schemas")?;
        let ((key, _), (value, _)) = (fields(key.schema())?, fields(value.schema())?);
        let hidden = excluded(topic)?;
        let shown = value.into_iter().filter(|column| !hidden.contains(&column.name));
        let mut expected: Vec<_> = key.iter().cloned().chain(shown).collect();
        if matches!(topic.kinds(), Some((_, Kind::Candle))) {
            // The one column that the database computes.
            let (name, kind) = ("complete".to_owned(), "boolean".to_owned());
            expected.push(Column { name, kind, nullable: true });
        }
        expected.sort();
        let rows = schema.query(&format!(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        ))?;
        let mut found: Vec<_> = rows
            .iter()
            .map(|row| {
                let parts: Vec<_> = row.split('|').collect();
                let [name, kind] = [parts[0], parts[1]].map(str::to_owned);
                Column { name, kind, nullable: parts[2] == "t" }
            })
            .collect();
        found.sort();
        ensure!(found == expected, "{table} has\n{found:?}\nand its topic\n{expected:?}");
        let primary = schema.query(&format!(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = \
             ANY (indkey) WHERE indrelid = '{table}'::regclass AND indisprimary ORDER BY attnum"
        ))?;
        let names: Vec<_> = key.into_iter().map(|column| column.name).collect();
        ensure!(primary == names, "the primary key of {table} is {primary:?}, not {names:?}");
    }
    Ok(())
}

/// Columns and conditions of an installation that was made before `complete` was a column.
const BEFORE_COMPLETE: &str = "ALTER TABLE ohlc_1m DROP COLUMN complete; \
    ALTER TABLE ohlc_1h DROP COLUMN complete; ALTER TABLE ohlc_1d DROP COLUMN complete";

/// What the database says of a candle of a minute with these marks.
const MARKED: [(&str, &str); 8] = [
    ("'CLOSED', 0, time, time, false, 60000, false, NULL", "t"),
    ("'REVISED', 1, time, time, false, 60000, false, 0", "t"),
    ("'OPEN', 0, time, time, false, 60000, false, NULL", "f"),
    ("'CLOSED', 0, time, time, true, 60000, false, NULL", "f"),
    ("'CLOSED', 0, time, time, false, 6000, false, NULL", "f"),
    ("'CLOSED', 0, time, time, false, NULL, false, NULL", "f"),
    ("'CLOSED', 0, time, time, false, 60000, true, NULL", "f"),
    ("'CLOSED', 0, time, time, false, 60000, false, 1", "f"),
];

#[test]
fn tables_of_before_get_complete_with_their_rows() -> Result<()> {
    let stack = Stack::up()?;
    let schema = Schema::create(&stack, &format!("test_complete_{}", std::process::id()))?;
    schema.query(BEFORE_COMPLETE)?;
    for table in ["ohlc_1m", "ohlc_1h"] {
        for (minute, (marks, _)) in MARKED.iter().enumerate() {
            schema.query(&format!(
                "INSERT INTO {table} SELECT 'BTC', 'USD', 'coinbase', 'TRADE', time, 1, 1, 1, 1, \
                 1, 1, NULL, NULL, 1, {marks} FROM (SELECT 'epoch'::timestamptz + {minute} * \
                 interval '1 minute') AS t (time)"
            ))?;
        }
    }
    // Applied at each start.
    for _ in 0..2 {
        stack.script("tables.sh", &[], &[("PG_SCHEMA", schema.name())])?;
    }
    let found =
        |table: &str| schema.query(&format!("SELECT complete FROM {table} ORDER BY open_time"));
    let expected = MARKED.map(|(_, complete)| complete);
    ensure!(found("ohlc_1m")? == expected, "{:?}", found("ohlc_1m")?);
    // A minute covers no hour.
    ensure!(found("ohlc_1h")?.iter().all(|complete| complete == "f"), "{:?}", found("ohlc_1h")?);
    Ok(())
}

#[test]
fn the_acls_name_each_topic_and_no_other() -> Result<()> {
    let text = fs::read_to_string(root().join("infra/kafka/acls.txt"))?;
    let code = text.lines().filter(|line| !line.starts_with('#'));
    let words = code.flat_map(|line| line.split([' ', ',']));
    let found: BTreeSet<_> =
        words.filter_map(|word| word.strip_prefix("${TOPIC_PREFIX}")).collect();
    let expected: BTreeSet<_> = Topic::ALL.iter().map(|topic| topic.base_name()).collect();
    ensure!(found == expected, "infra/kafka/acls.txt names {found:?}");
    Ok(())
}

#[test]
fn topics_are_created_as_the_table_says() -> Result<()> {
    let installation = Installation::new("settings")?;
    let bootstrap = &installation.stack.bootstrap_servers;
    let counts = topics::list(bootstrap)?;
    for topic in Topic::ALL {
        let name = installation.topic(topic);
        let partitions = counts.get(&name).copied().unwrap_or(0);
        ensure!(
            i32::try_from(partitions)? == DEFAULT_PARTITIONS,
            "{name}: {partitions} partitions"
        );
        let found = broker::topic_settings(bootstrap, &name)?;
        for (setting, value) in topic.settings() {
            let found = found.get(setting).map(String::as_str).unwrap_or_default();
            let sorted = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
            ensure!(sorted(found) == sorted(&value), "{name}: {setting} is {found:?}");
        }
    }
    installation.finish()
}

fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path, extensions)?);
        } else if extensions.contains(&extension.as_str()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn scripts_leave_topics_to_the_table() -> Result<()> {
    // The other topics have the names of their tables, which SQL has to name.
    let private = Topic::ALL.into_iter().filter(|topic| !Topic::SUNK.contains(topic));
    let names: Vec<_> = private.map(Topic::base_name).collect();
    for path in files(&root().join("infra"), &["sh", "properties"])? {
        for (index, line) in fs::read_to_string(&path)?.lines().enumerate() {
            let code = line.split(" #").next().unwrap_or_default();
            if code.trim_start().starts_with('#') {
                continue;
            }
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            // A route of the reads may have a topic's name.
            let code = code.replace("/v1/", "/v1_");
            let mut words = code.split(|c| !is_part(c));
            let named = words.find(|word| names.contains(word));
            ensure!(named.is_none(), "{}:{}: topic {named:?}", path.display(), index + 1);
        }
    }
    Ok(())
}

/// The metrics that rules and panels name, and where.
fn metrics_in_use() -> Result<BTreeMap<String, String>> {
    let mut expressions = Vec::new();
    for path in files(&root().join("infra/prometheus"), &["yml"])? {
        let test = path.file_name().is_some_and(|name| name.to_string_lossy().contains("test"));
        if !test {
            expressions.push((path.clone(), fs::read_to_string(&path)?));
        }
    }
    for path in files(&root().join("infra/grafana"), &["json"])? {
        let text = fs::read_to_string(&path)?;
        let lines = text.lines().filter(|line| line.contains("\"expr\""));
        expressions.push((path.clone(), lines.collect::<Vec<_>>().join("\n")));
    }
    let mut found = BTreeMap::new();
    for (path, text) in expressions {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if ["processor_", "producer_", "connect_"].iter().any(|prefix| word.starts_with(prefix))
            {
                found.insert(word.to_owned(), path.display().to_string());
            }
        }
    }
    ensure!(!found.is_empty(), "no rule names a metric");
    Ok(found)
}

/// The names that the Connect worker declares: without a sink there are no values.
fn connect_metrics(stack: &Stack) -> Vec<String> {
    let text = reqwest::blocking::get(format!("{}/metrics", stack.connect))
        .and_then(reqwest::blocking::Response::text)
        .unwrap_or_default();
    let declared = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    declared.map(str::to_owned).collect()
}

/// Tickers of both options of one strike: the metrics of a model show themselves with the first.
fn call_and_put(installation: &Installation) -> Result<Vec<Row>> {
    let codec = installation.codec()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let decimal = |text: &str| text.parse::<Decimal>().ok();
    let ticker = Ticker {
        mark_price: decimal("0.9"),
        mark_iv: decimal("50"),
        delta: decimal("0.9"),
        underlying_price: decimal("100000"),
        event_time: Timestamp(i64::try_from(now)?),
        received_at: Timestamp(i64::try_from(now)?),
        ..Ticker::default()
    };
    let names = ["BTC-25DEC99-100000-C", "BTC-25DEC99-100000-P"];
    let key = |name| codec.to_bytes(&PairKey::new(name, "BTC", "deribit"));
    Ok(names.map(|name| (key(name), Some(codec.to_bytes(&ticker)))).into())
}

#[test]
fn every_metric_of_a_rule_or_panel_is_served() -> Result<()> {
    let installation = Installation::new("metrics")?;
    let mut member = installation.member("one", &["--topologies", "prices,options,index"])?;
    let rate = ["--rate", "200"];
    let venue = Simulated::start(&installation, Venue::Coinbase, &["BTC-USD"], 1, &rate)?;
    let mut feed = venue.follow(&installation, &[])?;
    // One that is dropped: what counts by reason shows itself with the first.
    installation.write(Topic::Events, 0, &[(vec![], Some(vec![]))])?;
    installation.write(Topic::OptionTickers, 0, &call_and_put(&installation)?)?;
    let mut missing = Vec::new();
    let served = soon("every metric to be served", || {
        let mut names: BTreeSet<String> = member.metrics()?.into_keys().collect();
        let text = feed.metrics()?.unwrap_or_default();
        names.extend(text.lines().map(str::to_owned));
        names.extend(connect_metrics(&installation.stack));
        let is_served = |metric: &str| {
            let rest = |name: &str| name.strip_prefix(metric).map(str::to_owned);
            names
                .iter()
                .filter_map(|name| rest(name))
                .any(|r| r.is_empty() || r.starts_with(['{', ' ']))
        };
        missing = metrics_in_use()?.into_iter().filter(|(name, _)| !is_served(name)).collect();
        Ok(missing.is_empty())
    });
    ensure!(served.is_ok(), "{served:?}: {missing:?}");
    feed.stop()?;
    installation.finish_with([member])
}
