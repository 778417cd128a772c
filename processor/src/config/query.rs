//! The flags of `processor query`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use schemas::PairKey;

/// The server to query.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// The URL of a member or a view.
    #[arg(
        long,
        env = "QUERY_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    pub url: String,
    /// A file with the token of the server.
    #[arg(long, env = "AUTH_TOKEN_FILE")]
    pub auth_token_file: Option<PathBuf>,
    /// Trust this certificate, PEM, besides the public authorities.
    #[arg(long, env = "TLS_CA")]
    pub tls_ca: Option<PathBuf>,
}

/// The server to query, and the output format.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// The server to query.
    #[command(flatten)]
    pub server: Server,
    /// The output format.
    #[arg(long, env = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// See [`Source::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, for people.
    Table,
    /// As the server sends it.
    Csv,
    /// As the server sends it.
    Json,
}

/// `processor query`.
#[derive(Debug, Subcommand)]
pub enum Query {
    /// The newest price of pairs.
    Latest {
        /// BASE-QUOTE@EXCHANGE.
        #[arg(required = true, value_parser = pair)]
        pairs: Vec<PairKey>,
        /// The server and the format.
        #[command(flatten)]
        source: Source,
    },
    /// The candles of a pair.
    Candles(Box<CandlesQuery>),
    /// The top of the book of pairs: best bid and ask, spread, mid, and the state of the book.
    Quotes {
        /// BASE-QUOTE@EXCHANGE.
        #[arg(required = true, value_parser = pair)]
        pairs: Vec<PairKey>,
        /// The server and the format.
        #[command(flatten)]
        source: Source,
    },
    /// The book of a pair: best bid and ask, spread, largest spread, mean of the last ten mids, levels.
    Book(Box<BookQuery>),
    /// The spreads of a pair over windows of time.
    Spreads(Box<SpreadsQuery>),
    /// The options of an expiry: calls to the left, strikes, puts to the right.
    Chain(Box<ChainQuery>),
    /// The newest ticker of an option, with its facts.
    #[command(name = "option")]
    Instrument(Box<OptionQuery>),
    /// The implied volatilities of a currency by expiry and strike.
    Surface(Box<SurfaceQuery>),
    /// Tokens by volume in a window.
    Tokens(Box<TokensQuery>),
    /// The buckets of a token, or its last 24 hours.
    Token(Box<TokenQuery>),
    /// The minutes of a pool.
    Pool(Box<PoolQuery>),
    /// Every swap of a transaction with its status.
    Swap(Box<SwapQuery>),
    /// One price of each pair of a base over its exchanges, with the exchanges, their ages and their spread.
    Index(Box<IndexQuery>),
    /// The exchanges and the health of their feeds.
    Exchanges {
        /// The server and the format.
        #[command(flatten)]
        source: Source,
    },
}

