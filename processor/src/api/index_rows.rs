//! The consolidated price of a pair, as reads and streams show it.

use schemas::{Decimal, Index, IndexKey, IndexMember, Timestamp};
use serde::Serialize;

use super::columns::{Column, flag, number, text, time, whole};
use super::rows::{AsText, Number, Time};

/// A pair with its members.
#[derive(Serialize)]
pub(super) struct IndexRow<'a> {
    base: &'a str,
    quote: &'a str,
    price: Option<Number>,
    used: i64,
    spread_across_venues: Option<Number>,
    rule: &'a str,
    as_of: Time,
    event_time: Time,
    members: Vec<MemberRow<'a>>,
}

#[derive(Serialize)]
struct MemberRow<'a> {
    exchange: &'a str,
    price: Number,
    event_time: Time,
    age_ms: i64,
    used: bool,
    unused_because: Option<&'a str>,
}

impl<'a> IndexRow<'a> {
    /// The index of a base in a quote.
    pub(super) fn new(base: &'a str, quote: &'a str, index: &'a Index) -> Self {
        Self {
            base,
            quote,
            price: index.price.map(AsText),
            used: index.used,
            spread_across_venues: index.spread_across_venues.map(AsText),
            rule: &index.rule,
            as_of: AsText(index.as_of),
            event_time: AsText(index.event_time),
            members: index.members.iter().map(MemberRow::new).collect(),
        }
    }
}

impl<'a> MemberRow<'a> {
    fn new(member: &'a IndexMember) -> Self {
        Self {
            exchange: &member.exchange,
            price: AsText(member.price),
            event_time: AsText(member.event_time),
            age_ms: member.age_ms,
            used: member.used,
            unused_because: member.unused_because.as_deref(),
        }
    }
}

/// A member, with the price of its pair.
pub(super) struct MemberLine {
    key: IndexKey,
    price: Option<Decimal>,
    spread_across_venues: Option<Decimal>,
    as_of: Timestamp,
    member: IndexMember,
}

impl MemberLine {
    /// The members of an index.
    pub(super) fn of(key: IndexKey, index: Index) -> impl Iterator<Item = Self> {
        let Index { price, spread_across_venues, as_of, members, .. } = index;
        members.into_iter().map(move |member| Self {
            key: key.clone(),
            price,
            spread_across_venues,
            as_of,
            member,
        })
    }
}

/// The fields of a member's line. A price is that of the pair: the member has a name of its own for it.
pub(super) static MEMBER: &[Column<MemberLine>] = &[
    text("base", |line| Some(&line.key.base)),
    text("quote", |line| Some(&line.key.quote)),
    number("price", |line| line.price),
    number("spread_across_venues", |line| line.spread_across_venues),
    time("as_of", |line| Some(line.as_of)),
    text("exchange", |line| Some(&line.member.exchange)),
    number("member_price", |line| Some(line.member.price)),
    time("event_time", |line| Some(line.member.event_time)),
    whole("age_ms", |line| Some(line.member.age_ms)),
    flag("used", |line| Some(line.member.used)),
    text("unused_because", |line| line.member.unused_because.as_deref()),
];
