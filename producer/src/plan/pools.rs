//! The flags that select the pools of a chain, shared by `run` and `plan`.
//!
//! A pool is named by its address, whose facts the node is asked for, or by a line of a listing file,
//! which has the facts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::Args;
use cli::lines::{self, Lines};
use schemas::{Pool, PoolKey};
use venues::ethereum::{FollowerConfig, listing};

use super::feed_url::FeedUrl;

/// Pools of one connection at most: nodes refuse subscriptions to the logs of more addresses.
pub const MAX_POOLS: usize = 1_000;
/// Characters of an address: `0x` and 40 hexadecimal digits.
const ADDRESS_CHARS: usize = 42;

/// The chain and its pools.
#[derive(Clone, Debug, Args)]
pub struct ChainConfig {
    /// Address of the node, ws:// or wss://.
    #[arg(long, env = "PRODUCER_URL", hide_env_values = true)]
    pub url: Option<FeedUrl>,
    /// Chain id, such as 1 for Ethereum or 137 for Polygon; a node of another chain is refused. Ethereum only.
    #[arg(long, env = "PRODUCER_CHAIN_ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub chain_id: Option<i64>,
    /// Pools, comma separated: addresses, or listing files of JSON Lines. Ethereum only.
    #[arg(long, env = "PRODUCER_POOLS", value_name = "FILE|ADDRESS", value_delimiter = ',')]
    pub pools: Vec<PoolSource>,
    /// Tokens that are worth one US dollar, comma separated, beside USDC, USDT and DAI. Ethereum only.
    #[arg(long, env = "PRODUCER_STABLECOINS", value_name = "ADDRESS", value_delimiter = ',')]
    pub stablecoins: Vec<Address>,
    /// First block whose logs are published; latest begins 63 blocks before the newest, which a
    /// reorganisation may still replace. Ethereum only.
    #[arg(long, env = "PRODUCER_FROM_BLOCK", value_name = "NUMBER|latest", default_value_t)]
    pub from_block: FromBlock,
}

/// An address, in lower case.
///
/// ```
/// use producer::plan::pools::Address;
/// let address: Address = "0x8AD599C3a0ff1de082011efddc58f1908eb6e6d8".parse()?;
/// assert_eq!(address.to_string(), "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8");
/// assert!("0x8ad5".parse::<Address>().is_err());
/// # Ok::<(), producer::plan::pools::NoAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address: write 0x and 40 hexadecimal digits")]
pub struct NoAddress(String);

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let address = text.trim().to_ascii_lowercase();
        let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_address =
            address.len() == ADDRESS_CHARS && address.strip_prefix("0x").is_some_and(is_hex);
        if is_address { Ok(Self(address)) } else { Err(NoAddress(text.into())) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The source of pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolSource {
    /// One pool, whose facts the node is asked for.
    Address(Address),
    /// The pools of a listing file that are of the chain.
    File(PathBuf),
}

impl FromStr for PoolSource {
    type Err = Infallible;

    /// Any text that is no address names a file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let file = || Self::File(text.trim().into());
        Ok(text.parse().map_or_else(|_| file(), Self::Address))
    }
}

/// The first block that is wanted; `None` is the lowest that a reorganisation may still replace.
///
/// ```
/// use producer::plan::pools::FromBlock;
/// assert_eq!("latest".parse(), Ok(FromBlock(None)));
/// assert_eq!("19000000".parse(), Ok(FromBlock(Some(19_000_000))));
/// assert!("-1".parse::<FromBlock>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromBlock(pub Option<i64>);

/// A text that is no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no block: write its decimal number, or latest")]
pub struct NoBlock(String);

impl FromStr for FromBlock {
    type Err = NoBlock;

    fn from_str(text: &str) -> Result<Self, NoBlock> {
        if text == "latest" {
            return Ok(Self(None));
        }
        let number = text.parse().ok().filter(|number: &i64| *number >= 0);
        number.map(|number| Self(Some(number))).ok_or_else(|| NoBlock(text.into()))
    }
}

impl fmt::Display for FromBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("latest"),
        }
    }
}

impl ChainConfig {
    /// Checks the rules between values.
    pub fn validate(&self) -> anyhow::Result<()> {
        let url = self.url()?;
        ensure!(url.is_socket(), "--url {url} must begin with ws:// or wss://");
        self.chain()?;
        ensure!(
            !self.pools.is_empty(),
            "--venue ethereum needs --pools: addresses of pools, or a listing file"
        );
        Ok(())
    }

    /// The address of the node.
    pub fn url(&self) -> anyhow::Result<&FeedUrl> {
        self.url.as_ref().context(
            "--venue ethereum needs --url: the WebSocket address of a node, such as ws://127.0.0.1:8546",
        )
    }

    /// The chain.
    pub fn chain(&self) -> anyhow::Result<i64> {
        self.chain_id
            .context("--venue ethereum needs --chain-id: the id of the node's chain, such as 1")
    }

