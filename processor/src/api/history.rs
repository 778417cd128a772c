//! Candles older than the stores, from the sink's tables in `PostgreSQL`.
//!
//! ```text
//! request   [from ................................... to)
//! tables    [from ...... oldest in the stores)
//! stores                [oldest in the stores ....... to)
//! ```
//!
//! Each candle is taken from one of the two, so none comes twice. A read does not fail when the
//! database does not answer in time: the answer holds the stores' candles and states that older
//! ones may be missing.

use std::fmt;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use deadpool_postgres::{Manager, Pool, Runtime};
use prometheus::{IntCounterVec, Registry};
use schemas::{Candle, Decimal, PairKey, Status, Timestamp};
use tokio::runtime::Handle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls, Row};

use super::metrics;
use super::store_reader::CandleRange;

/// Connections: reads of old candles are few, and the sinks need the database more.
const CONNECTIONS: usize = 8;
/// The time that a read may wait for the database, connecting included: well below a read's
/// timeout.
const BUDGET: Duration = Duration::from_secs(2);
/// How long a database that did not answer is not queried again, so that not every read waits.
const PAUSE_MS: i64 = 5_000;
/// The last second that `PostgreSQL` and the calendars of readers can represent.
const END_S: i64 = 253_402_300_799;

/// The URL of the database. Its `Debug` output hides it, because it may contain a password.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryUrl(String);

impl HistoryUrl {
    /// The text of a flag. [`History::new`] parses it, and its errors do not repeat it.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn config(&self) -> Result<Config> {
        let mut config = Config::from_str(&self.0)
            .map_err(|error| anyhow!("it is not postgresql://USER@HOST:PORT/DATABASE: {error}"))?;
        ensure!(!config.get_hosts().is_empty(), "it names no host");
        ensure!(config.get_dbname().is_some(), "it names no database");
        ensure!(
            config.get_ssl_mode() != SslMode::Require,
            "TLS to the database is not supported: use a tunnel, and sslmode=disable"
        );
        let timeout = BUDGET.as_millis();
        let own = format!("-c default_transaction_read_only=on -c statement_timeout={timeout}");
        let options = config.get_options().map_or(own.clone(), |given| format!("{given} {own}"));
        config.options(options).application_name("processor").connect_timeout(BUDGET);
        Ok(config)
    }
}

impl fmt::Debug for HistoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The use of the history by one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Past {
    /// The stores alone were read.
    Here,
    /// The database was queried and answered.
    Read,
    /// The database did not answer: older candles may be missing.
    Away,
}

impl Past {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Read => "read",
            Self::Away => "away",
        }
    }
}

/// A pool of connections to the sink's database.
pub struct History {
    pool: Pool,
    reads: IntCounterVec,
    /// The end of the pause after a failed query, in milliseconds.
    away_until: AtomicI64,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("History")
    }
}

impl History {
    /// Parses the URL and does not connect: the process starts also while the database is away.
    pub fn new(url: &HistoryUrl, registry: &Registry) -> Result<Self> {
        let config = url.config().context("--history-url")?;
        let pool = Pool::builder(Manager::new(config, NoTls))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()
            .context("--history-url")?;
        let reads = metrics::history_reads(registry)?;
        Ok(Self { pool, reads, away_until: AtomicI64::new(i64::MIN) })
    }

    /// The candles of a range, the oldest first; `None` when the database does not answer. It
    /// blocks, so it is called on the blocking pool.
    pub(super) fn candles(
        &self,
        pair: &PairKey,
        range: CandleRange,
        closed_only: bool,
        now: Timestamp,
    ) -> Option<Vec<(Timestamp, Candle)>> {
        let count = |outcome| self.reads.with_label_values(&[outcome]).inc();
        if now.0 < self.away_until.load(Ordering::Relaxed) {
            count("skipped");
            return None;
        }
        let asked = async {
            let asked = self.ask(pair, range, closed_only);
            tokio::time::timeout(BUDGET, asked).await.context("it took too long")?
        };
        match Handle::current().block_on(asked) {
            Ok(candles) => {
                count("read");
                Some(candles)
            }
            Err(error) => {
                count("away");
                self.away_until.store(now.0.saturating_add(PAUSE_MS), Ordering::Relaxed);
                tracing::warn!(error = format!("{error:#}"), "the history cannot be read");
                None
            }
        }
    }

