//! The records of options and derivatives: any of them, and as the reference implementation holds
//! them.
//!
//! A list of names serves both: the fields are taken by name, and the schema says their order.

use apache_avro::types::Value;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use schemas::{
    Class, Decimal, Derivative, Instrument, InstrumentName, InstrumentState, OptionMinute,
    OptionMinuteKey, OptionState, Right, Ticker,
};

use crate::arbitrary::{decimal, pair_key, time};
use crate::reference;

/// Decimals of the largest of these records.
const MOST: usize = 32;

/// A list of fields of optional decimals.
macro_rules! numbers {
    ($fill:ident, $values:ident, $Record:ident: $($field:ident)+) => {
        fn $fill(record: &mut $Record, numbers: &[Option<Decimal>]) {
            let mut numbers = numbers.iter().copied();
            $(record.$field = numbers.next().flatten();)+
        }

        fn $values(record: &$Record) -> Vec<(&'static str, Value)> {
            vec![$((stringify!($field), reference::maybe(record.$field))),+]
        }
    };
}

numbers! { fill_ticker, ticker_numbers, Ticker:
    mark_price last_price bid bid_size ask ask_size mark_iv bid_iv ask_iv delta gamma vega theta
    rho open_interest underlying_price index_price settlement_price min_price max_price
    interest_rate estimated_delivery_price current_funding funding_8h volume volume_usd
    price_change high low
}

numbers! { fill_option, option_numbers, OptionState:
    contract_size tick_size
    mark_price last_price bid bid_size ask ask_size mark_iv bid_iv ask_iv delta gamma vega theta
    rho open_interest underlying_price index_price settlement_price min_price max_price
    interest_rate estimated_delivery_price volume volume_usd price_change high low
}

numbers! { fill_minute, minute_numbers, OptionMinute:
    mark_price mark_iv bid ask bid_iv ask_iv delta open_interest underlying_price index_price
}

numbers! { fill_derivative, derivative_numbers, Derivative:
    contract_size tick_size
    mark_price last_price bid bid_size ask ask_size open_interest index_price settlement_price
    min_price max_price interest_rate estimated_delivery_price current_funding funding_8h volume
    volume_usd price_change high low
}

fn numbers() -> impl Strategy<Value = Vec<Option<Decimal>>> {
    vec(option::of(decimal()), MOST)
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Option), Just(Class::Future), Just(Class::Perpetual)]
}

fn right() -> impl Strategy<Value = Right> {
    prop_oneof![Just(Right::Call), Just(Right::Put)]
}

prop_compose! {
    pub(crate) fn ticker()(
        numbers in numbers(),
        (underlying_index, state) in any::<(Option<String>, Option<String>)>(),
        (event_time, received_at) in (time(), time()),
    ) -> Ticker {
        let mut ticker =
            Ticker { underlying_index, state, event_time, received_at, ..Ticker::default() };
        fill_ticker(&mut ticker, &numbers);
        ticker
    }
}

prop_compose! {
    pub(crate) fn instrument()(
        (class, right) in (class(), option::of(right())),
        (currency, settlement_currency) in any::<(String, Option<String>)>(),
        expiry_time in option::of(time()),
        [strike, contract_size, tick_size] in
            [option::of(decimal()), option::of(decimal()), option::of(decimal())],
        state in prop_oneof![Just(InstrumentState::Listed), Just(InstrumentState::Ended)],
        (event_time, received_at) in (time(), time()),
    ) -> Instrument {
        Instrument {
            class, currency, settlement_currency, expiry_time, strike, right, contract_size,
            tick_size, state, event_time, received_at,
        }
    }
}

fn name(class: Class, currency: &str) -> InstrumentName {
    let zero = schemas::Timestamp(0);
    InstrumentName {
        class,
        currency: currency.into(),
        expiry_time: Some(zero),
        strike: Some(Decimal::ONE),
        right: Some(Right::Call),
    }
}