/// `processor query candles`.
#[derive(Args, Clone, Debug)]
pub struct CandlesQuery {
    /// BASE-QUOTE@EXCHANGE.
    #[arg(value_parser = pair)]
    pub pair: PairKey,
    /// The interval: 1m, 1h, 1d or auto.
    #[arg(long, default_value = "1m")]
    pub interval: String,
    /// The beginning of the range, RFC 3339 or milliseconds.
    #[arg(long)]
    pub from: Option<String>,
    /// The end of the range, exclusive.
    #[arg(long)]
    pub to: Option<String>,
    /// The maximum number, the oldest first.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// The fill of windows without trades: none, previous or null.
    #[arg(long, default_value = "none")]
    pub fill: String,
    /// Trades or price samples.
    #[arg(long, default_value = "TRADE")]
    pub basis: String,
    /// Without candles that are still open.
    #[arg(long)]
    pub closed: bool,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query book`.
#[derive(Args, Clone, Debug)]
pub struct BookQuery {
    /// BASE-QUOTE@EXCHANGE.
    #[arg(value_parser = pair)]
    pub pair: PairKey,
    /// Levels of each side, 1 to 25.
    #[arg(long, env = "BOOK_DEPTH", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=25))]
    pub depth: u32,
    /// Show each change: redrawn on a terminal, a line for each change elsewhere.
    #[arg(long, env = "BOOK_WATCH")]
    pub watch: bool,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query spreads`.
#[derive(Args, Clone, Debug)]
pub struct SpreadsQuery {
    /// BASE-QUOTE@EXCHANGE.
    #[arg(value_parser = pair)]
    pub pair: PairKey,
    /// The length of the windows: 1m, 1h or 1d.
    #[arg(long, env = "SPREADS_INTERVAL", default_value = "1m", value_parser = ["1m", "1h", "1d"])]
    pub interval: String,
    /// The beginning of the range, RFC 3339 or milliseconds.
    #[arg(long, env = "SPREADS_FROM")]
    pub from: Option<String>,
    /// The end of the range, exclusive.
    #[arg(long, env = "SPREADS_TO")]
    pub to: Option<String>,
    /// The maximum number, the oldest first.
    #[arg(long, env = "SPREADS_LIMIT", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Without windows that are still open.
    #[arg(long, env = "SPREADS_CLOSED")]
    pub closed: bool,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query chain`.
#[derive(Args, Clone, Debug)]
pub struct ChainQuery {
    /// The currency of the underlying, as in BTC.
    pub currency: String,
    /// The day of expiry, as 2026-12-25 or 25DEC26.
    pub expiry: String,
    /// The currency of the prices: BTC for those paid in the coin, USDC for linear ones.
    #[arg(long, env = "CHAIN_QUOTE")]
    pub quote: Option<String>,
    /// The lowest strike.
    #[arg(long, env = "CHAIN_STRIKE_FROM")]
    pub strike_from: Option<String>,
    /// The highest strike, inclusive.
    #[arg(long, env = "CHAIN_STRIKE_TO")]
    pub strike_to: Option<String>,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query option`.
#[derive(Args, Clone, Debug)]
pub struct OptionQuery {
    /// The venue's name of the option, as in BTC-25DEC26-100000-C.
    pub instrument: String,
    /// The venue, if several list the name.
    #[arg(long, env = "OPTION_EXCHANGE")]
    pub exchange: Option<String>,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query surface`.
#[derive(Args, Clone, Debug)]
pub struct SurfaceQuery {
    /// The currency of the underlying, as in BTC.
    pub currency: String,
    /// One day of expiry, as 2026-12-25 or 25DEC26; all without it.
    #[arg(long, env = "SURFACE_EXPIRY")]
    pub expiry: Option<String>,
    /// The currency of the prices: BTC for those paid in the coin, USDC for linear ones.
    #[arg(long, env = "SURFACE_QUOTE")]
    pub quote: Option<String>,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query tokens`.
#[derive(Args, Clone, Debug)]
pub struct TokensQuery {
    /// The window, which ends with the newest bucket: 5m, 1h or 24h.
    #[arg(long, env = "TOKENS_WINDOW", default_value = "24h", value_parser = ["5m", "1h", "24h"])]
    pub window: String,
    /// The chain id; all chains without it.
    #[arg(long, env = "TOKENS_CHAIN")]
    pub chain: Option<String>,
    /// The maximum number of tokens.
    #[arg(long, env = "TOKENS_LIMIT", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query token`.
#[derive(Args, Clone, Debug)]
pub struct TokenQuery {
    /// The address of the token: 0x and 40 hexadecimal digits.
    pub token: String,
    /// The buckets: 5m or 1h; 24h is one row, which ends with the newest bucket.
    #[arg(long, env = "TOKEN_WINDOW", default_value = "5m", value_parser = ["5m", "1h", "24h"])]
    pub window: String,
    /// The chain id, if several chains have the address.
    #[arg(long, env = "TOKEN_CHAIN")]
    pub chain: Option<String>,
    /// The beginning of the range, RFC 3339 or milliseconds. Not with 24h.
    #[arg(long, env = "TOKEN_FROM")]
    pub from: Option<String>,
    /// The end of the range, exclusive. Not with 24h.
    #[arg(long, env = "TOKEN_TO")]
    pub to: Option<String>,
    /// The maximum number of buckets, the oldest first.
    #[arg(long, env = "TOKEN_LIMIT", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query pool`.
#[derive(Args, Clone, Debug)]
pub struct PoolQuery {
    /// The address of the pool: 0x and 40 hexadecimal digits.
    pub pool: String,
    /// The chain id, if several chains have the address.
    #[arg(long, env = "POOL_CHAIN")]
    pub chain: Option<String>,
    /// The beginning of the range, RFC 3339 or milliseconds.
    #[arg(long, env = "POOL_FROM")]
    pub from: Option<String>,
    /// The end of the range, exclusive.
    #[arg(long, env = "POOL_TO")]
    pub to: Option<String>,
    /// The maximum number of minutes, the oldest first.
    #[arg(long, env = "POOL_LIMIT", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query swap`.
#[derive(Args, Clone, Debug)]
pub struct SwapQuery {
    /// The hash of the transaction: 0x and 64 hexadecimal digits.
    pub tx: String,
    /// The chain id; all chains without it.
    #[arg(long, env = "SWAP_CHAIN")]
    pub chain: Option<String>,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

/// `processor query index`.
#[derive(Args, Clone, Debug)]
pub struct IndexQuery {
    /// The base, as in BTC.
    pub base: String,
    /// The quote, as in USD; all quotes without it.
    pub quote: Option<String>,
    /// The server and the format.
    #[command(flatten)]
    pub source: Source,
}

pub(super) fn pair(text: &str) -> Result<PairKey> {
    let parts = text.split_once('@').and_then(|(pair, exchange)| {
        let (base, quote) = pair.rsplit_once('-')?;
        Some(PairKey::new(base, quote, exchange))
    });
    Ok(parts.context("a pair is BASE-QUOTE@EXCHANGE, as in BTC-USD@coinbase")?.checked()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_from_its_end() {
        let option = pair("BTC-27DEC24-50000-C-USD@deribit").ok();
        assert_eq!(option, Some(PairKey::new("BTC-27DEC24-50000-C", "USD", "deribit")));
        for text in ["BTC", "BTC-USD", "BTC@coinbase", "-USD@coinbase", "BTC-USD@"] {
            assert!(pair(text).is_err(), "{text}");
        }
    }
}
