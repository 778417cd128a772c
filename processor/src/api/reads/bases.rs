//! `/v1/bases/{base}`: the newest prices of a base at every exchange, and one price for each quote.
//!
//! The one price of a base and quote is a median of the exchanges' prices:
//!
//! 1. Stale members are left out: older than the newest member by more than a minute.
//! 2. Outliers are left out: further than 5 % from the median of the fresh members.
//! 3. The price is the median of the rest. Of an even number it is the lower of the two in the
//!    middle, because that price has been traded.
//!
//! Each member is listed with whether it was used, and why not.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use schemas::topic::Topic;
use schemas::{Decimal, LatestPrice, PairKey, Timestamp};
use serde::Serialize;

use crate::api::answer::{MediaType, ReadRequest, Representation};
use crate::api::error::Result;
use crate::api::params::part;
use crate::api::read_service::{ReadContext, ReadService};
use crate::api::rows::{AsText, LatestRow, Number, Time};
use crate::store_keys;

/// The age, behind the newest member, from which a member is stale: its exchange has stopped, or
/// the pair hardly trades.
const STALE_AFTER_MS: i64 = 60_000;
/// One part in so many (5 %) from the median is an outlier: exchanges of one pair differ by a few
/// tenths of a percent while money can move between them.
const OUTLIER_PART: u128 = 20;
const FORMATS: [MediaType; 2] = [MediaType::Json, MediaType::Csv];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Unused {
    Stale,
    Outlier,
}

#[derive(Serialize)]
struct MemberRow<'a> {
    #[serde(flatten)]
    latest: LatestRow<'a>,
    used: bool,
    unused_because: Option<Unused>,
}

#[derive(Serialize)]
struct QuoteRow<'a> {
    quote: &'a str,
    price: Number,
    event_time: Time,
    members: Vec<MemberRow<'a>>,
}

#[derive(Serialize)]
struct Base<'a> {
    base: String,
    quotes: Vec<QuoteRow<'a>>,
}

/// A line of CSV: a member, with the one price of its quote.
#[derive(Serialize)]
struct MemberLine<'a> {
    base: &'a str,
    quote: &'a str,
    price: Number,
    exchange: &'a str,
    member_price: Number,
    event_time: Time,
    used: bool,
    unused_because: Option<Unused>,
}

/// A pair's price, and why it was not used.
struct Member {
    pair: PairKey,
    latest: LatestPrice,
    unused: Option<Unused>,
}

/// The one price of these members; sets in each why it was not used. `None` without members.
fn one_price(members: &mut [Member]) -> Option<(Decimal, Timestamp)> {
    let newest = members.iter().map(|member| member.latest.event_time).max()?;
    for member in &mut *members {
        let age_ms = newest.0.saturating_sub(member.latest.event_time.0);
        member.unused = (age_ms > STALE_AFTER_MS).then_some(Unused::Stale);
    }
    let fresh = median(members)?;
    for member in members.iter_mut().filter(|member| member.unused.is_none()) {
        let distance = member.latest.price.units().abs_diff(fresh.units());
        let far = distance > fresh.units().unsigned_abs() / OUTLIER_PART;
        member.unused = far.then_some(Unused::Outlier);
    }
    Some((median(members)?, newest))
}

/// The lower median of the members that are used.
fn median(members: &[Member]) -> Option<Decimal> {
    let used = members.iter().filter(|member| member.unused.is_none());
    let mut prices: Vec<Decimal> = used.map(|member| member.latest.price).collect();
    prices.sort_unstable();
    prices.get(prices.len().checked_sub(1)? / 2).copied()
}

