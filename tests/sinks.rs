//! A row that the database refuses stops no sink: it goes to the dead letters, and later rows arrive.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{Decimal, LatestPrice, MarketEvent, PairKey, Timestamp};
use tests::support::connect::Sinks;
use tests::support::topics::Record;
use tests::support::{Installation, soon};

/// What the tables of this test ask of a row beyond what ours do.
const STRICTER: &str = "ALTER TABLE latest ALTER price TYPE numeric(12, 2), ALTER size SET NOT NULL; \
                        SELECT 1";

fn row(base: &str, price: &str, size: Option<&str>) -> Result<(PairKey, LatestPrice)> {
    let decimal = |text: &str| text.parse::<Decimal>().ok().context("a decimal");
    let pair = PairKey { base: base.into(), quote: "USD".into(), exchange: "test".into() };
    let event = MarketEvent {
        size: size.map(decimal).transpose()?,
        trade_id: Some(1),
        received_at: Timestamp(1_700_000_000_001),
        ..MarketEvent::trade(decimal(price)?, Decimal::ONE, Timestamp(1_700_000_000_000))
    };
    let latest = LatestPrice::of(&event, 1);
    Ok((pair, latest))
}

/// Refused for three reasons: a name that is no text of the database, a number that its column does not
/// hold, and no value where one must be. Each with the SQLSTATE that says so.
fn refused() -> Result<[((PairKey, LatestPrice), &'static str); 3]> {
    Ok([
        (row("NUL\0", "1", Some("1"))?, "22021"),
        (row("LARGE", "12345678901", Some("1"))?, "22003"),
        (row("EMPTY", "1", None)?, "23502"),
    ])
}

fn header<'a>(letter: &'a Record, name: &str) -> &'a str {
    letter.headers.get(name).map(String::as_str).unwrap_or_default()
}

/// Names with labels, and values, that the worker serves of this test's sink.
fn metrics(installation: &Installation) -> Result<BTreeMap<String, String>> {
    let url = format!("{}/metrics", installation.stack.connect);
    let text = reqwest::blocking::get(url)?.error_for_status()?.text()?;
    let pairs = text.lines().filter_map(|line| line.rsplit_once(' '));
    let ours = pairs.filter(|(name, _)| name.contains(&installation.prefix));
    let short = |name: &str| name.replace(&installation.prefix, "");
    Ok(ours.map(|(name, value)| (short(name), value.to_owned())).collect())
}

#[test]
fn refused_rows_go_to_the_dead_letters_and_later_rows_to_the_table() -> Result<()> {
    let installation = Installation::new("sinks")?;
    let codec = installation.codec()?;
    let sinks = Sinks::register(&installation, &[Topic::Latest], &[])?;
    sinks.schema.query(STRICTER)?;

    let bytes = |(pair, latest): &(PairKey, LatestPrice)| {
        (codec.to_bytes(pair), Some(codec.to_bytes(latest)))
    };
    let mut records = vec![bytes(&row("FIRST", "1", Some("1"))?)];
    for (bad, _) in &refused()? {
        records.push(bytes(bad));
        records.push(bytes(&row(&format!("AFTER{}", records.len()), "2", Some("2"))?));
    }
    installation.write(Topic::Latest, 0, &records)?;

    let good = ["AFTER2", "AFTER4", "AFTER6", "FIRST"];
    let names = "SELECT base FROM latest ORDER BY base COLLATE \"C\"";
    soon("the rows that are accepted", || Ok(sinks.schema.query(names)? == good))?;
    // A batch of its own, after the refusals.
    installation.write(Topic::Latest, 0, &[bytes(&row("LAST", "3", Some("3"))?)])?;
    soon("the row of a later batch", || {
        Ok(sinks.schema.query(names)?.last().is_some_and(|l| l == "LAST"))
    })?;
    ensure!(sinks.are_running()?, "a refused row stopped the sink");

    let letters = installation.read(Topic::DeadLetters)?;
    ensure!(letters.len() == 3, "{letters:?}");
    for ((bad, sqlstate), offset) in refused()?.iter().zip(["1", "3", "5"]) {
        let letter = letters.iter().find(|letter| header(letter, "offset") == offset);
        let letter =
            letter.with_context(|| format!("no letter of offset {offset}: {letters:?}"))?;
        let (key, value) = bytes(bad);
        ensure!(letter.key == key && letter.value == value, "not as it came: {letter:?}");
        ensure!(header(letter, "topic") == installation.topic(Topic::Latest), "{letter:?}");
        ensure!(header(letter, "partition") == "0", "{letter:?}");
        ensure!(header(letter, "reason") == "refused_by_database", "{letter:?}");
        ensure!(header(letter, "sqlstate") == *sqlstate, "{letter:?}");
        ensure!(!header(letter, "detail").is_empty(), "{letter:?}");
    }
    let expected = [
        ("connect_connector_running{connector=\"latest\"}", "1"),
        ("connect_rows_refused_total{connector=\"latest\",class=\"22\"}", "2"),
        ("connect_rows_refused_total{connector=\"latest\",class=\"23\"}", "1"),
        ("connect_task_running{connector=\"latest\",task=\"0\"}", "1"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let found = metrics(&installation)?;
    ensure!(found == expected.into_iter().collect(), "{found:?}");
    drop(sinks);
    installation.finish()
}
