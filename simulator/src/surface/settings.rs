//! The settings of Deribit's options: how many there are, and how they come and go.

use std::time::Duration;

use clap::Args;
use cli::units;

/// Options by default.
pub const OPTIONS: u32 = 1_488;
/// Options at most: ten times what the venue lists.
pub const MAX_OPTIONS: i64 = 20_000;

/// The instruments of a simulated Deribit. They are flags of `producer simulate`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SurfaceSettings {
    /// Options of all currencies together, over twelve expiries; without --products. Deribit only.
    #[arg(long, env = "SIMULATOR_OPTIONS", value_name = "COUNT", default_value_t = OPTIONS,
          value_parser = clap::value_parser!(u32).range(0..=MAX_OPTIONS))]
    pub options: u32,
    /// Currencies that are listed, comma separated; without --products. Deribit only.
    #[arg(long, env = "SIMULATOR_CURRENCIES", value_delimiter = ',', default_value = "BTC,ETH")]
    pub currencies: Vec<String>,
    /// Interval at which the nearest expiry of each currency ends, before its time. Deribit only.
    #[arg(long, env = "SIMULATOR_EXPIRE_EVERY", value_parser = units::duration)]
    pub expire_every: Option<Duration>,
    /// Interval at which options of one more expiry are listed, eight times. Deribit only.
    #[arg(long, env = "SIMULATOR_LIST_EVERY", value_parser = units::duration)]
    pub list_every: Option<Duration>,
}

impl Default for SurfaceSettings {
    fn default() -> Self {
        let currencies = ["BTC", "ETH"].map(str::to_owned).into();
        Self { options: OPTIONS, currencies, expire_every: None, list_every: None }
    }
}