    async fn ask(
        &self,
        pair: &PairKey,
        range: CandleRange,
        closed_only: bool,
    ) -> Result<Vec<(Timestamp, Candle)>> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(&query(range.interval.topic().base_name())).await?;
        let (from, to) = (seconds(range.from), seconds(range.to));
        let (basis, limit) = (range.basis.as_str(), i64::try_from(range.limit)?);
        let parts = (&pair.base, &pair.quote, &pair.exchange);
        let rows = client
            .query(
                &statement,
                &[parts.0, parts.1, parts.2, &basis, &from, &to, &closed_only, &limit],
            )
            .await?;
        rows.iter().map(candle).collect()
    }
}

/// Windows begin at whole seconds, so a bound is rounded up to the next one.
fn seconds(time: Timestamp) -> i64 {
    let whole = time.0.div_euclid(1000) + i64::from(time.0.rem_euclid(1000) > 0);
    whole.clamp(0, END_S)
}

/// Numbers as text, which is exact, and times as milliseconds.
fn query(table: &str) -> String {
    format!(
        "SELECT (extract(epoch FROM open_time) * 1000)::bigint, \
         trim_scale(open)::text, trim_scale(high)::text, trim_scale(low)::text, \
         trim_scale(close)::text, trim_scale(base_volume)::text, trim_scale(quote_volume)::text, \
         trim_scale(taker_buy_base)::text, trim_scale(taker_buy_quote)::text, trades, status, \
         revision, (extract(epoch FROM open_event_time) * 1000)::bigint, \
         (extract(epoch FROM close_event_time) * 1000)::bigint, gap, coverage_ms, partial_start, \
         missing_trades FROM {table} \
         WHERE base = $1 AND quote = $2 AND exchange = $3 AND basis = $4 \
         AND open_time >= 'epoch'::timestamptz + $5::bigint * interval '1 second' \
         AND open_time < 'epoch'::timestamptz + $6::bigint * interval '1 second' \
         AND NOT ($7::boolean AND status = 'OPEN') ORDER BY open_time LIMIT $8::bigint"
    )
}

/// A row of the query.
fn candle(row: &Row) -> Result<(Timestamp, Candle)> {
    let number = |index: usize| -> Result<Option<Decimal>> {
        let text: Option<&str> = row.try_get(index)?;
        Ok(text.map(str::parse).transpose()?)
    };
    let price = |index| number(index)?.context("a price is null");
    let time = |index: usize| -> Result<Timestamp> { Ok(Timestamp(row.try_get(index)?)) };
    let status: &str = row.try_get(10)?;
    let candle = Candle {
        open: price(1)?,
        high: price(2)?,
        low: price(3)?,
        close: price(4)?,
        base_volume: number(5)?,
        quote_volume: number(6)?,
        taker_buy_base: number(7)?,
        taker_buy_quote: number(8)?,
        trades: row.try_get(9)?,
        status: Status::parse(status).with_context(|| format!("no such status: {status}"))?,
        revision: row.try_get(11)?,
        open_event_time: time(12)?,
        close_event_time: time(13)?,
        gap: row.try_get(14)?,
        coverage_ms: row.try_get(15)?,
        partial_start: row.try_get(16)?,
        missing_trades: row.try_get(17)?,
        // The tables lack the ties and ids: these candles are shown, and never merged.
        open_tie: 0,
        close_tie: 0,
        seen: Vec::new(),
    };
    Ok((time(0)?, candle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_reached_is_refused_without_repeating_it() {
        let read = |text: &str| History::new(&HistoryUrl::new(text), &Registry::new());
        assert!(read("postgresql://u:secret@127.0.0.1:5433/market").is_ok());
        assert!(read("postgresql://u@h/market?options=-csearch_path%3Dx&sslmode=prefer").is_ok());
        for (text, what) in [
            ("secret", "postgresql://"),
            ("postgresql://u:secret@h:port/market", "postgresql://"),
            ("postgresql:///market", "host"),
            ("postgresql://u:secret@h", "database"),
            ("postgresql://u:secret@h/market?sslmode=require", "TLS"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(what) && !error.contains("secret"), "{text}: {error}");
        }
        let shown = format!("{:?}", HistoryUrl::new("postgresql://u:secret@h/market"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_range_is_asked_for_in_whole_seconds() {
        let all = [i64::MIN, 0, 1, 60_000, 60_001, i64::MAX].map(|ms| seconds(Timestamp(ms)));
        assert_eq!(all, [0, 0, 1, 60, 61, END_S]);
    }
}
