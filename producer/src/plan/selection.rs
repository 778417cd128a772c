//! The flags that select instruments and limits, shared by `run` and `plan`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::iter::once;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::builder::EnumValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use cli::lines::{self, Lines};
use cli::units;
use schemas::{InstrumentName, Timestamp};
use serde::Deserialize;
use venues::{
    AnyVenue, Channel, Channels, Follow, Instrument, Limits, TickerInterval, Venue, recording,
};

use super::expiry::{self, Expiry};
use super::feed_url::FeedUrl;
use super::followed::Followed;
use super::instruments::{self, ListingAnswer};
use super::{Plan, Wanted};
use crate::clock;

/// The id of the flag that names the venue.
pub const VENUE: &str = "venue";

/// Selects every product.
const ALL: &str = "*";

/// The flags that select a market's instruments.
#[derive(Clone, Debug, Args)]
pub struct FollowFlags {
    /// Products in the venue's notation, comma separated; all listed products without it, or with *.
    #[arg(long, env = "PRODUCER_PRODUCTS", value_delimiter = ',')]
    pub products: Vec<String>,
    /// Currencies, comma separated, of which everything is followed; Deribit needs one.
    #[arg(long, env = "PRODUCER_CURRENCY", value_delimiter = ',')]
    pub currency: Vec<String>,
    /// Channels of each product, comma separated: trades, ticker, book.
    #[arg(long, env = "PRODUCER_CHANNELS", default_value_t = Channels::default())]
    pub channels: Channels,
    /// Levels of a side of each book, one of the venue's depths; the venue's default without it.
    #[arg(long, env = "PRODUCER_DEPTH", value_name = "LEVELS")]
    pub depth: Option<usize>,
    /// Products whose books are followed, comma separated; NAME* is all that begin so, such as
    /// BTC-27DEC24-*. All followed products without it.
    #[arg(long, env = "PRODUCER_BOOK_PRODUCTS", value_name = "NAMES", value_delimiter = ',')]
    pub book_products: Vec<String>,
    /// Interval of the tickers of options: agg2 (one message each 2s) or 100ms; without it agg2 with
    /// --currency, 100ms with --products. Deribit only; its futures and perpetuals have 100ms.
    #[arg(long, env = "PRODUCER_INTERVAL")]
    pub interval: Option<TickerInterval>,
    /// Expiries, comma separated, such as 25DEC26 or 2026-12-25: only their options have --interval
    /// 100ms, the other options have agg2.
    #[arg(long, env = "PRODUCER_EXPIRIES", value_delimiter = ',')]
    pub expiries: Vec<Expiry>,
    /// Address of the feed, ws:// or wss://, such as a simulator's; the venue's own without it. For ethereum
    /// the address of a node, which must be given.
    #[arg(long, env = "PRODUCER_URL", hide_env_values = true)]
    pub url: Option<FeedUrl>,
    /// Address of HTTP requests for listings, snapshots of books and missed trades; the host of --url if only that is
    /// given, else the venue's own.
    #[arg(long, env = "PRODUCER_REST_URL")]
    pub rest_url: Option<String>,
    /// Capture with a recorded listing, to use instead of the venue's.
    #[arg(long, env = "PRODUCER_LISTING", value_name = "FILE")]
    pub listing: Option<PathBuf>,
    /// The limits of one address.
    #[command(flatten)]
    pub budget: BudgetConfig,
}

/// Limits that differ from the venue's documents.
#[derive(Clone, Copy, Debug, Args)]
pub struct BudgetConfig {
    /// Streams per connection; the venue's limit without it.
    #[arg(long = "budget-streams", env = "PRODUCER_BUDGET_STREAMS")]
    pub streams: Option<usize>,
    /// Connections at a time; the venue's limit without it.
    #[arg(long = "budget-connections", env = "PRODUCER_BUDGET_CONNECTIONS")]
    pub connections: Option<usize>,
    /// Requests in ten seconds, over all connections; the venue's limit without it.
    #[arg(long = "budget-messages", env = "PRODUCER_BUDGET_MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
    pub messages: Option<u32>,
    /// Connection attempts within --budget-window; the venue's limit without it.
    #[arg(long = "budget-attempts", env = "PRODUCER_BUDGET_ATTEMPTS")]
    pub attempts: Option<usize>,
    /// Time in which attempts are counted; the venue's window without it.
    #[arg(long = "budget-window", env = "PRODUCER_BUDGET_WINDOW", value_parser = units::duration)]
    pub window: Option<Duration>,
}

