//! `producer plan`: prints the connections of a plan.

use std::io::{self, Write};

use anyhow::Context;

use crate::plan::pools::ChainConfig;
use crate::plan::selection::FollowConfig;

/// Prints the plan.
pub fn plan(config: &FollowConfig) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let (plan, _) = runtime.block_on(config.plan())?;
    write!(io::stdout(), "{plan}").context("cannot write to standard output")
}

/// Prints the connection to a node: the facts of a listing, and the addresses that the node is asked for.
pub fn plan_chain(config: &ChainConfig) -> anyhow::Result<()> {
    let follower = config.follower()?;
    let (chain, url, from) = (config.chain()?, config.url()?, config.from_block);
    let count = follower.pools.len() + follower.addresses.len();
    let mut out = io::stdout().lock();
    let failed = "cannot write to standard output";
    writeln!(
        out,
        "ethereum: chain {chain} at {url}, 1 connection, {count} pools, from block {from}"
    )
    .context(failed)?;
    for (key, pool) in &follower.pools {
        let symbol = |symbol: &Option<String>| symbol.clone().unwrap_or_else(|| "?".into());
        let (first, second) = (symbol(&pool.symbol0), symbol(&pool.symbol1));
        writeln!(out, "  {} {} {first}/{second}", key.pool, pool.protocol.as_str())
            .context(failed)?;
    }
    for address in &follower.addresses {
        writeln!(out, "  {address} facts are read from the node").context(failed)?;
    }
    Ok(())
}
