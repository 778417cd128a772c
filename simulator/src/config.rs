//! The settings of a simulated venue.

use std::time::Duration;

use crate::book::settings::BookSettings;
use crate::faults::Faults;
use crate::surface::settings::SurfaceSettings;
use crate::venue::Venue;

/// The venue, its market and its faults.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// The venue.
    pub venue: Venue,
    /// The seed of the market: equal seeds make equal trades.
    pub seed: u64,
    /// The products; everything that the venue lists when empty.
    pub products: Vec<String>,
    /// Trades a second over all products.
    pub rate: u32,
    /// The interval of tickers, at venues that send them at an interval; without it each trade
    /// sends one.
    pub tickers_every: Option<Duration>,
    /// The faults.
    pub faults: Faults,
    /// The order books and their faults.
    pub books: BookSettings,
    /// The options.
    pub surface: SurfaceSettings,
}

impl SimulatorConfig {
    /// A venue without faults.
    pub fn of(venue: Venue) -> Self {
        Self {
            venue,
            seed: 1,
            products: Vec::new(),
            rate: 50,
            tickers_every: None,
            faults: Faults::default(),
            books: BookSettings::default(),
            surface: SurfaceSettings::default(),
        }
    }
}
