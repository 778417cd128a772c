//! The plan: which connection carries which streams, within the venue's limits.
//!
//! Equal instruments give equal plans. The streams of whole currencies come first, on a connection
//! that keeps room for new instruments. The other streams fill connections in order. Connections
//! share only the limits, so one that fails does not disturb the others.

pub mod budget;
pub mod expiry;
pub mod feed_url;
pub mod followed;
pub mod instruments;
pub mod pools;
pub mod selection;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemas::PairKey;
use venues::{Channel, Class, Follow, Instrument, Limits, TickerInterval, Venue};

use self::expiry::Expiry;
use self::followed::Followed;

/// Streams that the first connection leaves free for what is listed while it stands: the largest
/// daily listing of Deribit is some 60 options for each currency.
const ROOM: usize = 200;

/// The instruments to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These, in the venue's own names.
    Products(Vec<String>),
    /// Everything that the venue lists, and will list.
    Everything(Vec<Instrument>),
    /// Everything of these currencies.
    Currencies(Vec<String>, Vec<Instrument>),
}

impl Wanted {
    /// The names of the products, in the order of the plan.
    fn products(&self) -> Vec<String> {
        match self {
            Self::Products(products) => products.clone(),
            Self::Everything(listed) | Self::Currencies(_, listed) => names(listed),
        }
    }

    /// The expiries of their options.
    pub fn expiries(&self) -> BTreeSet<Expiry> {
        Expiry::of_options(&self.products())
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionPlan {
    /// The feed's name within the exchange.
    pub name: String,
    /// The streams that it subscribes.
    pub streams: Vec<String>,
    /// It announces instruments that are listed later, to the connection with the most room.
    pub grows: bool,
}

impl ConnectionPlan {
    /// The pairs whose books come over the connection.
    pub fn books(&self, venue: Venue) -> impl Iterator<Item = PairKey> {
        let pair_of = venue.adapter().books.pair_of_stream;
        self.streams.iter().filter_map(move |stream| pair_of(stream))
    }
}

/// All connections of one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    venue: Venue,
    budget: Limits,
    follow: Follow,
    /// Instruments of each class.
    instruments: Vec<(Class, usize)>,
    /// Tickers at each interval; empty where the venue has no whole tickers.
    tickers: Vec<(TickerInterval, usize)>,
    /// The connections.
    pub connections: Vec<ConnectionPlan>,
}

/// The reason for which there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The plan has no stream.
    #[error("nothing to subscribe: the venue lists none of it as active")]
    Nothing,
    /// No option of the plan expires on a chosen day.
    #[error("--expiries {expiry}: no followed option expires then: {exist}")]
    UnknownExpiry {
        /// The chosen day.
        expiry: Expiry,
        /// What to do: the days that exist.
        exist: String,
    },
    /// More connections than the venue allows.
    #[error(
        "{streams} streams need {needed} connections of {each} streams, and {budget} are allowed: \
         name fewer instruments, or raise --budget-streams or --budget-connections"
    )]
    TooMany {
        /// Streams in all.
        streams: usize,
        /// Connections that they need.
        needed: usize,
        /// Streams on each.
        each: usize,
        /// Connections in the budget.
        budget: usize,
    },
}

