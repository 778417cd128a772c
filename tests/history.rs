//! Candles that the topics no longer have: rows that only the tables hold are answered together with
//! what a view has, and a database that is away makes no read fail.
//!
//! The view reaches `PostgreSQL` through a proxy, which goes away and comes back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::Client;
use schemas::topic::Topic;
use schemas::{MarketEvent, PairKey, Timestamp};
use serde_json::Value;
use tests::support::installation::IMPATIENT;
use tests::support::postgres::Schema;
use tests::support::proxy::{Network, Proxy};
use tests::support::{Installation, soon, wait_until};

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const MINUTE: i64 = 60_000;
/// A view leaves a database that did not answer alone for five seconds.
const SETTLES: Duration = Duration::from_mins(1);
/// Minutes of the pair that only the table has, by their number before the first that is here.
const OLDER: [i64; 4] = [7, 5, 2, 1];
/// Minutes that are here.
const HERE: [i64; 3] = [0, 1, 3];

fn write(installation: &Installation) -> Result<()> {
    let codec = installation.codec()?;
    let key = codec.to_bytes(&PairKey::new("BTC", "USD", "coinbase"));
    let records = HERE.iter().map(|minute| -> Result<_> {
        // Well within its minute, so that the minute before is over.
        let time = Timestamp(EPOCH + minute * MINUTE + 30_000);
        let event = MarketEvent::trade(format!("{}", 100 + minute).parse()?, "1".parse()?, time);
        Ok((key.clone(), Some(codec.to_bytes(&event))))
    });
    let records = records.collect::<Result<Vec<_>>>()?;
    installation.write(Topic::Events, 0, &records)
}

/// Rows as a sink left them long ago, and one that the view has too, as it was before.
fn fill(schema: &Schema) -> Result<()> {
    for before in OLDER.into_iter().chain([0]) {
        let price = if before == 5 {
            "95.000000000000000001".to_owned()
        } else {
            (100 - before).to_string()
        };
        schema.query(&format!(
            "INSERT INTO ohlc_1m SELECT 'BTC', 'USD', 'coinbase', 'TRADE', time, {price}, {price}, {price}, {price}, \
             2, {price} * 2, NULL, NULL, 1, 'CLOSED', 0, time, time, false, NULL, false, NULL \
             FROM (SELECT 'epoch'::timestamptz + {} * interval '1 millisecond') AS t (time)",
            EPOCH - before * MINUTE
        ))?;
    }
    Ok(())
}

/// Minute of each row, counted from the first that is here, and its close.
fn closes(page: &Value) -> Result<Vec<(i64, String)>> {
    let rows = page["candles"].as_array().context("candles")?.iter();
    rows.map(|row| {
        let time = row["open_time"].as_str().and_then(Timestamp::parse_rfc3339).context("time")?;
        let close = row["close"].as_str().context("close")?.to_owned();
        Ok(((time.0 - EPOCH) / MINUTE, close))
    })
    .collect()
}

struct View {
    http: Client,
    url: String,
}

impl View {
    /// A page, and what it says of its history in both places.
    fn page(&self, query: &str) -> Result<(Value, String)> {
        let url = format!("{}/v1/candles?base=BTC&quote=USD&exchange=coinbase{query}", self.url);
        let answer = self.http.get(url).send()?;
        ensure!(answer.status() == 200, "{query}: {}", answer.status());
        let said = answer.headers().get("history").context("no header")?.to_str()?.to_owned();
        let page: Value = answer.json()?;
        ensure!(page["history"] == said, "{said}: {page}");
        Ok((page, said))
    }

    /// A page that its history had a part in: a database that was slow once is left alone for a while.
    fn settled(&self, query: &str) -> Result<(Value, String)> {
        wait_until("the history to answer", SETTLES, || {
            let (page, said) = self.page(query)?;
            Ok((said != "away").then_some((page, said)))
        })
    }

    /// All pages of two rows.
    fn pages(&self, query: &str) -> Result<Vec<(i64, String)>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let (page, _) = self.settled(&format!("{query}&limit=2{cursor}"))?;
            let rows = closes(&page)?;
            ensure!(rows.len() <= 2, "{page}");
            all.extend(rows);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }
}

#[test]
fn what_the_topics_no_longer_have_comes_from_the_tables() -> Result<()> {
    let installation = Installation::new("history")?;
    let name = installation.prefix.trim_end_matches('.').replace('-', "_");
    let schema = Schema::create(&installation.stack, &name)?;
    fill(&schema)?;
    write(&installation)?;
    let mut member = installation.member("one", &IMPATIENT)?;
    installation.caught_up(&mut [&mut member])?;
    let stack = &installation.stack;
    let (proxy, port) = Proxy::before(format!("{}:{}", stack.postgres_host, stack.postgres_port))?;
    let database = format!(
        "postgresql://{}:secret@127.0.0.1:{port}/{}?options=-csearch_path%3D{name}",
        stack.postgres_user, stack.postgres_db
    );
    let mut process = installation.ready_view("view", &["--history-url", &database])?;
    let view = View { http: Client::new(), url: format!("http://{}", process.address()?) };

    let row = |minute: i64, close: &str| (minute, close.to_owned());
    let older = [row(-7, "93"), row(-5, "95.000000000000000001"), row(-2, "98"), row(-1, "99")];
    // The one that both have is as the view has it: its volume is 1 there and 2 in the table.
    let here = [row(0, "100"), row(1, "101"), row(3, "103")];
    let all = [&older[..], &here].concat();
    let (page, said) = view.settled("")?;
    ensure!(closes(&page)? == all && said == "read", "{page:#}");
    ensure!(page["resolution"] == "1m" && page["candles"][4]["base_volume"] == "1", "{page:#}");
    ensure!(page["candles"][1]["quote_volume"] == "190.000000000000000002", "{page:#}");
    ensure!(view.pages("")? == all, "{:?}", view.pages("")?);
    let (page, said) = view.page(&format!("&from={EPOCH}"))?;
    ensure!(closes(&page)? == here && said == "here", "{page:#}");
    let (from, to) = (EPOCH - 5 * MINUTE, EPOCH - MINUTE);
    ensure!(closes(&view.settled(&format!("&from={from}&to={to}"))?.0)? == older[1..3], "between");
    // Across the seam as well, and by page, a minute without trades is the close before.
    let filled = view.pages(&format!(
        "&from={}&to={}&fill=previous",
        EPOCH - 4 * MINUTE,
        EPOCH + 4 * MINUTE
    ))?;
    let five = "95.000000000000000001";
    let wanted = [
        (-4, five),
        (-3, five),
        (-2, "98"),
        (-1, "99"),
        (0, "100"),
        (1, "101"),
        (2, "101"),
        (3, "103"),
    ];
    ensure!(filled == wanted.map(|(minute, close)| row(minute, close)), "{filled:?}");

    proxy.set(Network::Refuses);
    soon("the database to be missed", || Ok(view.page("")?.1 == "away"))?;
    let (page, _) = view.page("")?;
    ensure!(closes(&page)? == here, "{page:#}");
    ensure!(view.page(&format!("&from={EPOCH}"))?.1 == "here", "what is here needs no database");
    proxy.set(Network::Passes);
    soon("the database to be back", || Ok(view.page("")?.1 == "read"))?;
    ensure!(closes(&view.settled("")?.0)? == all, "after it came back");

    let log = process.stop()?;
    ensure!(!log.contains("secret"), "the log names the password");
    ensure!(log.contains("the history cannot be read"), "{log}");
    member.stop()?;
    drop(schema);
    installation.finish()
}
