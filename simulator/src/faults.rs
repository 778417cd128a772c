//! Faults on demand, at the same place of the market every time.
//!
//! The id of a trade decides the trade's faults, so every connection has the same. The number of
//! matches that a connection has sent decides the connection's faults.

use std::time::Duration;

use clap::Args;
use cli::units;

/// How often each fault happens; `None` is never. They are flags of `producer simulate`.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Cut each connection after this many matches.
    #[arg(long, env = "SIMULATOR_DISCONNECT_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub disconnect_every: Option<u64>,
    /// Fall silent for --silence after this many matches.
    #[arg(long, env = "SIMULATOR_SILENCE_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub silence_every: Option<u64>,
    /// Duration of a silence.
    #[arg(long, env = "SIMULATOR_SILENCE", default_value = "15s", value_parser = units::duration)]
    pub silence: Duration,
    /// Send a truncated frame before every match whose trade id is a multiple of this.
    #[arg(long, env = "SIMULATOR_MALFORMED_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub malformed_every: Option<u64>,
    /// Send every match whose trade id is a multiple of this twice.
    #[arg(long, env = "SIMULATOR_REPEAT_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat_every: Option<u64>,
    /// Never send a match whose trade id is a multiple of this.
    #[arg(long, env = "SIMULATOR_SKIP_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub skip_every: Option<u64>,
    /// Omit every match whose trade id is a multiple of this from answers to requests.
    #[arg(long, env = "SIMULATOR_FORGET_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub forget_every: Option<u64>,
    /// Send every match whose trade id is a multiple of this after the next one of its product.
    #[arg(long, env = "SIMULATOR_REORDER_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub reorder_every: Option<u64>,
    /// Send wrong book checksums from every trade whose id is a multiple of this, for --checksum-for. Kraken only.
    #[arg(long, env = "SIMULATOR_CHECKSUM_EVERY", value_name = "IDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checksum_every: Option<u64>,
    /// Number of trades for which checksums stay wrong.
    #[arg(long, env = "SIMULATOR_CHECKSUM_FOR", value_name = "IDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub checksum_for: u64,
    /// Delay of each match.
    #[arg(long, env = "SIMULATOR_SLOW", default_value = "0ms", value_parser = units::duration)]
    pub slow: Duration,
    /// Close each connection for maintenance after this many matches.
    #[arg(long, env = "SIMULATOR_MAINTENANCE_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub maintenance_every: Option<u64>,
    /// Leave each connection half open after this many matches: silent for ever, and not closed.
    #[arg(long, env = "SIMULATOR_HALF_OPEN_EVERY", value_name = "MATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub half_open_every: Option<u64>,
    /// Number of first subscriptions to refuse.
    #[arg(long, env = "SIMULATOR_REFUSE_FIRST", value_name = "REQUESTS", default_value_t = 0)]
    pub refuse_first: u32,
    /// Number of first handshakes to answer with 429.
    #[arg(long, env = "SIMULATOR_LIMIT_FIRST", value_name = "HANDSHAKES", default_value_t = 0)]
    pub limit_first: u32,
    /// Rate limit every n-th HTTP request, with the venue's own answer.
    #[arg(long, env = "SIMULATOR_LIMIT_REQUESTS_EVERY", value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_requests_every: Option<u64>,
    /// Retry-After of an answer with 429.
    #[arg(long, env = "SIMULATOR_RETRY_AFTER", default_value = "1s", value_parser = units::duration)]
    pub retry_after: Duration,
    /// Time by which the venue's clock is ahead of this machine's.
    #[arg(long, env = "SIMULATOR_CLOCK_AHEAD", default_value = "0ms", value_parser = units::duration)]
    pub clock_ahead: Duration,
}

/// The fault of one trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradeFaults {
    /// A truncated copy comes first.
    pub malformed: bool,
    /// How often it is sent.
    pub copies: u8,
}

impl Faults {
    /// The fault of the trade of that id.
    pub fn of_trade(&self, trade_id: u64) -> TradeFaults {
        let copies = match (hits(self.skip_every, trade_id), hits(self.repeat_every, trade_id)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        TradeFaults { malformed: hits(self.malformed_every, trade_id), copies }
    }

    /// The book as of the trade of that id has a wrong checksum.
    pub fn breaks_checksum(&self, trade_id: u64) -> bool {
        let since = |every| trade_id.checked_rem(every);
        self.checksum_every.and_then(since).is_some_and(|since| since < self.checksum_for)
    }
}

/// A fault that happens this often happens at this count.
pub(crate) fn hits(every: Option<u64>, count: u64) -> bool {
    every.is_some_and(|every| count.is_multiple_of(every))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_at_multiples_and_a_skipped_trade_is_not_repeated() {
        let faults = Faults {
            malformed_every: Some(3),
            repeat_every: Some(2),
            skip_every: Some(4),
            ..Faults::default()
        };
        let copies: Vec<_> = (1..=8).map(|id| faults.of_trade(id).copies).collect();
        assert_eq!(copies, [1, 2, 1, 0, 1, 2, 1, 0]);
        assert!(faults.of_trade(6).malformed && !faults.of_trade(7).malformed);
        assert!(!hits(faults.disconnect_every, 8) && !hits(faults.silence_every, 8));
    }

    #[test]
    fn checksums_are_wrong_for_as_many_trades_as_asked_for() {
        let broken = |every, of| {
            let faults = Faults { checksum_every: every, checksum_for: of, ..Faults::default() };
            (4..=12).filter(|id| faults.breaks_checksum(*id)).collect::<Vec<_>>()
        };
        assert_eq!(broken(Some(5), 2), [5, 6, 10, 11]);
        assert_eq!(broken(Some(1), 1), (4..=12).collect::<Vec<_>>());
        assert!(broken(None, 9).is_empty() && broken(Some(5), 0).is_empty());
    }
}
