//! The consolidated price of a pair, as reads and streams show it.

use schemas::{Index, IndexMember};
use serde::Serialize;

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