/// The selection of a market's instruments.
#[derive(Clone, Debug)]
pub struct FollowConfig {
    /// The market.
    pub venue: Venue,
    /// The flags.
    pub flags: FollowFlags,
}

impl Args for FollowConfig {
    fn augment_args(command: Command) -> Command {
        FollowFlags::augment_args(command.arg(venue()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        FollowFlags::augment_args_for_update(command.arg(venue().required(false)))
    }
}

impl FromArgMatches for FollowConfig {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Some(AnyVenue::Exchange(venue)) = matches.get_one(VENUE).copied() else {
            let words = "--venue ethereum has no products: name a market";
            return Err(clap::Error::raw(ErrorKind::InvalidValue, words));
        };
        Ok(Self { venue, flags: FollowFlags::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag that names the venue: a market, or ethereum for a chain.
fn venue() -> Arg {
    Arg::new(VENUE)
        .long(VENUE)
        .env("PRODUCER_VENUE")
        .required(true)
        .value_parser(EnumValueParser::<AnyVenue>::new())
        .help("The venue: an exchange, or ethereum for the pools of a chain that has its protocol")
}

impl FollowConfig {
    /// Checks the rules between values.
    pub fn validate(&self) -> anyhow::Result<()> {
        let venue = self.venue;
        for product in self.named() {
            ensure!(
                venue.pair(product).is_ok(),
                "--products: '{product}' is not a product such as {}",
                venue.adapter().example
            );
        }
        ensure!(
            self.named().is_empty() || self.flags.currency.is_empty(),
            "--products and --currency exclude each other"
        );
        ensure!(
            !self.lists_by_currency()
                || !self.named().is_empty()
                || !self.flags.currency.is_empty(),
            "--venue {venue} needs --currency, such as BTC,ETH, or --products"
        );
        self.validate_books()?;
        self.validate_tickers()?;
        if let Some(url) = &self.flags.url {
            ensure!(url.is_socket(), "--url {url} must begin with ws:// or wss://");
        }
        let rest = self.rest_url();
        ensure!(
            rest.starts_with("http://") || rest.starts_with("https://"),
            "--rest-url {rest} must begin with http:// or https://"
        );
        let budget = self.budget();
        ensure!(budget.streams > 0, "--budget-streams must be 1 at least");
        ensure!(budget.connections > 0, "--budget-connections must be 1 at least");
        ensure!(budget.attempts > 0, "--budget-attempts must be 1 at least");
        ensure!(!budget.window.is_zero(), "--budget-window must be longer than nothing");
        Ok(())
    }

    /// Checks the rules of order books.
    fn validate_books(&self) -> anyhow::Result<()> {
        let (venue, has_books) = (self.venue, self.flags.channels.has(Channel::Book));
        let depths = venue.adapter().books.depths;
        if let Some(depth) = self.flags.depth {
            ensure!(has_books, "--depth {depth} needs the channel book in --channels");
            let list = depths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            ensure!(!depths.is_empty(), "--depth {depth}: {venue} has books of one depth only");
            ensure!(
                depths.contains(&depth),
                "--depth {depth}: {venue} has no such books, only of {list}"
            );
        }
        ensure!(
            has_books || self.flags.book_products.is_empty(),
            "--book-products needs the channel book in --channels"
        );
        Ok(())
    }

    /// Checks the rules of the interval of tickers.
    fn validate_tickers(&self) -> anyhow::Result<()> {
        let (venue, has_tickers) = (self.venue, self.flags.channels.has(Channel::Ticker));
        if let Some(interval) = self.flags.interval {
            let with = |one: &&Venue| one.adapter().tickers.is_some();
            let venues: Vec<_> = Venue::ALL.iter().filter(with).map(|one| one.as_str()).collect();
            let Some(tickers) = &venue.adapter().tickers else {
                let venues = venues.join(", ");
                bail!(
                    "--interval {interval}: {venue} offers no interval, only {venues}: leave it out"
                )
            };
            let list = tickers.intervals.iter().map(|one| one.as_str()).collect::<Vec<_>>();
            ensure!(
                tickers.intervals.contains(&interval),
                "--interval {interval}: {venue} has no such tickers, only of {}",
                list.join(", ")
            );
            ensure!(has_tickers, "--interval {interval} needs the channel ticker in --channels");
        }
        if let Some(expiry) = self.flags.expiries.first() {
            ensure!(
                self.flags.interval == Some(TickerInterval::Ms100),
                "--expiries {expiry} needs --interval 100ms: the other options have agg2; add it, or \
                 leave --expiries out"
            );
        }
        Ok(())
    }

    /// The data that is followed of each product.
    pub fn followed(&self) -> Followed {
        let usual =
            if self.named().is_empty() { TickerInterval::Agg2 } else { TickerInterval::Ms100 };
        let interval = match self.flags.interval {
            _ if !self.flags.expiries.is_empty() => TickerInterval::Agg2,
            chosen => chosen.unwrap_or(usual),
        };
        let follow = Follow { channels: self.flags.channels, depth: self.flags.depth, interval };
        let (book_products, expiries) =
            (self.flags.book_products.clone(), self.flags.expiries.clone());
        Followed { follow, book_products, expiries }
    }

    /// Whole tickers are followed.
    pub fn follows_tickers(&self) -> bool {
        self.followed().has_tickers(self.venue)
    }

    /// The currencies whose listing has the facts of everything that is followed.
    pub fn currencies(&self) -> Vec<String> {
        let mut currencies = self.flags.currency.clone();
        for name in self.named() {
            let Some(facts) = InstrumentName::parse(name) else { continue };
            currencies.push(facts.currency);
            // A linear instrument is listed under the currency in which it is settled.
            if let Some((_, rest)) = name.split_once('_') {
                currencies.extend(rest.split('-').next().map(str::to_owned));
            }
        }
        currencies.sort();
        currencies.dedup();
        currencies
    }

    fn lists_by_currency(&self) -> bool {
        self.venue.adapter().listing.currency_streams.is_some()
    }

    /// The products that are named individually.
    fn named(&self) -> &[String] {
        if self.flags.products.iter().any(|product| product == ALL) {
            &[]
        } else {
            &self.flags.products
        }
    }

    /// The address of the feed.
    pub fn url(&self) -> String {
        let url = self.flags.url.as_deref().unwrap_or(self.venue.adapter().endpoints.feed);
        url.to_owned()
    }

    /// The address of requests for the listing.
    pub fn rest_url(&self) -> String {
        self.requests().unwrap_or_else(|| self.venue.adapter().endpoints.rest.into())
    }

    /// The address of requests for trades of the past.
    pub fn history_url(&self) -> String {
        self.requests().unwrap_or_else(|| self.venue.adapter().endpoints.history.into())
    }

    /// The address for requests that replaces the venue's own, if any.
    fn requests(&self) -> Option<String> {
        let beside = || {
            // A simulator answers both at one address, below the path that the venue has.
            let host = self.flags.url.as_deref()?.strip_prefix("ws://")?.split('/').next()?;
            Some(format!("http://{host}{}", self.venue.adapter().endpoints.rest_path))
        };
        self.flags.rest_url.clone().or_else(beside)
    }

    /// The effective limits.
    pub fn budget(&self) -> Limits {
        let (own, set) = (self.venue.adapter().limits, self.flags.budget);
        Limits {
            streams: set.streams.unwrap_or(own.streams),
            connections: set.connections.unwrap_or(own.connections),
            messages_in_10s: set.messages.unwrap_or(own.messages_in_10s),
            attempts: set.attempts.unwrap_or(own.attempts),
            window: set.window.unwrap_or(own.window),
        }
    }

    /// The plan of the connections, and the listing that it is made of; none for named products. The
    /// venue is asked for its listing if it is needed.
    pub async fn plan(&self) -> anyhow::Result<(Plan, Vec<ListingAnswer>)> {
        let (wanted, listing) = if self.named().is_empty() {
            let listing = if let Some(file) = &self.flags.listing {
                self.recorded(file)?
            } else {
                let (rest, url) = (self.rest_url(), self.url());
                instruments::discover(self.venue, &rest, &url, &self.flags.currency).await?
            };
            (self.of_currencies(ListingAnswer::instruments(&listing)), listing)
        } else {
            (Wanted::Products(self.named().to_vec()), Vec::new())
        };
        let followed = without_past(self.followed(), &wanted, clock::now());
        let plan = Plan::new(self.venue, &wanted, &followed, self.budget());
        let plan = plan.with_context(|| format!("there is no plan for {}", self.venue))?;
        Ok((plan, listing))
    }

    fn of_currencies(&self, mut listed: Vec<Instrument>) -> Wanted {
        if self.flags.currency.is_empty() {
            return Wanted::Everything(listed);
        }
        // A linear instrument is listed under the currency in which it is settled.
        listed.retain(|one| {
            let mut currencies = once(&one.currency).chain(&one.settlement_currency);
            currencies.any(|currency| self.flags.currency.contains(currency))
        });
        if self.lists_by_currency() {
            return Wanted::Currencies(self.flags.currency.clone(), listed);
        }
        let active = listed.into_iter().filter(|one| one.active);
        Wanted::Products(active.map(|one| one.name).collect())
    }

    /// The answers in a capture.
    fn recorded(&self, file: &Path) -> anyhow::Result<Vec<ListingAnswer>> {
        let shown = file.display();
        let input = lines::open(file).with_context(|| format!("cannot open {shown}"))?;
        let (mut lines, mut listed) = (Lines::new(input), Vec::new());
        while let Some(line) = lines.next_line().with_context(|| format!("cannot read {shown}"))? {
            let answer = recording::listing(&line).filter(|(venue, _)| *venue == self.venue);
            listed.extend(answer.map(|(_, instruments)| answer_of(&line, instruments)));
        }
        ensure!(
            !listed.is_empty(),
            "{shown} has no listing of {}: name a capture with one",
            self.venue
        );
        Ok(listed)
    }
}

/// Without the chosen expiries that have passed: a producer that is started again would else refuse
/// to begin when its options have ended.
fn without_past(mut followed: Followed, wanted: &Wanted, now: Timestamp) -> Followed {
    let existing = if followed.expiries.is_empty() { BTreeSet::new() } else { wanted.expiries() };
    let is_past = |expiry: &Expiry| expiry.has_come(now) && !existing.contains(expiry);
    let past: BTreeSet<_> = followed.expiries.iter().copied().filter(is_past).collect();
    if !past.is_empty() {
        let expiries = expiry::list(&past);
        tracing::warn!(expiries, "--expiries names days that have passed: take them out");
    }
    followed.expiries.retain(|expiry| !past.contains(expiry));
    followed
}

/// The text and the address of a capture's line with an answer.
#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    raw: Cow<'a, str>,
}

fn answer_of(line: &str, instruments: Vec<Instrument>) -> ListingAnswer {
    // It was read as a line with an answer before.
    let text = serde_json::from_str::<Recorded<'_>>(line).ok();
    let (url, body) = text
        .map(|text| (text.url.unwrap_or_default().into_owned(), text.raw.into_owned()))
        .unwrap_or_default();
    ListingAnswer { url, body, instruments }
}