prop_compose! {
    pub(crate) fn option_state()(
        numbers in numbers(),
        (strike, right) in (decimal(), right()),
        (currency, state) in any::<(String, String)>(),
        (settlement_currency, underlying_index) in any::<(Option<String>, Option<String>)>(),
        (expiry_time, closed_at) in (time(), option::of(time())),
        (event_time, received_at) in (time(), time()),
    ) -> OptionState {
        let named = OptionState::named(&name(Class::Option, &currency));
        let mut option = OptionState {
            strike, right, settlement_currency, underlying_index, expiry_time, state, closed_at,
            event_time, received_at, ..named.unwrap_or_else(|| unreachable!("an option's name"))
        };
        fill_option(&mut option, &numbers);
        option
    }
}

prop_compose! {
    pub(crate) fn option_minute_key()(pair in pair_key(), open_time in time())
        -> OptionMinuteKey
    {
        OptionMinuteKey { pair, open_time }
    }
}

prop_compose! {
    pub(crate) fn option_minute()(numbers in numbers(), event_time in time()) -> OptionMinute {
        let mut minute = OptionMinute { event_time, ..OptionMinute::default() };
        fill_minute(&mut minute, &numbers);
        minute
    }
}

prop_compose! {
    pub(crate) fn derivative()(
        numbers in numbers(),
        class in class(),
        (currency, settlement_currency, state) in any::<(String, Option<String>, String)>(),
        (expiry_time, closed_at) in (option::of(time()), option::of(time())),
        (event_time, received_at) in (time(), time()),
    ) -> Derivative {
        let named = Derivative::named(&name(Class::Future, &currency));
        let mut derivative = Derivative {
            class, settlement_currency, expiry_time, state, closed_at, event_time, received_at,
            ..named.unwrap_or_else(|| unreachable!("a future's name"))
        };
        fill_derivative(&mut derivative, &numbers);
        derivative
    }
}

pub(crate) fn reference_ticker(ticker: &Ticker) -> Value {
    let mut fields = ticker_numbers(ticker);
    fields.extend([
        ("underlying_index", words(ticker.underlying_index.as_deref())),
        ("state", words(ticker.state.as_deref())),
        ("event_time", reference::time(ticker.event_time)),
        ("received_at", reference::time(ticker.received_at)),
    ]);
    reference::by_name(schemas::Kind::Ticker, fields)
}

pub(crate) fn reference_instrument(listed: &Instrument) -> Value {
    let right = listed.right.map(Right::as_str);
    reference::by_name(
        schemas::Kind::Instrument,
        vec![
            ("class", reference::text(listed.class.as_str())),
            ("currency", reference::text(&listed.currency)),
            ("settlement_currency", words(listed.settlement_currency.as_deref())),
            ("expiry_time", reference::optional(listed.expiry_time, reference::time)),
            ("strike", reference::maybe(listed.strike)),
            ("right", words(right)),
            ("contract_size", reference::maybe(listed.contract_size)),
            ("tick_size", reference::maybe(listed.tick_size)),
            ("state", reference::text(listed.state.as_str())),
            ("event_time", reference::time(listed.event_time)),
            ("received_at", reference::time(listed.received_at)),
        ],
    )
}

pub(crate) fn reference_option_state(option: &OptionState) -> Value {
    let mut fields = option_numbers(option);
    fields.extend([
        ("currency", reference::text(&option.currency)),
        ("expiry_time", reference::time(option.expiry_time)),
        ("strike", reference::decimal(option.strike)),
        ("right", reference::text(option.right.as_str())),
        ("settlement_currency", words(option.settlement_currency.as_deref())),
        ("underlying_index", words(option.underlying_index.as_deref())),
        ("state", reference::text(&option.state)),
        ("closed_at", reference::optional(option.closed_at, reference::time)),
        ("event_time", reference::time(option.event_time)),
        ("received_at", reference::time(option.received_at)),
    ]);
    reference::by_name(schemas::Kind::OptionState, fields)
}

