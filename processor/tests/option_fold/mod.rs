//! A naive fold of the records of `option_tickers`: it looks at every row after every record, and
//! shares no code with the topology but the types of the records and the copying of their fields.

use std::collections::BTreeMap;

use schemas::instrument::{Class, InstrumentName, InstrumentState};
use schemas::{
    Derivative, Instrument, OptionMinute, OptionMinuteKey, OptionState, PairKey, Ticker, Timestamp,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const WEEK: i64 = 7 * 24 * HOUR;

/// A row of either table.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a test compares some of them")]
pub(crate) enum Row {
    Option(OptionState),
    Derivative(Derivative),
}

/// What the fold knows of a row beside its record.
#[derive(Clone)]
struct Known {
    row: Row,
    expiry: Option<i64>,
    newest: Option<i64>,
    closed: Option<(i64, i64)>,
}

/// The tables, and what was refused.
#[derive(Default)]
pub(crate) struct Fold {
    rows: BTreeMap<PairKey, Known>,
    pub(crate) deleted: Vec<PairKey>,
    pub(crate) minutes: BTreeMap<OptionMinuteKey, OptionMinute>,
    pub(crate) refused: Vec<&'static str>,
    stream_time: i64,
}

impl Known {
    fn end(&self) -> Option<i64> {
        let expiry = self.expiry?;
        Some(self.newest.map_or(expiry, |newest| newest.max(expiry)))
    }

    fn is_over(&self, minute: i64) -> bool {
        self.closed.is_none() && self.end().is_some_and(|end| end + HOUR <= minute)
    }

    fn write(&mut self) {
        let closed = self.closed;
        let (state, closed_at, received_at) = match &mut self.row {
            Row::Option(row) => (&mut row.state, &mut row.closed_at, &mut row.received_at),
            Row::Derivative(row) => (&mut row.state, &mut row.closed_at, &mut row.received_at),
        };
        if let Some((at, told)) = closed {
            *state = "CLOSED".into();
            *closed_at = Some(Timestamp(at));
            *received_at = Timestamp(told);
        }
    }

    fn close(&mut self, at: i64, told: i64) {
        self.closed = Some((at, told));
        self.write();
    }
}

impl Fold {
    pub(crate) fn rows(&self) -> BTreeMap<PairKey, Row> {
        self.rows.iter().map(|(pair, known)| (pair.clone(), known.row.clone())).collect()
    }

    fn minute(&self) -> i64 {
        self.stream_time - self.stream_time.rem_euclid(MINUTE)
    }

    /// Time passes to that of a record.
    pub(crate) fn advance(&mut self, written: i64) {
        self.stream_time = self.stream_time.max(written);
    }

    /// What time alone does, after a record.
    pub(crate) fn sweep(&mut self) {
        let (minute, told) = (self.minute(), self.stream_time);
        let mut deleted = Vec::new();
        for (pair, known) in &mut self.rows {
            match known.closed {
                Some((_, since)) if since + WEEK <= minute => deleted.push(pair.clone()),
                None if known.is_over(minute) => {
                    let end = known.end().unwrap_or_default();
                    known.close(end, told);
                }
                _ => {}
            }
        }
        for pair in deleted {
            self.rows.remove(&pair);
            self.deleted.push(pair);
        }
    }

    pub(crate) fn ticker(&mut self, pair: &PairKey, ticker: &Ticker) {
        let told = self.stream_time;
        let at = ticker.event_time.0;
        let Some(known) = self.rows.get_mut(pair) else {
            return self.first(pair, ticker);
        };
        if known.closed.is_some_and(|(end, _)| at > end) {
            self.refused.push("closed");
            return;
        }
        if known.newest.is_none_or(|newest| at >= newest) {
            match &mut known.row {
                Row::Option(row) => row.take(ticker),
                Row::Derivative(row) => row.take(ticker),
            }
            known.newest = Some(at);
            known.closed = known.closed.map(|(end, _)| (end, told));
            known.write();
        }
        if matches!(known.row, Row::Option(_)) {
            self.take_minute(pair, ticker);
        }
    }

    fn first(&mut self, pair: &PairKey, ticker: &Ticker) {
        let Some(name) = InstrumentName::parse(&pair.base) else {
            self.refused.push("unknown_instrument");
            return;
        };
        let mut row = match OptionState::named(&name) {
            Some(row) => Row::Option(row),
            None => Row::Derivative(Derivative::named(&name).expect("a derivative")),
        };
        match &mut row {
            Row::Option(row) => row.take(ticker),
            Row::Derivative(row) => row.take(ticker),
        }
        let expiry = name.expiry_time.map(|time| time.0);
        let newest = Some(ticker.event_time.0);
        if expiry.is_some_and(|expiry| expiry + HOUR <= self.minute()) {
            self.refused.push("expired");
            return;
        }
        let known = Known { row, expiry, newest, closed: None };
        let is_option = matches!(known.row, Row::Option(_));
        self.rows.insert(pair.clone(), known);
        if is_option {
            self.take_minute(pair, ticker);
        }
    }

    fn take_minute(&mut self, pair: &PairKey, ticker: &Ticker) {
        let at = ticker.event_time.0;
        let open_time = Timestamp(at - at.rem_euclid(MINUTE));
        let key = OptionMinuteKey { pair: pair.clone(), open_time };
        let newest = self.minutes.get(&key).map(|minute| minute.event_time.0);
        if newest.is_none_or(|newest| at >= newest) {
            self.minutes.insert(key, OptionMinute::of(ticker));
        }
    }

    pub(crate) fn instrument(&mut self, pair: &PairKey, listed: &Instrument) {
        let (minute, told) = (self.minute(), self.stream_time);
        match (self.rows.get_mut(pair), listed.state) {
            (None, InstrumentState::Listed) => {
                let known = begin(pair, listed);
                if !known.is_over(minute) {
                    self.rows.insert(pair.clone(), known);
                }
            }
            (None, InstrumentState::Ended) => {}
            (Some(known), InstrumentState::Listed) => {
                learn(known, listed);
                let event = listed.event_time.0;
                let is_after = known.closed.is_some_and(|(end, _)| event > end);
                if is_after && known.expiry.is_none_or(|expiry| event < expiry) {
                    known.closed = None;
                    let (state, closed_at, received_at) = match &mut known.row {
                        Row::Option(row) => {
                            (&mut row.state, &mut row.closed_at, &mut row.received_at)
                        }
                        Row::Derivative(row) => {
                            (&mut row.state, &mut row.closed_at, &mut row.received_at)
                        }
                    };
                    *state = "OPEN".into();
                    *closed_at = None;
                    *received_at = listed.received_at;
                }
                if known.is_over(minute) {
                    let end = known.end().unwrap_or_default();
                    known.close(end, told);
                }
            }
            (Some(known), InstrumentState::Ended) => {
                let event = listed.event_time.0;
                let is_stale = known.newest.is_some_and(|newest| newest > event + HOUR);
                if known.closed.is_none() && !is_stale {
                    known.close(event, told);
                }
            }
        }
    }
}

/// The row of an instrument that is listed: its facts are its own, else those of its name.
fn begin(pair: &PairKey, listed: &Instrument) -> Known {
    let name = InstrumentName::parse(&pair.base);
    let of_name = name.as_ref();
    let facts = InstrumentName {
        class: listed.class,
        currency: listed.currency.clone(),
        expiry_time: listed.expiry_time.or(of_name.and_then(|name| name.expiry_time)),
        strike: listed.strike.or(of_name.and_then(|name| name.strike)),
        right: listed.right.or(of_name.and_then(|name| name.right)),
    };
    let mut row = match listed.class {
        Class::Option => Row::Option(OptionState::named(&facts).expect("an option")),
        _ => Row::Derivative(Derivative::named(&facts).expect("a derivative")),
    };
    match &mut row {
        Row::Option(row) => {
            row.take_facts(listed);
            (row.event_time, row.received_at) = (listed.event_time, listed.received_at);
        }
        Row::Derivative(row) => {
            row.take_facts(listed);
            (row.event_time, row.received_at) = (listed.event_time, listed.received_at);
        }
    }
    let expiry = facts.expiry_time.map(|time| time.0);
    let expiry = expiry.filter(|_| listed.class != Class::Perpetual);
    Known { row, expiry, newest: None, closed: None }
}

/// The facts of a listing that are not null.
fn learn(known: &mut Known, listed: &Instrument) {
    match &mut known.row {
        Row::Option(row) => {
            row.currency.clone_from(&listed.currency);
            row.expiry_time = listed.expiry_time.unwrap_or(row.expiry_time);
            row.strike = listed.strike.unwrap_or(row.strike);
            row.right = listed.right.unwrap_or(row.right);
            row.contract_size = listed.contract_size.or(row.contract_size);
            row.tick_size = listed.tick_size.or(row.tick_size);
            if listed.settlement_currency.is_some() {
                row.settlement_currency.clone_from(&listed.settlement_currency);
            }
            known.expiry = Some(row.expiry_time.0);
        }
        Row::Derivative(row) => {
            row.currency.clone_from(&listed.currency);
            row.expiry_time = listed.expiry_time.or(row.expiry_time);
            row.contract_size = listed.contract_size.or(row.contract_size);
            row.tick_size = listed.tick_size.or(row.tick_size);
            if listed.settlement_currency.is_some() {
                row.settlement_currency.clone_from(&listed.settlement_currency);
            }
            let expires = row.class != Class::Perpetual;
            known.expiry = row.expiry_time.filter(|_| expires).map(|time| time.0);
        }
    }
}
