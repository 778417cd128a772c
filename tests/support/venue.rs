//! A simulated venue as a process of its own, a producer that follows it, and what it traded.
//!
//! The simulator's market is a function of its seed, so what it made is made again here and
//! compared with what is in `events`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use schemas::{Basis, Codec, Decimal, FeedMark, Kind, MarketEvent, PairKey};
use simulator::market::Market;
use venues::Venue;

use super::topics::Record;
use super::{Installation, Process, wait_until};

/// What a busy machine takes to start a program.
const START: Duration = Duration::from_mins(1);
/// Trades of a market that are made again at most: a run of a test makes a hundredth of it.
const MAX_MADE: usize = 10_000_000;

/// A simulated venue.
pub struct Simulated {
    /// Its program.
    pub process: Process,
    venue: Venue,
    products: Vec<String>,
    seed: u64,
    url: String,
}

impl Simulated {
    /// Starts one with these products, or with all that the venue lists when there are none; `flags` say
    /// how much it trades and what goes wrong.
    pub fn start(
        installation: &Installation,
        venue: Venue,
        products: &[&str],
        seed: u64,
        flags: &[&str],
    ) -> Result<Self> {
        let (listed, number) = (products.join(","), seed.to_string());
        let own = ["simulate", "--venue", venue.as_str(), "--listen", "127.0.0.1:0"];
        let market = ["--seed", &number, "--products", &listed];
        let market = if products.is_empty() { &market[..2] } else { &market };
        let mut process = installation.command("producer", &[&own[..], market, flags].concat())?;
        let url = wait_until("a simulator to listen", START, || {
            process.alive()?;
            let lines = process.lines("url=\"")?;
            let url = lines.first().and_then(|line| line.split("url=\"").nth(1));
            Ok(url.and_then(|url| url.split('"').next()).map(str::to_owned))
        })?;
        let products = products.iter().map(|&product| product.to_owned()).collect();
        Ok(Self { process, venue, products, seed, url })
    }

    /// A producer that follows its products, or what the flags name when it has none of its own.
    pub fn follow(&self, installation: &Installation, flags: &[&str]) -> Result<Follower> {
        let listed = self.products.join(",");
        let own = ["run", "--venue", self.venue.as_str(), "--url", &self.url];
        // A free port, which its log names.
        let rest = ["--metrics", "127.0.0.1:0", "--products", &listed];
        let rest = if self.products.is_empty() { &rest[..2] } else { &rest };
        // Waits in proportion to a test: a venue's own would be minutes.
        let backoff = ["--backoff-first", "50ms", "--backoff-cap", "200ms"];
        let process = installation.producer(&[&own[..], rest, &backoff, flags].concat())?;
        Ok(Follower { process })
    }

    /// What it has traded, by pair and id: the market is made again until it holds `until` of each.
    pub fn made(&self, until: &BTreeMap<PairKey, i64>) -> Result<BTreeMap<PairKey, Made>> {
        let mut market = Market::new(self.seed, &self.products, 0)?;
        let mut made: BTreeMap<PairKey, Made> = BTreeMap::new();
        let pairs = self.products.iter().map(|product| self.venue.pair(product));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let mut trades: Vec<_> = market.products().iter().map(|one| one.last.clone()).collect();
        for _ in 0..MAX_MADE {
            for trade in trades.drain(..) {
                let product = &market.products()[trade.product];
                let (price, size) = (product.price(trade.price), product.size(trade.size));
                let id = trade.id.cast_signed();
                let of = made.entry(pairs[trade.product].clone()).or_default();
                of.insert(id, (price.parse()?, size.parse()?));
            }
            let has = |(pair, id): (&PairKey, &i64)| {
                made.get(pair).is_some_and(|made| made.contains_key(id))
            };
            if until.iter().all(has) {
                return Ok(made);
            }
            trades.push(market.trade(0));
        }
        anyhow::bail!("{} never traded {until:?}", self.venue)
    }

    /// The address of its feed.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its pairs.
    pub fn pairs(&self) -> Result<BTreeSet<PairKey>> {
        let pairs = self.products.iter().map(|product| Ok(self.venue.pair(product)?));
        pairs.collect()
    }
}

/// Price and size of each trade of a pair.
pub type Made = BTreeMap<i64, (Decimal, Decimal)>;

/// A producer.
pub struct Follower {
    /// Its program.
    pub process: Process,
}

impl Follower {
    /// All of its metrics as text; `None` until it serves them.
    pub fn metrics(&mut self) -> Result<Option<String>> {
        self.process.alive()?;
        let serving = self.process.lines("serving metrics")?;
        let address = serving.first().and_then(|line| line.split("address=").nth(1));
        let Some(address) = address.and_then(|rest| rest.split(' ').next()) else {
            return Ok(None);
        };
        let answer = reqwest::blocking::get(format!("http://{}/metrics", address.trim()));
        Ok(answer.and_then(reqwest::blocking::Response::text).ok())
    }

