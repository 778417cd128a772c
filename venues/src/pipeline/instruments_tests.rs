//! Listings, connections and ends, step by step.

use schemas::Decimal;

use super::*;

const CALL: &str = "BTC-5JAN24-42000-C";
/// 2024-01-05 at 08:00.
const EXPIRY: i64 = 1_704_441_600_000;

fn instrument(name: &str, tick_size: &str) -> Instrument {
    Instrument {
        name: name.into(),
        currency: "BTC".into(),
        class: (Venue::Deribit.adapter().class)(name),
        active: true,
        settlement_currency: Some("BTC".into()),
        expiry_time: None,
        strike: None,
        right: None,
        contract_size: Some(Decimal::ONE),
        tick_size: tick_size.parse().ok(),
    }
}

fn call() -> Instrument {
    instrument(CALL, "0.0005")
}

/// The records of a step: name, state, tick size and time.
fn told(step: impl FnOnce(&mut Produced)) -> Vec<(String, InstrumentState, Option<String>, i64)> {
    let mut out = Produced::default();
    step(&mut out);
    assert_eq!(out.counts.len(), out.outputs.len(), "each record is counted");
    let record = |output| match output {
        Output::Instrument { pair, instrument } => {
            let tick_size = instrument.tick_size.map(|size| size.to_string());
            (pair.base, instrument.state, tick_size, instrument.event_time.0)
        }
        other => panic!("{other:?}"),
    };
    out.outputs.into_iter().map(record).collect()
}

fn list(of: &mut Instruments, listing: &[Instrument], at: i64) -> Vec<(String, InstrumentState)> {
    let told = told(|out| {
        for name in of.listing(Venue::Deribit, listing, Timestamp(at), out) {
            of.ended(Venue::Deribit, &name, Timestamp(at), out);
        }
    });
    told.into_iter().map(|(name, state, ..)| (name, state)).collect()
}

fn listed(name: &str) -> (String, InstrumentState) {
    (name.into(), InstrumentState::Listed)
}

#[test]
fn facts_are_told_once_for_each_connection_and_when_they_change() {
    let mut instruments = Instruments::default();
    assert_eq!(list(&mut instruments, &[call()], 1), [listed(CALL)]);
    assert_eq!(list(&mut instruments, &[call()], 2), []);
    let finer = instrument(CALL, "0.0001");
    let step = |out: &mut Produced| {
        _ = instruments.listing(Venue::Deribit, std::slice::from_ref(&finer), Timestamp(3), out);
    };
    let changed = (CALL.to_owned(), InstrumentState::Listed, Some("0.0001".to_owned()), 3);
    assert_eq!(told(step), [changed]);
    instruments.disconnect();
    assert_eq!(list(&mut instruments, &[finer], 4), [listed(CALL)]);
}

#[test]
fn a_feed_tells_the_instruments_whose_tickers_it_carries() {
    let mut instruments = Instruments::default();
    let all = [call(), instrument("BTC-PERPETUAL", "0.5")];
    let streams = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<String>>();
    instruments.carry(Venue::Deribit, &streams(&["ticker.BTC-PERPETUAL.agg2", "trades.x.100ms"]));
    assert_eq!(list(&mut instruments, &all, 1), [listed("BTC-PERPETUAL")]);
    instruments.carry(Venue::Deribit, &streams(&[&format!("ticker.{CALL}.100ms")]));
    assert_eq!(list(&mut instruments, &all, 2), [listed(CALL)]);
    let mut none = Instruments::default();
    none.carry(Venue::Deribit, &streams(&["trades.option.BTC.100ms"]));
    assert_eq!(list(&mut none, &all, 1), []);
}

#[test]
fn an_announced_end_is_told_once_with_the_facts() {
    let mut instruments = Instruments::default();
    list(&mut instruments, &[call()], 1);
    let at = Timestamp(EXPIRY + 20);
    let ended = told(|out| instruments.ended(Venue::Deribit, CALL, at, out));
    let tick_size = Some("0.0005".to_owned());
    assert_eq!(ended, [(CALL.to_owned(), InstrumentState::Ended, tick_size, EXPIRY)]);
    assert_eq!(list(&mut instruments, &[instrument("BTC-PERPETUAL", "0.5")], at.0).len(), 1);
    // One that was never listed has the facts of its name.
    let other = "BTC-5JAN24-1d5-P";
    let ended = told(|out| instruments.ended(Venue::Deribit, other, Timestamp(7), out));
    assert_eq!(ended, [(other.to_owned(), InstrumentState::Ended, None, 7)]);
    assert_eq!(told(|out| instruments.ended(Venue::Deribit, "BTC_USDC", Timestamp(7), out)), []);
}

#[test]
fn an_instrument_that_a_listing_lacks_has_ended_once_its_expiry_has_passed() {
    let mut instruments = Instruments::default();
    let rest = [instrument("BTC-PERPETUAL", "0.5")];
    list(&mut instruments, &[call(), rest[0].clone()], 1);
    assert_eq!(list(&mut instruments, &rest, EXPIRY - 1), [], "an answer in part");
    assert_eq!(list(&mut instruments, &[], EXPIRY), [], "an answer of other currencies");
    assert_eq!(list(&mut instruments, &rest, EXPIRY), [(CALL.into(), InstrumentState::Ended)]);
    assert_eq!(list(&mut instruments, &rest, EXPIRY + 1), []);
}

#[test]
fn an_end_that_another_feed_has_told_is_not_told_again() {
    let mut instruments = Instruments::default();
    let rest = [instrument("BTC-PERPETUAL", "0.5")];
    list(&mut instruments, &[call(), rest[0].clone()], 1);
    instruments.forget(CALL);
    assert_eq!(list(&mut instruments, &rest, EXPIRY), []);
}

#[test]
fn facts_are_those_of_the_listing_and_of_the_name() {
    let mut out = Produced::default();
    let mut instruments = Instruments::default();
    let far = Timestamp(32_503_708_800_000);
    let perpetual = Instrument { expiry_time: Some(far), ..instrument("BTC-PERPETUAL", "0.5") };
    let spot = instrument("BTC_USDC", "1");
    let listing = [call(), perpetual, spot];
    let ended = instruments.listing(Venue::Deribit, &listing, Timestamp(9), &mut out);
    assert_eq!(ended, Vec::<String>::new());
    let facts = out.outputs.iter().map(|output| match output {
        Output::Instrument { instrument, .. } => instrument,
        other => panic!("{other:?}"),
    });
    let facts: Vec<_> = facts.collect();
    assert_eq!(facts.len(), 2, "spot has no ticker of its own kind");
    assert_eq!(facts[0].expiry_time, Some(Timestamp(EXPIRY)));
    assert_eq!(facts[0].strike, "42000".parse().ok());
    assert_eq!(facts[0].contract_size, Some(Decimal::ONE));
    assert_eq!((facts[1].class, facts[1].expiry_time), (schemas::Class::Perpetual, None));
    assert_eq!(facts[1].received_at, Timestamp(9));
}