/// A base, by quote; 404 when no exchange here has it.
pub(crate) async fn base(
    State(service): State<ReadService>,
    base: Result<Path<String>, PathRejection>,
    ask: ReadRequest,
) -> Result<Response> {
    ask.params.only(&["quote"])?;
    let base = part("base", &base?.0)?;
    let quote = ask.params.get("quote").map(|quote| part("quote", quote)).transpose()?;
    let format = ask.format(&FORMATS)?;
    let route = move |reading: &mut ReadContext<'_>| {
        let quotes = by_quote(reading, &base, quote.as_deref())?;
        if quotes.is_empty() {
            let quote = quote.map_or(String::new(), |quote| format!("-{quote}"));
            return Err(reading.not_here(&format!("{base}{quote}")));
        }
        let priced = quotes.into_iter().filter_map(|(quote, mut members)| {
            let (price, time) = one_price(&mut members)?;
            Some((quote, price, time, members))
        });
        let priced: Vec<_> = priced.collect();
        if format == MediaType::Csv {
            return Representation::csv(priced.iter().flat_map(|(_, price, _, members)| {
                members.iter().map(|member| line(*price, member))
            }));
        }
        let quotes = priced.iter().map(|(quote, price, time, members)| QuoteRow {
            quote,
            price: AsText(*price),
            event_time: AsText(*time),
            members: members.iter().map(row).collect(),
        });
        let quotes = quotes.collect();
        Representation::json(&Base { base, quotes })
    };
    service.read(ask, route).await
}

fn by_quote(
    reading: &mut ReadContext<'_>,
    base: &str,
    quote: Option<&str>,
) -> Result<BTreeMap<String, Vec<Member>>> {
    let prefix = store_keys::pair_prefix(base, quote);
    let mut quotes: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for reader in reading.all(Topic::Latest)? {
        for (pair, latest) in reader.prices(&prefix)? {
            let members = quotes.entry(pair.quote.clone()).or_default();
            members.push(Member { pair, latest, unused: None });
        }
    }
    for members in quotes.values_mut() {
        members.sort_by(|one, other| one.pair.cmp(&other.pair));
    }
    Ok(quotes)
}

fn row(Member { pair, latest, unused }: &Member) -> MemberRow<'_> {
    let latest = LatestRow::new(pair, latest);
    MemberRow { latest, used: unused.is_none(), unused_because: *unused }
}

fn line(price: Decimal, Member { pair, latest, unused }: &Member) -> MemberLine<'_> {
    MemberLine {
        base: &pair.base,
        quote: &pair.quote,
        price: AsText(price),
        exchange: &pair.exchange,
        member_price: AsText(latest.price),
        event_time: AsText(latest.event_time),
        used: unused.is_none(),
        unused_because: *unused,
    }
}

#[cfg(test)]
mod tests {
    use schemas::MarketEvent;

    use super::*;

    fn members(prices: &[(&str, i64)]) -> Vec<Member> {
        let member = |(index, (price, time)): (usize, &(&str, i64))| Member {
            pair: PairKey::new("BTC", "USD", format!("exchange{index}")),
            latest: LatestPrice::of(
                &MarketEvent::sample(price.parse().unwrap(), Timestamp(*time)),
                0,
            ),
            unused: None,
        };
        prices.iter().enumerate().map(member).collect()
    }

    fn priced(prices: &[(&str, i64)]) -> (String, Vec<Option<Unused>>) {
        let mut members = members(prices);
        let (price, _) = one_price(&mut members).unwrap();
        (price.to_string(), members.iter().map(|member| member.unused).collect())
    }

    #[test]
    fn one_price_is_the_lower_median_of_fresh_members_without_outliers() {
        assert_eq!(priced(&[("7", 0)]), ("7".into(), vec![None]));
        assert_eq!(priced(&[("100", 0), ("101", 0)]).0, "100");
        assert_eq!(priced(&[("101", 0), ("100", 0), ("102", 0)]).0, "101");
        let stale = priced(&[("90", 0), ("100", 60_001), ("101", 60_001)]);
        assert_eq!(stale, ("100".into(), vec![Some(Unused::Stale), None, None]));
        let outlier = priced(&[("100", 0), ("95", 0), ("106", 0), ("94.999999999", 60_000)]);
        // The median of the fresh is 95; 100 is just past 5 % of it, by 0.25.
        assert_eq!(outlier.1, [Some(Unused::Outlier), None, Some(Unused::Outlier), None]);
        assert_eq!(outlier.0, "94.999999999");
    }

    #[test]
    fn exactly_the_bound_is_used() {
        let used = priced(&[("100", 0), ("105", 0), ("95", 60_000)]);
        assert_eq!(used, ("100".into(), vec![None, None, None]));
    }
}
