//! The words that golden scripts share: pairs, times, and the commands of the engine.

use std::error::Error;
use std::fmt::Write as _;

use schemas::{PairChange, PairKey, Timestamp};
use streams::Driver;

/// The output of a command.
pub(crate) type Outcome<T = String> = Result<T, Box<dyn Error>>;

/// 2024-01-01T00:00:00Z, from which times count.
pub(crate) const EPOCH: i64 = 1_704_067_200_000;

/// `BASE-QUOTE@EXCHANGE`; of coinbase without an exchange.
pub(crate) fn pair(text: &str) -> Outcome<PairKey> {
    let (pair, exchange) = text.split_once('@').unwrap_or((text, "coinbase"));
    let (base, quote) = pair.split_once('-').ok_or("BASE-QUOTE")?;
    Ok(PairKey::new(base, quote, exchange))
}

/// `[DAYd]HhMmS[.MS]`, or `msMILLISECONDS` since 1970.
pub(crate) fn time(text: &str) -> Outcome<i64> {
    if let Some(raw) = text.strip_prefix("ms") {
        return Ok(raw.parse()?);
    }
    let (days, rest) = text.split_once('d').unwrap_or(("0", text));
    let parts: Vec<&str> = rest.split(['h', 'm', '.']).collect();
    let number =
        |index: usize| -> Outcome<i64> { Ok(parts.get(index).map_or(Ok(0), |part| part.parse())?) };
    let seconds = (days.parse::<i64>()? * 24 + number(0)?) * 3600 + number(1)? * 60 + number(2)?;
    Ok(EPOCH + seconds * 1000 + number(3)?)
}

/// The time since the first day, as scripts print it.
pub(crate) fn clock(time: Timestamp) -> String {
    let ms = time.0 - EPOCH;
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (h, m, s, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    let day = if days == 0 { String::new() } else { format!("{days}d") };
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    format!("{day}{h:02}:{m:02}:{s:02}{fraction}")
}

/// `ended` or `reset`.
pub(crate) fn change(text: &str) -> Outcome<PairChange> {
    match text {
        "ended" => Ok(PairChange::Ended),
        "reset" => Ok(PairChange::Reset),
        other => Err(format!("change={other}").into()),
    }
}

/// A command that is the same in every script: the totals of the counters, or a change of the stores on
/// disk.
pub(crate) fn engine(driver: &mut Driver, command: &str) -> Outcome {
    match command {
        "counted" => Ok(driver.counted().iter().fold(String::new(), |mut out, (what, count)| {
            let _ = writeln!(out, "{what} {count}");
            out
        })),
        "flush" => {
            driver.flush_stores()?;
            Ok(String::new())
        }
        "lose-disk" => Ok(format!("restored {} records\n", driver.lose_disk()?)),
        other => Err(format!("unknown command {other}").into()),
    }
}