impl Plan {
    /// The plan for the wanted instruments.
    pub fn new(
        venue: Venue,
        wanted: &Wanted,
        followed: &Followed,
        budget: Limits,
    ) -> Result<Self, NoPlan> {
        let listing = &venue.adapter().listing;
        let products = wanted.products();
        if products.is_empty() {
            return Err(NoPlan::Nothing);
        }
        check_expiries(&products, followed)?;
        let (first, streams) = match wanted {
            Wanted::Products(_) => (Vec::new(), followed.streams(venue, &products)),
            Wanted::Everything(_) => {
                let changes = listing.change_streams.iter().map(|&one| one.to_owned());
                (changes.collect(), followed.streams(venue, &products))
            }
            Wanted::Currencies(currencies, _) => {
                let of = listing.currency_streams;
                let first = of.map_or_else(Vec::new, |of| of(currencies, followed.follow));
                let of_listed = |name: &String| followed.streams_of_listed(venue, name);
                (first, products.iter().flat_map(of_listed).collect())
            }
        };
        let connections = connections(venue, first, &streams, budget);
        if connections.len() > budget.connections {
            return Err(NoPlan::TooMany {
                streams: connections.iter().map(|line| line.streams.len()).sum(),
                needed: connections.len(),
                each: budget.streams,
                budget: budget.connections,
            });
        }
        let class = |name: &String| venue.pair(name).map_or(Class::Spot, |pair| venue.class(&pair));
        let count =
            |class_of: Class| products.iter().filter(|name| class(name) == class_of).count();
        let instruments = Class::ALL.map(|class| (class, count(class)));
        let instruments = instruments.into_iter().filter(|(_, count)| *count > 0).collect();
        let tickers = tickers(venue, &connections);
        Ok(Self { venue, budget, follow: followed.follow, instruments, tickers, connections })
    }

    /// Instruments in all.
    pub fn instruments(&self) -> usize {
        self.instruments.iter().map(|(_, count)| count).sum()
    }

    /// Requests that subscribe the streams of a connection.
    fn requests(&self, line: &ConnectionPlan) -> usize {
        (self.venue.adapter().subscriptions.requests)(&line.streams, self.follow, 1).len()
    }

    /// Order books of all connections.
    pub fn books(&self) -> usize {
        self.connections.iter().map(|line| line.books(self.venue).count()).sum()
    }

    /// Requests that begin all connections.
    pub fn messages(&self) -> usize {
        self.connections.iter().map(|line| self.requests(line)).sum()
    }

    /// The time of the requests at the venue's pace.
    pub fn time_to_subscribe(&self) -> Duration {
        self.budget.pace() * u32::try_from(self.messages()).unwrap_or(u32::MAX)
    }
}

impl Plan {
    /// The tickers at each interval, and their messages.
    fn show_tickers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |(interval, count): &(TickerInterval, usize)| format!("{count} by {interval}");
        let counts: Vec<_> = self.tickers.iter().map(by).collect();
        let in_10s: usize =
            self.tickers.iter().map(|(interval, count)| count * interval.messages_in_10s()).sum();
        writeln!(f, "  tickers: {}; {} messages a second at most", counts.join(", "), in_10s / 10)
    }

    /// The books, and the time of their first snapshots.
    fn show_books(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, books) = (self.books(), &self.venue.adapter().books);
        let depth = self.follow.depth.or(books.default_depth);
        let depth =
            depth.map_or_else(|| "all levels".to_owned(), |depth| format!("{depth} levels"));
        write!(f, "  {count} books of {depth} a side, ")?;
        match books.snapshot_pace {
            None => writeln!(f, "snapshots are sent with the subscription"),
            Some(pace) => {
                let pace = pace(self.follow);
                let all = pace * u32::try_from(count).unwrap_or(u32::MAX);
                let rate = 1.0 / pace.as_secs_f64();
                writeln!(f, "snapshots are fetched in {all:.1?} at {rate:.1} a second")
            }
        }
    }
}

/// An option of the products expires on each chosen day.
fn check_expiries(products: &[String], followed: &Followed) -> Result<(), NoPlan> {
    let existing = Expiry::of_options(products);
    let unknown = followed.expiries.iter().find(|expiry| !existing.contains(expiry));
    let Some(&expiry) = unknown else { return Ok(()) };
    let exist = if existing.is_empty() {
        "there are no options, leave it out".into()
    } else {
        format!("name one or more of {}", expiry::list(&existing))
    };
    Err(NoPlan::UnknownExpiry { expiry, exist })
}

