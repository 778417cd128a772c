//! The index of each pair: members, rule, and what becomes of them as stream time goes on.

use std::collections::BTreeSet;

use schemas::{Codec, Index, IndexKey, IndexLeg, IndexMember, Timestamp};
use streams::punctuation::{PunctuationType, Schedule};
use streams::record::SourceRecord;
use streams::store::StoreHandle;
use streams::{Context, Failure, Processor, record};

use super::rule::{FORGOTTEN_AFTER_MS, STALE_AFTER_MS, consolidate};
use crate::operators::Result;
use crate::operators::entry::failure;
use crate::operators::pairs::AFTER_ALL;
use crate::store_keys;

/// How often members that have become too old are looked for.
const SWEEP: Schedule = Schedule { clock: PunctuationType::StreamTime, interval_ms: 1_000 };
/// Rows per page when the store is read.
const PAGE: usize = 4096;

/// A price of one exchange with the pair that it is of.
pub type IndexLegEntry = (IndexKey, IndexLeg);

/// Decodes one record of the repartition topic.
pub fn index_leg_entry(codec: &Codec, record: &SourceRecord<'_>) -> Result<IndexLegEntry, Failure> {
    let value = record.value.ok_or(Failure::Drop("tombstone"))?;
    let key = codec.decode(record.key).map_err(failure)?;
    Ok((key, codec.decode(value).map_err(failure)?))
}

/// Keeps `index`. It forwards nothing.
pub struct Indexes {
    rows: StoreHandle<Index>,
    /// The keys of rows by the time at which they change without a leg. The rows are authoritative: an entry
    /// may be one of a row that has changed since.
    due: BTreeSet<(i64, Vec<u8>)>,
    /// The rows of the store are in `due`.
    is_found: bool,
}

impl Indexes {
    /// Indexes in this store.
    pub const fn new(rows: StoreHandle<Index>) -> Self {
        Self { rows, due: BTreeSet::new(), is_found: false }
    }

    /// Finds the rows of the store, once.
    fn find(&mut self) -> Result<()> {
        let mut from = Vec::new();
        while !self.is_found {
            let page = self.rows.range(&from, &AFTER_ALL, PAGE)?;
            self.is_found = page.len() < PAGE;
            for (key, row) in page {
                from.clone_from(&key);
                from.push(0);
                self.due.extend(next_change(&row).map(|at| (at, key)));
            }
        }
        Ok(())
    }

    /// The row as of a time; it goes when nobody is left in it.
    fn refresh(&mut self, key: &[u8], as_of: Timestamp) -> Result<()> {
        let mut entry = self.rows.entry(key)?;
        let Some(mut row) = entry.clone() else { return Ok(()) };
        evaluate(&mut row, as_of);
        self.due.extend(next_change(&row).map(|at| (at, key.to_vec())));
        *entry = Some(row).filter(|row| !row.members.is_empty());
        Ok(())
    }
}

/// Takes a leg into a row; false when it has no place for a further member.
fn take(row: &mut Index, leg: &IndexLeg) -> bool {
    let found = row.members.binary_search_by(|one| one.exchange.cmp(&leg.exchange));
    let at = match found {
        Ok(at) => at,
        Err(_) if row.members.len() >= Index::MAX_MEMBERS => return false,
        Err(at) => {
            let exchange = leg.exchange.clone();
            row.members.insert(at, IndexMember { exchange, ..IndexMember::default() });
            at
        }
    };
    let member = &mut row.members[at];
    (member.price, member.event_time) = (leg.price, leg.event_time);
    true
}

/// Applies the rule to a row as of a time.
fn evaluate(row: &mut Index, as_of: Timestamp) {
    // A task's stream time never goes back.
    let as_of = as_of.max(row.as_of);
    let age = |time: Timestamp| as_of.0.saturating_sub(time.0).max(0);
    row.members.retain(|member| age(member.event_time) <= FORGOTTEN_AFTER_MS);
    let prices: Vec<_> = row.members.iter().map(|one| (one.price, one.event_time)).collect();
    let consolidated = consolidate(as_of, &prices);
    for (member, unused) in row.members.iter_mut().zip(&consolidated.unused) {
        member.age_ms = age(member.event_time);
        member.used = unused.is_none();
        member.unused_because = unused.map(|reason| reason.as_str().to_owned());
    }
    row.price = consolidated.price;
    row.spread_across_venues = consolidated.spread;
    row.used = row.members.iter().map(|member| i64::from(member.used)).sum();
    Index::LOWER_MEDIAN.clone_into(&mut row.rule);
    row.as_of = as_of;
    row.event_time = row.members.iter().map(|one| one.event_time).max().unwrap_or(row.event_time);
}

/// The first time at which a row changes without a leg: a member becomes stale, or is forgotten.
fn next_change(row: &Index) -> Option<i64> {
    let of_member = |member: &IndexMember| {
        let is_stale = member.unused_because.as_deref() == Some(Index::STALE);
        let after = if is_stale { FORGOTTEN_AFTER_MS } else { STALE_AFTER_MS };
        member.event_time.0.saturating_add(after).saturating_add(1)
    };
    row.members.iter().map(of_member).min()
}

impl Processor for Indexes {
    type In = IndexLegEntry;
    type Out = ();

    fn process(&mut self, context: &mut Context<'_, ()>, (key, leg): &IndexLegEntry) -> Result<()> {
        let key = store_keys::body(key);
        let as_of = Timestamp(context.stream_time().0);
        let mut entry = self.rows.entry(&key)?;
        let mut row = entry.clone().unwrap_or_default();
        if !take(&mut row, leg) {
            return Err(Failure::Drop("too_many_members"));
        }
        evaluate(&mut row, as_of);
        self.due.extend(next_change(&row).map(|at| (at, key.clone())));
        let row = Some(row).filter(|row| !row.members.is_empty());
        // A leg without a price of an exchange that is no member is nothing to write.
        if entry.is_some() || row.is_some() {
            *entry = row;
        }
        Ok(())
    }

    fn schedule(&self) -> Option<Schedule> {
        Some(SWEEP)
    }

    fn punctuate(&mut self, _: &mut Context<'_, ()>, time: record::Timestamp) -> Result<()> {
        self.find()?;
        // An entry that is taken gives at most one later than now.
        while self.due.first().is_some_and(|(at, _)| *at <= time.0) {
            let Some((_, key)) = self.due.pop_first() else { break };
            let is_due = self
                .rows
                .get(&key)?
                .is_some_and(|row| next_change(&row).is_some_and(|at| at <= time.0));
            if is_due {
                self.refresh(&key, Timestamp(time.0))?;
            }
        }
        Ok(())
    }

    fn resume(&mut self, _: &mut Context<'_, ()>) -> Result<()> {
        // The task has started, or what it did since its last commit is gone.
        self.due.clear();
        self.is_found = false;
        Ok(())
    }
}
