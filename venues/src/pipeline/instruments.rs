//! The facts of listed instruments, and the records of their listing and of their end.
//!
//! ```text
//! listing ─→ facts ─┬─ new or changed ──────────────→ LISTED
//!                   └─ absent, and past the expiry ─┐
//! message of the venue: an instrument has ended ────┴─→ ENDED
//! ```
//!
//! A listing has the instruments of whole currencies; a feed tells those whose tickers it carries.
//!
//! Invariants:
//! - A connection tells the facts of an instrument once, and again when they change. The next connection
//!   tells all of them again.
//! - The end of an instrument is told once, and only of one that was not told as ended before.
//! - An instrument that is absent from a listing has not ended before its expiry: a venue may answer in
//!   part.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;
use schemas::{Instrument as Facts, InstrumentState, PairKey, Timestamp};

use super::marks::MAX_PAIRS;
use super::{Count, Output, Produced};
use crate::instrument::Instrument;
use crate::venue::Venue;

/// The facts of the instruments of one feed. They outlive the connection.
#[derive(Debug, Default)]
pub(super) struct Instruments {
    /// By name. At most [`MAX_PAIRS`].
    listed: BTreeMap<String, Listed>,
    /// The instruments whose tickers the feed carries; `None` for all that are listed.
    carried: Option<FxHashSet<String>>,
}

#[derive(Debug)]
struct Listed {
    pair: PairKey,
    /// Without the times, which differ in each listing.
    facts: Facts,
    /// This connection has told them.
    is_told: bool,
}

impl Instruments {
    /// Tells the instruments whose tickers come over these streams, and of no others.
    pub(super) fn carry(&mut self, venue: Venue, streams: &[String]) {
        let Some(tickers) = &venue.adapter().tickers else { return };
        let names = streams.iter().filter_map(|stream| (tickers.instrument_of_stream)(stream));
        self.carried.get_or_insert_default().extend(names.map(str::to_owned));
    }

    /// The connection was lost: the next one tells all facts again.
    pub(super) fn disconnect(&mut self) {
        for listed in self.listed.values_mut() {
            listed.is_told = false;
        }
    }

    /// Appends the records of a listing; returns the instruments that have ended, of which nothing is
    /// told yet.
    #[must_use]
    pub(super) fn listing(
        &mut self,
        venue: Venue,
        listing: &[Instrument],
        received_at: Timestamp,
        out: &mut Produced,
    ) -> Vec<String> {
        if venue.adapter().tickers.is_none() {
            return Vec::new();
        }
        let mut currencies = BTreeSet::new();
        let mut names = BTreeSet::new();
        for instrument in listing {
            currencies.insert(instrument.currency.as_str());
            names.insert(instrument.name.as_str());
            self.list(venue, instrument, received_at, out);
        }
        let has_ended = |(name, listed): &(&String, &Listed)| {
            let is_absent = !names.contains(name.as_str());
            let expiry = listed.facts.expiry_time;
            let is_past = expiry.is_some_and(|expiry| expiry <= received_at);
            is_absent && is_past && currencies.contains(listed.facts.currency.as_str())
        };
        let ended = self.listed.iter().filter(has_ended).map(|(name, _)| name.clone());
        let (told, others): (Vec<_>, Vec<_>) = ended.partition(|name| self.carries(name));
        for name in others {
            self.listed.remove(&name);
        }
        told
    }

    /// Keeps the facts of one instrument, and tells them if they are new to the connection.
    fn list(
        &mut self,
        venue: Venue,
        instrument: &Instrument,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        let Some(mut new) = listed(venue, instrument) else { return };
        let is_carried = self.carries(&instrument.name);
        let is_full = self.listed.len() >= MAX_PAIRS;
        match self.listed.get(&instrument.name) {
            Some(old) => new.is_told = old.is_told && old.facts == new.facts,
            None if is_full => return,
            None => {}
        }
        if is_carried && !std::mem::replace(&mut new.is_told, true) {
            let record = Listed { pair: new.pair.clone(), facts: new.facts.clone(), is_told: true };
            push(record, InstrumentState::Listed, received_at, out);
        }
        self.listed.insert(instrument.name.clone(), new);
    }

    /// Appends the record of an end. An instrument without facts has those of its name.
    pub(super) fn ended(
        &mut self,
        venue: Venue,
        name: &str,
        received_at: Timestamp,
        out: &mut Produced,
    ) {
        if venue.adapter().tickers.is_none() {
            return;
        }
        let listed = self.listed.remove(name).or_else(|| named(venue, name));
        if let Some(listed) = listed {
            push(listed, InstrumentState::Ended, received_at, out);
        }
    }

    /// Forgets an instrument whose end another feed has told.
    pub(super) fn forget(&mut self, name: &str) {
        self.listed.remove(name);
        if let Some(carried) = &mut self.carried {
            carried.remove(name);
        }
    }

    fn carries(&self, name: &str) -> bool {
        self.carried.as_ref().is_none_or(|carried| carried.contains(name))
    }
}

/// Appends the record of an instrument. One that has expired has ended then, whenever that is told.
fn push(listed: Listed, state: InstrumentState, received_at: Timestamp, out: &mut Produced) {
    let expiry = listed.facts.expiry_time.filter(|expiry| *expiry <= received_at);
    let event_time = match state {
        InstrumentState::Listed => received_at,
        InstrumentState::Ended => expiry.unwrap_or(received_at),
    };
    let instrument = Facts { state, event_time, received_at, ..listed.facts };
    out.counts.push(Count::Instrument(state));
    out.outputs.push(Output::Instrument { pair: listed.pair, instrument });
}

/// The facts of a listed instrument; `None` for spot and combos.
fn listed(venue: Venue, instrument: &Instrument) -> Option<Listed> {
    let (pair, facts) = venue.record(instrument, InstrumentState::Listed, Timestamp::default())?;
    Some(Listed { pair, facts, is_told: false })
}

/// The facts that a name states.
fn named(venue: Venue, name: &str) -> Option<Listed> {
    let pair = venue.pair(name).ok()?;
    listed(venue, &Instrument::new(name, pair.base, (venue.adapter().class)(name), true))
}

#[cfg(test)]
#[path = "instruments_tests.rs"]
mod tests;
