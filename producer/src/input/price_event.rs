//! `PriceEvent` JSON Lines: prices from any program.
//!
//! ```text
//! {"baseCurrency":"BTC","quoteCurrency":"USD","exchange":"coinbase","price":61837.63,
//!  "baseVolumeLast24h":"9438.12","quoteVolumeLast24h":null,"timestampInMs":1723161255342}
//! ```
//!
//! Numbers may be JSON numbers or strings. Both are read as exact text: `0.1` is a tenth. The two
//! volumes are optional. A line without another field becomes a dead letter, and the next line is
//! read.

use std::borrow::Cow;
use std::io::BufRead;

use cli::lines::Lines;
use schemas::{MarketEvent, PairKey, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use venues::pipeline::{DeadLetter, Output};
use venues::{Malformed, decimal, integer, optional, scalar};

/// The name of this source in metrics and dead letters.
pub const SOURCE: &str = "price_events";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceEvent<'a> {
    #[serde(borrow)]
    base_currency: Option<Cow<'a, str>>,
    quote_currency: Option<Cow<'a, str>>,
    exchange: Option<Cow<'a, str>>,
    price: Option<&'a RawValue>,
    #[serde(rename = "baseVolumeLast24h")]
    base_volume: Option<&'a RawValue>,
    #[serde(rename = "quoteVolumeLast24h")]
    quote_volume: Option<&'a RawValue>,
    timestamp_in_ms: Option<&'a RawValue>,
}

/// The pair and the event of one line. The exchange becomes lower case.
///
/// ```
/// use schemas::Timestamp;
/// let line = r#"{"baseCurrency":"BTC","quoteCurrency":"USD","exchange":"Kraken",
///                "price":0.1,"timestampInMs":"1723161255342"}"#;
/// let (pair, event) = producer::input::price_event::parse(line, Timestamp(1_723_161_255_400))?;
/// assert_eq!(pair.to_string(), "BTC-USD@kraken");
/// assert_eq!(event.price.to_string(), "0.1");
/// # Ok::<(), venues::Malformed>(())
/// ```
pub fn parse(line: &str, received_at: Timestamp) -> Result<(PairKey, MarketEvent), Malformed> {
    let sent: PriceEvent<'_> =
        serde_json::from_str(line).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let pair = PairKey::new(
        sent.base_currency.ok_or(Malformed::MissingField("baseCurrency"))?,
        sent.quote_currency.ok_or(Malformed::MissingField("quoteCurrency"))?,
        sent.exchange.ok_or(Malformed::MissingField("exchange"))?.to_lowercase(),
    )
    .checked()?;
    let base_volume = optional("baseVolumeLast24h", scalar(sent.base_volume))?;
    let quote_volume = optional("quoteVolumeLast24h", scalar(sent.quote_volume))?;
    let time = Timestamp(integer("timestampInMs", scalar(sent.timestamp_in_ms))?);
    let sample = MarketEvent::sample(decimal("price", scalar(sent.price))?, time)
        .with_volumes(base_volume, quote_volume);
    Ok((pair, MarketEvent { received_at, ..sample }))
}

/// Reads lines to the end; `now` is asked once for each. Empty lines are skipped.
pub fn read<E>(
    input: impl BufRead,
    mut now: impl FnMut() -> Timestamp,
    mut publish: impl FnMut(Output) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<std::io::Error>,
{
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next_line()? {
        let line = line.as_ref().trim();
        if line.is_empty() {
            continue;
        }
        publish(match parse(line, now()) {
            Ok((pair, event)) => Output::Event { pair, event },
            Err(malformed) => Output::DeadLetter(DeadLetter::new(SOURCE, &malformed, line)),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::VolumeSource;

    use super::*;

    fn line(price: &str, time: &str) -> String {
        format!(
            r#"{{"baseCurrency":"BTC","quoteCurrency":"USD","exchange":"any","price":{price},"baseVolumeLast24h":1e-18,"quoteVolumeLast24h":"12345678901234567890.5","timestampInMs":{time}}}"#
        )
    }

    #[test]
    fn prices_keep_every_digit_as_number_or_string() -> Result<(), Malformed> {
        for text in ["0.1", "61837.630000000000000001", "12345678901234567890.123456789012345678"] {
            for sent in [text.to_owned(), format!("\"{text}\"")] {
                let (_, event) = parse(&line(&sent, "1723161255342"), Timestamp(9))?;
                assert_eq!(event.price.to_string(), text);
                assert_eq!(event.base_volume_24h.unwrap().units(), 1);
                assert_eq!(event.quote_volume_24h.unwrap().to_string(), "12345678901234567890.5");
                assert_eq!(event.volume_source, VolumeSource::Exchange);
                assert_eq!(event.event_time, Timestamp(1_723_161_255_342));
                assert_eq!(event.received_at, Timestamp(9));
            }
        }
        Ok(())
    }

    #[test]
    fn a_malformed_line_is_a_dead_letter_and_the_next_is_read() -> anyhow::Result<()> {
        let good = line("1", "2");
        let bad = [
            ("{", "not_json"),
            ("{}", "missing_field"),
            (&line("\"x\"", "2"), "bad_field"),
            (&line("1", "2.5"), "bad_field"),
            (&good.replace("BTC", ""), "bad_name"),
            (&good.replace("BTC", "BTC\\u0000"), "bad_name"),
            (&good.replace("USD", "USD "), "bad_name"),
            (&good.replace("any", "an\u{200b}y"), "bad_name"),
        ];
        for (text, reason) in bad {
            let input = format!("{text}\n\n{good}");
            let mut outputs = Vec::new();
            read(
                input.as_bytes(),
                || Timestamp(1),
                |output| {
                    outputs.push(output);
                    anyhow::Ok(())
                },
            )?;
            let [Output::DeadLetter(letter), Output::Event { .. }] = &outputs[..] else {
                anyhow::bail!("{outputs:?}");
            };
            assert_eq!((letter.reason, letter.raw.as_str()), (reason, text));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = parse(&text, Timestamp(0));
        }
    }
}
