//! `/v1/bases/{base}`: the newest prices of a base at every exchange, and one price for each quote.
//!
//! The one price of a base and quote is that of the rule of the index (`operators/index/rule.rs`), as of the
//! newest member.
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
use crate::operators::{Unused, consolidate};
use crate::store_keys;

const FORMATS: [MediaType; 2] = [MediaType::Json, MediaType::Csv];

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

/// The one price of these members as of the newest; sets in each why it was not used. `None` without
/// members.
fn one_price(members: &mut [Member]) -> Option<(Decimal, Timestamp)> {
    let newest = members.iter().map(|member| member.latest.event_time).max()?;
    let quoted = members.iter().map(|member| (member.latest.price, member.latest.event_time));
    let one = consolidate(newest, &quoted.collect::<Vec<_>>());
    for (member, unused) in members.iter_mut().zip(one.unused) {
        member.unused = unused;
    }
    Some((one.price?, newest))
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
