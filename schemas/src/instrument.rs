//! The facts of a listed instrument, and the facts that its name states.

use crate::fields::{named_field, record};
use crate::{Decimal, Timestamp};

/// The state of an instrument that can be traded.
pub const OPEN: &str = "OPEN";
/// The state of an instrument after its end.
pub const CLOSED: &str = "CLOSED";

/// Futures and options expire at 08:00 UTC.
const EXPIRY_HOUR: i8 = 8;

crate::named! {
    /// A class of derivatives.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Class {
        /// An option.
        Option = "OPTION",
        /// A future with an end.
        Future = "FUTURE",
        /// A future without end.
        Perpetual = "PERPETUAL",
    }
}
named_field!(Class);

crate::named! {
    /// The right of an option's holder.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Right {
        /// To buy.
        Call = "CALL",
        /// To sell.
        Put = "PUT",
    }
}
named_field!(Right);

crate::named! {
    /// Whether an instrument can be traded.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum InstrumentState {
        /// The venue lists it.
        Listed = "LISTED",
        /// It has expired or was delisted.
        Ended = "ENDED",
    }
}
named_field!(InstrumentState);

record! {
    /// The facts of the instrument in its key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Instrument {
        /// The class.
        pub class: Class,
        /// The currency of the underlying.
        pub currency: String,
        /// The settlement currency.
        pub settlement_currency: Option<String>,
        /// When it expires; `None` for a perpetual.
        pub expiry_time: Option<Timestamp>,
        /// The strike of an option.
        pub strike: Option<Decimal>,
        /// The right of an option.
        pub right: Option<Right>,
        /// The size of one contract: in the base currency, for inverse futures in USD.
        pub contract_size: Option<Decimal>,
        /// The step of prices.
        pub tick_size: Option<Decimal>,
        /// Listed or ended.
        pub state: InstrumentState,
        /// When the venue said so; of an ended one, when it ended.
        pub event_time: Timestamp,
        /// When we received it, by our clock.
        pub received_at: Timestamp,
    }
}

/// The facts that the name of an instrument states, in the notation of Deribit.
///
/// ```text
/// BTC-PERPETUAL   BTC_USDC-PERPETUAL   BTC-25DEC26   BTC-5JAN24-42000-C   XRP_USDC-25DEC26-1d02-P
/// ```
///
/// A future or option expires at 08:00 UTC of its day. A `d` in a strike is the decimal point.
///
/// ```
/// use schemas::instrument::{Class, InstrumentName, Right};
/// let name = InstrumentName::parse("XRP_USDC-25DEC26-1d02-P").ok_or("an option")?;
/// assert_eq!((name.currency.as_str(), name.class), ("XRP", Class::Option));
/// assert_eq!(name.expiry_time.map(|time| time.to_string()).as_deref(), Some("2026-12-25T08:00:00.000Z"));
/// assert_eq!(name.strike.map(|strike| strike.to_string()).as_deref(), Some("1.02"));
/// assert_eq!(name.right, Some(Right::Put));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstrumentName {
    /// The class.
    pub class: Class,
    /// The currency of the underlying.
    pub currency: String,
    /// When it expires; `None` for a perpetual.
    pub expiry_time: Option<Timestamp>,
    /// The strike of an option.
    pub strike: Option<Decimal>,
    /// The right of an option.
    pub right: Option<Right>,
}

impl InstrumentName {
    /// Reads a name; `None` when it is not that of an option, a future or a perpetual.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (underlying, second) = (parts.next()?, parts.next()?);
        let currency = underlying.split('_').next().filter(|currency| !currency.is_empty())?;
        let (strike, right, rest) = (parts.next(), parts.next(), parts.next());
        let (class, expiry_time, strike, right) = match (second, strike, right, rest) {
            ("PERPETUAL", None, None, None) => (Class::Perpetual, None, None, None),
            (day, None, None, None) => (Class::Future, Some(expiry(day)?), None, None),
            (day, Some(strike), Some(right), None) => {
                let right = match right {
                    "C" => Right::Call,
                    "P" => Right::Put,
                    _ => return None,
                };
                (Class::Option, Some(expiry(day)?), Some(parse_strike(strike)?), Some(right))
            }
            _ => return None,
        };
        Some(Self { class, currency: currency.into(), expiry_time, strike, right })
    }
}

