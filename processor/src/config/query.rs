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