    /// The pools to follow: the files are read, the node is not asked.
    pub fn follower(&self) -> anyhow::Result<FollowerConfig> {
        let chain = self.chain()?;
        let (mut pools, mut addresses, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for source in &self.pools {
            match source {
                PoolSource::Address(Address(address)) => {
                    if seen.insert(address.clone()) {
                        addresses.push(address.clone());
                    }
                }
                PoolSource::File(file) => {
                    let mut listed = read(file)?;
                    listed.retain(|(key, _)| key.chain == chain);
                    let shown = file.display();
                    ensure!(
                        !listed.is_empty(),
                        "--pools {shown} has no pool of chain {chain}: name another file or --chain-id"
                    );
                    listed.retain(|(key, _)| seen.insert(key.pool.clone()));
                    pools.append(&mut listed);
                }
            }
        }
        ensure!(
            seen.len() <= MAX_POOLS,
            "--pools names {} pools, at most {MAX_POOLS} fit on a connection: divide them among producers",
            seen.len()
        );
        let stablecoins: Vec<_> = self.stablecoins.iter().map(ToString::to_string).collect();
        for (_, pool) in &mut pools {
            value_in_dollars(pool, &stablecoins);
        }
        let from_block = self.from_block.0;
        Ok(FollowerConfig { chain: Some(chain), pools, addresses, stablecoins, from_block })
    }
}

/// A pool of a listed stablecoin tells the value of its swaps.
fn value_in_dollars(pool: &mut Pool, stablecoins: &[String]) {
    let is_stable = |token: &String| stablecoins.contains(token);
    if pool.usd_token.is_none() {
        pool.usd_token = [(0, &pool.token0), (1, &pool.token1)]
            .into_iter()
            .find_map(|(index, token)| is_stable(token).then_some(index));
    }
}

/// The pools of a listing file, of all chains.
pub fn read(file: &Path) -> anyhow::Result<Vec<(PoolKey, Pool)>> {
    let shown = file.display();
    let input = lines::open(file).with_context(|| {
        format!("cannot open the listing of pools {shown}: name a file or 0x… addresses")
    })?;
    let (mut lines, mut pools, mut number) = (Lines::new(input), Vec::new(), 0u64);
    while let Some(line) = lines.next_line().with_context(|| format!("cannot read {shown}"))? {
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        match listing::parse(&line) {
            Ok(pool) => pools.push(pool),
            Err(error) => bail!("{shown}, line {number} is no pool: {error}; correct the line"),
        }
    }
    ensure!(!pools.is_empty(), "{shown} has no pool: write a JSON object on each line");
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_data;

    const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
    const OSQTH: &str = "0xf1b99e3e573a1a9c5e6b2ce818b617f0e664e86b";

    fn config(chain: i64, pools: &str, stablecoins: &str) -> anyhow::Result<ChainConfig> {
        let Ok(url) = "ws://127.0.0.1:1".parse();
        let pools = pools.split(',').map(str::parse).collect::<Result<_, _>>();
        let stablecoins = stablecoins.split(',').filter(|one| !one.is_empty());
        Ok(ChainConfig {
            url: Some(url),
            chain_id: Some(chain),
            pools: pools.unwrap_or_default(),
            stablecoins: stablecoins.map(str::parse).collect::<Result<_, _>>()?,
            from_block: FromBlock(Some(7)),
        })
    }

    #[test]
    fn a_listing_gives_the_facts_of_its_chain_and_an_address_is_asked_for() -> anyhow::Result<()> {
        let file = test_data::file("swaps/pools.jsonl")?;
        let config = config(1, &format!("{},{USDC},{USDC}", file.display()), OSQTH)?;
        config.validate()?;
        let follower = config.follower()?;
        assert_eq!((follower.chain, follower.from_block), (Some(1), Some(7)));
        assert_eq!(follower.addresses, [USDC]);
        assert_eq!(follower.stablecoins, [OSQTH]);
        let usd: Vec<_> =
            follower.pools.iter().map(|(key, pool)| (key.chain, pool.usd_token)).collect();
        assert_eq!(usd, [(1, Some(0)), (1, Some(1))], "USDC is built in, oSQTH is given");
        Ok(())
    }

    #[test]
    fn a_listing_that_cannot_be_used_is_refused_with_its_line() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("pools.jsonl");
        let shown = path.display().to_string();
        let refused = |text: &str, chain| -> anyhow::Result<String> {
            fs::write(&path, text)?;
            let refused = config(chain, &shown, "")?.follower().map(|_| ());
            Ok(refused.err().map(|error| format!("{error:#}")).unwrap_or_default())
        };
        let listed = fs::read_to_string(test_data::file("swaps/pools.jsonl")?)?;
        let words = refused(&format!("{listed}\n{{\"chain\":1}}\n"), 1)?;
        assert!(words.contains("line 5 is no pool: field token0 is missing"), "{words}");
        let words = refused(&listed, 10)?;
        assert!(
            words.contains("has no pool of chain 10: name another file or --chain-id"),
            "{words}"
        );
        assert!(refused("\n", 1)?.contains("has no pool: write a JSON object on each line"));
        let many = (0..=MAX_POOLS).map(|number| format!("0x{number:040x}"));
        let many = config(1, &many.collect::<Vec<_>>().join(","), "")?.follower().map(|_| ());
        let words = many.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(words.contains("1001 pools, at most 1000"), "{words}");
        Ok(())
    }

    #[test]
    fn any_text_that_is_no_address_names_a_file() {
        let Ok(source) = "0X8AD599C3A0FF1DE082011EFDDC58F1908EB6E6D8".parse();
        assert!(matches!(source, PoolSource::Address(_)), "{source:?}");
        for text in ["pools.jsonl", "0x8ad5", "0x8ad599c3a0ff1de082011efddc58f1908eb6e6dz"] {
            assert_eq!(text.parse(), Ok(PoolSource::File(text.into())));
        }
    }
}