/// The time of a day as names have it: `5JAN24`, `25DEC26`.
fn expiry(day: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    if !day.is_ascii() {
        return None;
    }
    let (date, year) = day.split_at_checked(day.len().checked_sub(2)?)?;
    let (date, month) = date.split_at_checked(date.len().checked_sub(3)?)?;
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let number = |text: &str| {
        let digits = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i8>().ok()).flatten()
    };
    let year = 2000 + i16::from(number(year)?);
    let day = jiff::civil::Date::new(year, i8::try_from(month).ok()?, number(date)?).ok()?;
    let time = day.at(EXPIRY_HOUR, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(time.timestamp().as_millisecond()))
}

/// Digits, and at most one `d` between them.
fn parse_strike(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('d').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let strike: Decimal = format!("{whole}.{fraction}").parse().ok()?;
    strike.is_positive().then_some(strike)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_state_class_currency_expiry_strike_and_right() {
        let shown = |name: &str| {
            let name = InstrumentName::parse(name)?;
            let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
            Some(format!(
                "{} {} {} {} {}",
                name.class.as_str(),
                name.currency,
                text(name.expiry_time.map(|time| time.to_string())),
                text(name.strike.map(|strike| strike.to_string())),
                text(name.right.map(|right| right.as_str().to_owned())),
            ))
        };
        for (name, expected) in [
            ("BTC-PERPETUAL", "PERPETUAL BTC - - -"),
            ("BTC_USDC-PERPETUAL", "PERPETUAL BTC - - -"),
            ("ETH-25JUN21", "FUTURE ETH 2021-06-25T08:00:00.000Z - -"),
            ("BTC-5JAN24-42000-C", "OPTION BTC 2024-01-05T08:00:00.000Z 42000 CALL"),
            ("BTC-29FEB24-42000-P", "OPTION BTC 2024-02-29T08:00:00.000Z 42000 PUT"),
            ("XRP_USDC-25DEC26-1d02-C", "OPTION XRP 2026-12-25T08:00:00.000Z 1.02 CALL"),
            ("X_USDC-25DEC26-0d0005-P", "OPTION X 2026-12-25T08:00:00.000Z 0.0005 PUT"),
        ] {
            assert_eq!(shown(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_name_of_another_form_states_nothing() {
        for name in [
            "",
            "BTC",
            "BTC_USDC",
            "-PERPETUAL",
            "BTC-",
            "BTC-FOO",
            "BTC-30FEB24",
            "BTC-0JAN24",
            "BTC-JAN24",
            "BTC-100JAN24",
            "BTC-5jan24",
            "BTC-5JAN2024",
            "BTC-5JAN24-42000",
            "BTC-5JAN24-42000-X",
            "BTC-5JAN24--C",
            "BTC-5JAN24-d5-C",
            "BTC-5JAN24-1d-C",
            "BTC-5JAN24-1d2d3-C",
            "BTC-5JAN24-1.5-C",
            "BTC-5JAN24-1e5-C",
            "BTC-5JAN24--5-C",
            "BTC-5JAN24-0-C",
            "BTC-5JAN24-42000-C-1",
            "BTC-FS-25DEC26_PERP",
            "BTC-€5JAN24",
            "BTC-+5JAN24",
            "BTC-5JAN24-99999999999999999999999-C",
        ] {
            assert_eq!(InstrumentName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_option_that_can_be_named_is_read_back(
            currency in "[A-Z]{2,6}",
            (day, month, year) in (1i8..=28, 1i8..=12, 0i16..=99),
            (whole, fraction) in (0u32..1_000_000, 1u32..1_000),
            is_call: bool,
        ) {
            let date = jiff::civil::date(2000 + year, month, day);
            let expiry = date.strftime("%-d%b%y").to_string().to_uppercase();
            let right = if is_call { "C" } else { "P" };
            let name = format!("{currency}_USDC-{expiry}-{whole}d{fraction:03}-{right}");
            let time = format!("{date}T08:00:00Z");
            let expected = InstrumentName {
                class: Class::Option,
                currency,
                expiry_time: Timestamp::parse_rfc3339(&time),
                strike: format!("{whole}.{fraction:03}").parse().ok(),
                right: Some(if is_call { Right::Call } else { Right::Put }),
            };
            prop_assert_eq!(InstrumentName::parse(&name), Some(expected), "{}", name);
        }
    }
}