    /// The sum of a metric over all series whose labels hold `labels`; 0 while nobody answers.
    pub fn metric(&mut self, name: &str, labels: &str) -> Result<f64> {
        let text = self.metrics()?.unwrap_or_default();
        let of = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(labels)
        };
        let values = text.lines().filter(of).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().with_context(|| value.to_owned())).sum()
    }

    /// SIGTERM: everything is delivered, and it ends well.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.stop()?;
        ensure!(status.success(), "a producer ended with {status}:\n{}", self.process.log()?);
        Ok(())
    }
}

/// What `events` holds of one pair, in its order.
#[derive(Debug, Default)]
pub struct Published {
    /// Trades by id, as the first record of each says.
    pub trades: BTreeMap<i64, MarketEvent>,
    /// Trade ids in the order of their records.
    pub order: Vec<i64>,
    /// Records of trades that were there before.
    pub again: usize,
    /// Ids that a mark says are missing, and those of them that came after it.
    pub marked: BTreeSet<i64>,
    /// Those that came all the same.
    pub filled: BTreeSet<i64>,
    /// Gap marks.
    pub marks: usize,
}

impl Published {
    /// Ids that are missing and never came.
    pub fn unfilled(&self) -> usize {
        self.marked.difference(&self.filled).count()
    }
}

/// Reads `events` by pair, and holds each gap mark to the ids around it: a mark names exactly the
/// ids between the newest trade before it and the one after it.
pub fn published(codec: &Codec, records: &[Record]) -> Result<BTreeMap<PairKey, Published>> {
    let mut pairs: BTreeMap<PairKey, Published> = BTreeMap::new();
    let mut newest: BTreeMap<PairKey, i64> = BTreeMap::new();
    let mut announced: BTreeMap<PairKey, (i64, i64)> = BTreeMap::new();
    for record in records {
        let pair: PairKey = codec.decode(&record.key)?;
        let value = record.value.as_deref().context("a tombstone")?;
        if codec.kind(value)? == Some(Kind::FeedMark) {
            let mark: FeedMark = codec.decode(value)?;
            let (Some(first), Some(count)) = (mark.first_missing_id, mark.missing) else {
                ensure!(mark.gap_from.is_none(), "a gap of {pair} without ids: {mark:?}");
                continue;
            };
            ensure!(
                announced.insert(pair.clone(), (first, first + count)).is_none(),
                "{pair}: {mark:?} follows a mark"
            );
            let of = pairs.entry(pair).or_default();
            of.marks += 1;
            of.marked.extend(first..first + count);
            continue;
        }
        let event: MarketEvent = codec.decode(value)?;
        let (Basis::Trade, Some(id)) = (event.basis, event.trade_id) else { continue };
        let of = pairs.entry(pair.clone()).or_default();
        let before = newest.get(&pair).copied().unwrap_or(id - 1);
        if id > before {
            let jumped = (id > before + 1).then_some((before + 1, id));
            let mark = announced.remove(&pair);
            ensure!(jumped == mark, "{pair}: {id} follows {before}, and the mark is {mark:?}");
            newest.insert(pair, id);
        } else if of.marked.contains(&id) {
            of.filled.insert(id);
        }
        of.order.push(id);
        if of.trades.insert(id, event).is_some() {
            of.again += 1;
        }
    }
    ensure!(announced.is_empty(), "marks of nothing that is missing: {announced:?}");
    Ok(pairs)
}

/// Every trade is one that was made, as it was made, and those that are not there are marked.
/// How many were made between the first and the last.
pub fn agree(of: &Published, made: &Made, in_coins: bool) -> Result<usize> {
    for (id, event) in &of.trades {
        let (price, size) = made.get(id).with_context(|| format!("{id} was never made"))?;
        ensure!(*price == event.price, "{id} was made at {price}: {event:?}");
        // Deribit's are dollars, and coins when read.
        ensure!(in_coins || Some(*size) == event.size, "{id} was made of {size}: {event:?}");
    }
    let (first, last) = (of.trades.keys().next(), of.trades.keys().next_back());
    let (first, last) = (first.context("no trade")?, last.context("no trade")?);
    let between = made.range(*first..=*last).map(|(id, _)| *id);
    let absent: BTreeSet<i64> = between.clone().filter(|id| !of.trades.contains_key(id)).collect();
    let unfilled: BTreeSet<i64> = of.marked.difference(&of.filled).copied().collect();
    ensure!(absent == unfilled, "absent {absent:?}, marked and not filled {unfilled:?}");
    let made = between.count();
    ensure!(of.trades.len() + unfilled.len() == made, "{made} were made");
    Ok(made)
}
