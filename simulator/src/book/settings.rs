//! The settings of a venue's books: levels, faults, and the file of the truth.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cli::units;

/// Levels of a side by default: those of Coinbase's `level2_50`.
pub const LEVELS: u16 = 50;
/// Levels of a side at most, as in Binance's largest snapshot.
pub const MAX_LEVELS: u16 = 5_000;
/// Answers to requests for snapshots that can be named: more is a typing error.
pub const MAX_SNAPSHOT_ANSWERS: usize = 64;

schemas::named! {
    /// The answer to a request for the snapshot of a book over HTTP.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SnapshotAnswer {
        /// The snapshot.
        Good = "good",
        /// A snapshot from before the market began: no feed joins it.
        Stale = "stale",
        /// 429 Too Many Requests, in the venue's words.
        Limited = "429",
        /// 418 I'm a teapot: the address is banned.
        Banned = "418",
        /// 500 Internal Server Error.
        Broken = "500",
        /// 503 Service Unavailable.
        Unavailable = "503",
        /// 200 OK with a page instead of JSON.
        Html = "html",
        /// The first half of the snapshot, and then the connection closes.
        Half = "half",
    }
}

/// The order books of a simulated venue. They are flags of `producer simulate`.
///
/// A fault hits the book of one product. The number of an update counts the updates of its product.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct BookSettings {
    /// Order book levels of each side.
    #[arg(long, env = "SIMULATOR_LEVELS", default_value_t = LEVELS,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LEVELS)))]
    pub levels: u16,
    /// Interval of order book updates; without it the venue's own. Kraken updates with each trade without it.
    #[arg(long, env = "SIMULATOR_BOOK_INTERVAL", value_parser = units::duration)]
    pub book_interval: Option<Duration>,
    /// Product whose order book has the faults of books; the first product without it.
    #[arg(long, env = "SIMULATOR_FAULTY_BOOK", value_name = "PRODUCT")]
    pub faulty_book: Option<String>,
    /// Never send the order book updates whose number is a multiple of this.
    #[arg(long, env = "SIMULATOR_SKIP_BOOK_EVERY", value_name = "UPDATES", value_parser = clap::value_parser!(u64).range(1..))]
    pub skip_book_every: Option<u64>,
    /// Cross the order book in the updates whose number is a multiple of this; the next update repairs it.
    #[arg(long, env = "SIMULATOR_CROSS_BOOK_EVERY", value_name = "UPDATES", value_parser = clap::value_parser!(u64).range(1..))]
    pub cross_book_every: Option<u64>,
    /// Delay of the order book snapshots.
    #[arg(long, env = "SIMULATOR_SLOW_SNAPSHOT", default_value = "0ms", value_parser = units::duration)]
    pub slow_snapshot: Duration,
    /// Answers to the first requests for a snapshot, comma separated: good, stale, 429, 418, 500, 503, html, half.
    #[arg(long, env = "SIMULATOR_SNAPSHOT_ANSWERS", value_name = "ANSWERS", value_delimiter = ',', value_parser = answer)]
    pub snapshot_answers: Vec<SnapshotAnswer>,
    /// Channels of order books that need authentication, comma separated. Coinbase only.
    #[arg(long, env = "SIMULATOR_REFUSE_CHANNELS", value_name = "CHANNELS", value_delimiter = ',')]
    pub refuse_channels: Vec<String>,
    /// File for the best bids and asks as the venue showed them, and the faults of books, as JSON lines.
    #[arg(long, env = "SIMULATOR_TRUTH", value_name = "FILE")]
    pub truth: Option<PathBuf>,
}

impl Default for BookSettings {
    fn default() -> Self {
        Self {
            levels: LEVELS,
            book_interval: None,
            faulty_book: None,
            skip_book_every: None,
            cross_book_every: None,
            slow_snapshot: Duration::ZERO,
            snapshot_answers: Vec::new(),
            refuse_channels: Vec::new(),
            truth: None,
        }
    }
}

/// The answer of that name.
fn answer(name: &str) -> Result<SnapshotAnswer, String> {
    SnapshotAnswer::parse(name).ok_or_else(|| {
        let known: Vec<&str> = SnapshotAnswer::ALL.iter().map(|one| one.as_str()).collect();
        format!("it is none of {}", known.join(", "))
    })
}