/// The tickers at each interval that is used.
fn tickers(venue: Venue, connections: &[ConnectionPlan]) -> Vec<(TickerInterval, usize)> {
    let Some(tickers) = &venue.adapter().tickers else { return Vec::new() };
    let streams = connections.iter().flat_map(|line| &line.streams);
    let streams = streams.filter(|stream| (tickers.instrument_of_stream)(stream).is_some());
    let count = |interval: TickerInterval| {
        streams.clone().filter(|stream| stream.ends_with(interval.as_str())).count()
    };
    let counts = TickerInterval::ALL.map(|interval| (interval, count(interval)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// The active ones, which the venue's own names can be read of.
fn names(listed: &[Instrument]) -> Vec<String> {
    // Combos repeat the trades of their legs.
    let of_use = |one: &&Instrument| one.active && one.class != Class::Combo;
    let mut names: Vec<_> = listed.iter().filter(of_use).map(|one| one.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn connections(
    venue: Venue,
    first: Vec<String>,
    streams: &[String],
    budget: Limits,
) -> Vec<ConnectionPlan> {
    let each = budget.streams.max(1);
    let grows = !first.is_empty();
    let mut rest = streams;
    let mut parts = Vec::new();
    if grows {
        let free = each.saturating_sub(first.len()).saturating_sub(ROOM.min(each / 2));
        let (with, others) = rest.split_at(free.min(rest.len()));
        parts.push([first, with.to_vec()].concat());
        rest = others;
    }
    // As many on each as on the others: a lost one costs as little as can be.
    let count = rest.len().div_ceil(each);
    if count > 0 {
        parts.extend(rest.chunks(rest.len().div_ceil(count)).map(<[String]>::to_vec));
    }
    let line = |(number, streams)| ConnectionPlan {
        name: format!("{venue}-{number}"),
        streams,
        grows: grows && number == 0,
    };
    parts.into_iter().enumerate().map(line).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams: usize = self.connections.iter().map(|line| line.streams.len()).sum();
        let classes: Vec<_> = self
            .instruments
            .iter()
            .map(|(class, count)| format!("{count} {}", class.as_str()))
            .collect();
        writeln!(f, "{}: {} instruments ({})", self.venue, self.instruments(), classes.join(", "))?;
        for line in &self.connections {
            let asks = self.requests(line);
            let growing = if line.grows { ", hears of what is listed" } else { "" };
            writeln!(
                f,
                "  {:<12} {:>5} streams {:>3} requests{growing}",
                line.name,
                line.streams.len(),
                asks
            )?;
        }
        let row = |f: &mut fmt::Formatter<'_>, name: &str, used: usize, of: usize| {
            writeln!(f, "  {name:<28} {used:>6} of {of}")
        };
        let most = self.connections.iter().map(|line| line.streams.len()).max().unwrap_or(0);
        row(f, "connections", self.connections.len(), self.budget.connections)?;
        row(f, "streams on one connection", most, self.budget.streams)?;
        row(f, "attempts to connect", self.connections.len(), self.budget.attempts)?;
        writeln!(
            f,
            "  {} streams, {} requests, subscribed after {:.1?} at {:.1} a second",
            streams,
            self.messages(),
            self.time_to_subscribe(),
            f64::from(self.budget.messages_in_10s) / 10.0,
        )?;
        if !self.tickers.is_empty() {
            self.show_tickers(f)?;
        }
        if self.follow.has(Channel::Book) { self.show_books(f) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::test_data;

    #[test]
    fn the_recorded_instruments_of_deribit_fit_its_budget() -> anyhow::Result<()> {
        let wanted = recorded()?;
        let limits = Venue::Deribit.adapter().limits;
        let plan = Plan::new(Venue::Deribit, &wanted, &Followed::default(), limits)?;
        assert_eq!(plan.instruments(), 423 + 499);
        let tickers = plan.connections.iter().flat_map(|line| &line.streams);
        assert_eq!(tickers.filter(|stream| stream.starts_with("ticker.")).count(), 922);
        assert_eq!(plan.connections.len(), 3);
        assert!(plan.connections[0].grows && plan.connections[0].streams.len() + ROOM <= 500);
        assert!(plan.to_string().contains("connections                       3 of 30"), "{plan}");
        Ok(())
    }

    /// The currencies BTC and ETH as they were recorded.
    fn recorded() -> anyhow::Result<Wanted> {
        let bodies = test_data::bodies("deribit/20210417_rest_instruments.jsonl.zst")?;
        let mut listed = Venue::Deribit.instruments(&bodies[0])?;
        listed.extend(Venue::Deribit.instruments(&bodies[1])?);
        Ok(Wanted::Currencies(vec!["BTC".to_owned(), "ETH".to_owned()], listed))
    }

    /// The number of streams of tickers that end so.
    fn tickers_by(plan: &Plan, interval: &str) -> usize {
        let streams = plan.connections.iter().flat_map(|line| &line.streams);
        let of_ticker = streams.filter(|stream| stream.starts_with("ticker."));
        of_ticker.filter(|stream| stream.ends_with(&format!(".{interval}"))).count()
    }

    #[test]
    fn options_have_the_interval_unless_expiries_are_chosen() -> anyhow::Result<()> {
        let wanted = recorded()?;
        let is_option = |name: &String| name.ends_with("-C") || name.ends_with("-P");
        let options = wanted.products().into_iter().filter(is_option).collect::<Vec<_>>();
        let others = 922 - options.len();
        let plan = |interval, expiries: &[&str]| {
            let expiries = expiries.iter().map(|text| text.parse::<Expiry>());
            let expiries = expiries.collect::<Result<Vec<_>, _>>()?;
            let follow = Follow { interval, ..Follow::default() };
            let followed = Followed { expiries, ..follow.into() };
            let limits = Venue::Deribit.adapter().limits;
            anyhow::Ok(Plan::new(Venue::Deribit, &wanted, &followed, limits)?)
        };
        let all = plan(TickerInterval::Agg2, &[])?;
        assert_eq!((tickers_by(&all, "agg2"), tickers_by(&all, "100ms")), (options.len(), others));
        let rate = (options.len() * 5 + others * 100) / 10;
        let words = format!(
            "tickers: {} by agg2, {others} by 100ms; {rate} messages a second at most",
            options.len()
        );
        assert!(all.to_string().contains(&words), "{words}: {all}");
        let all = plan(TickerInterval::Ms100, &[])?;
        assert_eq!((tickers_by(&all, "agg2"), tickers_by(&all, "100ms")), (0, 922));
        let chosen = plan(TickerInterval::Agg2, &["23APR21", "2021-06-25"])?;
        let of_days = |name: &&String| name.contains("-23APR21-") || name.contains("-25JUN21-");
        let fast = options.iter().filter(of_days).count();
        assert!(fast > 20 && others > 4, "{fast} of {} options, {others} others", options.len());
        let by = (tickers_by(&chosen, "agg2"), tickers_by(&chosen, "100ms"));
        assert_eq!(by, (options.len() - fast, others + fast));
        let streams = chosen.connections.iter().flat_map(|line| &line.streams);
        for stream in streams.filter(|stream| stream.ends_with("agg2")) {
            assert!(!of_days(&stream), "{stream}");
        }
        assert_eq!(chosen.connections.len(), 3);
        Ok(())
    }

    #[test]
    fn an_expiry_without_options_is_refused_with_those_that_exist() -> anyhow::Result<()> {
        let refused = |wanted: &Wanted, expiry: &str| {
            let followed = Followed { expiries: vec![expiry.parse()?], ..Followed::default() };
            let limits = Venue::Deribit.adapter().limits;
            let plan = Plan::new(Venue::Deribit, wanted, &followed, limits);
            anyhow::Ok(plan.err().map(|error| error.to_string()).unwrap_or_default())
        };
        let words = refused(&recorded()?, "2021-04-20")?;
        let begin = "--expiries 20APR21: no followed option expires then: name one or more of ";
        assert!(words.starts_with(begin) && words.contains("23APR21, 30APR21"), "{words}");
        assert!(!words.contains('\n'), "{words}");
        let futures = Wanted::Products(vec!["BTC-25JUN21".into(), "BTC-PERPETUAL".into()]);
        let words = refused(&futures, "25JUN21")?;
        assert!(words.ends_with("there are no options, leave it out"), "{words}");
        Ok(())
    }

    #[test]
    fn books_are_streams_of_their_own_and_may_be_chosen() -> anyhow::Result<()> {
        let products =
            ["BTC-PERPETUAL", "BTC-27DEC24-50000-C", "BTC-27DEC24-60000-P", "BTC-1JAN21"];
        let wanted = Wanted::Products(products.map(str::to_owned).to_vec());
        let (venue, limits) = (Venue::Deribit, Venue::Deribit.adapter().limits);
        let books = |names: &[&str]| {
            let book_products = names.iter().map(|&name| name.to_owned()).collect();
            let followed = Followed { book_products, ..Follow::ALL.into() };
            Plan::new(venue, &wanted, &followed, limits)
        };
        let streams = |plan: &Plan| plan.connections[0].streams.len();
        for (names, count) in [
            (&[][..], 4),
            (&["BTC-27DEC24-*"], 2),
            (&["BTC-PERPETUAL", "BTC-1*"], 2),
            (&["BTC"], 0),
        ] {
            let plan = books(names)?;
            assert_eq!((plan.books(), streams(&plan)), (count, 8 + count), "{names:?}");
        }
        let shown = books(&["BTC-PERPETUAL"])?.to_string();
        let words = "1 books of all levels a side, snapshots are sent with the subscription";
        assert!(shown.contains(words), "{shown}");
        Ok(())
    }

    #[test]
    fn the_plan_tells_the_time_of_the_first_snapshots() -> anyhow::Result<()> {
        let products = vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()];
        let wanted = Wanted::Products(products);
        let limits = Venue::Binance.adapter().limits;
        for (depth, words) in [
            (None, "2 books of 1000 levels a side, snapshots are fetched in 2.0s at 1.0 a second"),
            (Some(100), "2 books of 100 levels a side, snapshots are fetched in 200.0ms at 10.0 a"),
            (Some(5000), "2 books of 5000 levels a side, snapshots are fetched in 10.0s at 0.2 a"),
        ] {
            let followed = Follow { depth, ..Follow::ALL }.into();
            let shown = Plan::new(Venue::Binance, &wanted, &followed, limits)?.to_string();
            assert!(shown.contains(words), "{shown}");
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_way_out() {
        let products = (0..100).map(|n| format!("A{n}-USD")).collect();
        let budget = Limits { streams: 10, connections: 5, ..Venue::Coinbase.adapter().limits };
        let follow = Followed::default();
        let error = Plan::new(Venue::Coinbase, &Wanted::Products(products), &follow, budget);
        let Err(error) = error else { panic!("it was planned") };
        assert!(error.to_string().contains("need 10 connections"), "{error}");
        let none = Plan::new(Venue::Kraken, &Wanted::Everything(Vec::new()), &follow, budget);
        assert_eq!(none, Err(NoPlan::Nothing));
    }

    proptest! {
        #[test]
        fn every_stream_is_on_one_connection_and_none_has_too_many(
            count in 1usize..400, each in 1usize..100, has_books: bool,
        ) {
            let products: Vec<String> = (0..count).map(|n| format!("A{n}/USD")).collect();
            let budget = Limits { streams: each, connections: 10_000, ..Venue::Kraken.adapter().limits };
            let follow = if has_books { Follow::ALL } else { Follow::default() };
            let (wanted, followed) = (Wanted::Products(products.clone()), follow.into());
            let plan = Plan::new(Venue::Kraken, &wanted, &followed, budget)?;
            let all: Vec<_> = plan.connections.iter().flat_map(|line| line.streams.clone()).collect();
            let unique: BTreeSet<_> = all.iter().cloned().collect();
            prop_assert_eq!(all.len(), unique.len());
            prop_assert_eq!(unique, Venue::Kraken.streams(&products, follow).into_iter().collect());
            prop_assert_eq!(plan.books(), if has_books { count } else { 0 });
            prop_assert!(plan.connections.iter().all(|line| line.streams.len() <= each));
        }
    }
}