pub(crate) fn reference_option_minute_key(key: &OptionMinuteKey) -> Value {
    reference::by_name(
        schemas::Kind::OptionMinuteKey,
        vec![
            ("base", reference::text(&key.pair.base)),
            ("quote", reference::text(&key.pair.quote)),
            ("exchange", reference::text(&key.pair.exchange)),
            ("open_time", reference::time(key.open_time)),
        ],
    )
}

pub(crate) fn reference_option_minute(minute: &OptionMinute) -> Value {
    let mut fields = minute_numbers(minute);
    fields.push(("event_time", reference::time(minute.event_time)));
    reference::by_name(schemas::Kind::OptionMinute, fields)
}

pub(crate) fn reference_derivative(derivative: &Derivative) -> Value {
    let mut fields = derivative_numbers(derivative);
    fields.extend([
        ("class", reference::text(derivative.class.as_str())),
        ("currency", reference::text(&derivative.currency)),
        ("settlement_currency", words(derivative.settlement_currency.as_deref())),
        ("expiry_time", reference::optional(derivative.expiry_time, reference::time)),
        ("state", reference::text(&derivative.state)),
        ("closed_at", reference::optional(derivative.closed_at, reference::time)),
        ("event_time", reference::time(derivative.event_time)),
        ("received_at", reference::time(derivative.received_at)),
    ]);
    reference::by_name(schemas::Kind::Derivative, fields)
}

fn words(value: Option<&str>) -> Value {
    reference::optional(value, reference::text)
}

proptest! {
    #[test]
    fn an_option_takes_every_field_of_its_ticker(ticker in ticker()) {
        let mut option = OptionState::named(&name(Class::Option, "BTC"))
            .ok_or_else(|| TestCaseError::fail("an option's name"))?;
        let (facts, own) = (option.clone(), option_numbers(&option));
        option.take(&ticker);
        let from = ticker_numbers(&ticker);
        for (field, value) in option_numbers(&option) {
            let sent = from.iter().chain(&own).find(|(name, _)| *name == field);
            prop_assert_eq!(Some(&value), sent.map(|(_, value)| value), "{}", field);
        }
        prop_assert_eq!(option.underlying_index, ticker.underlying_index);
        let state = ticker.state.as_deref().map_or("OPEN".into(), str::to_uppercase);
        prop_assert_eq!((option.state, option.event_time), (state, ticker.event_time));
        prop_assert_eq!((option.strike, option.closed_at), (facts.strike, None));
    }

    #[test]
    fn a_derivative_takes_every_field_of_its_ticker(ticker in ticker()) {
        let mut derivative = Derivative::named(&name(Class::Future, "BTC"))
            .ok_or_else(|| TestCaseError::fail("a future's name"))?;
        let own = derivative_numbers(&derivative);
        derivative.take(&ticker);
        let from = ticker_numbers(&ticker);
        for (field, value) in derivative_numbers(&derivative) {
            let sent = from.iter().chain(&own).find(|(name, _)| *name == field);
            prop_assert_eq!(Some(&value), sent.map(|(_, value)| value), "{}", field);
        }
        prop_assert_eq!(derivative.event_time, ticker.event_time);
        prop_assert_eq!(derivative.received_at, ticker.received_at);
    }

    #[test]
    fn a_minute_has_the_numbers_of_its_ticker(ticker in ticker()) {
        let minute = OptionMinute::of(&ticker);
        let from = ticker_numbers(&ticker);
        for number in minute_numbers(&minute) {
            prop_assert!(from.contains(&number), "{}", number.0);
        }
        prop_assert_eq!(minute.event_time, ticker.event_time);
    }

    #[test]
    fn a_name_that_is_any_text_never_panics(name: String) {
        let _ = InstrumentName::parse(&name);
    }
}
