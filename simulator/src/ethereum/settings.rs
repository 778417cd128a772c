//! The settings of a simulated chain and its faults.

use std::time::Duration;

use clap::Args;
use cli::units;

/// The main chain.
pub const CHAIN_ID: u64 = 1;
/// Pools by default: one of each kind.
pub const POOLS: u32 = 6;
/// Pools at most: a filter of so many addresses is as long as nodes take.
pub const MAX_POOLS: i64 = 1_000;
/// The shortest time between two blocks: below it the clock of the simulator is too coarse.
pub const MIN_BLOCK_EVERY: Duration = Duration::from_millis(20);
/// Logs in an answer, as with the large providers.
pub const MAX_LOGS: u32 = 10_000;
/// The deepest reorganisation.
pub const MAX_DEPTH: u32 = 5;

/// The chain of `producer simulate --venue ethereum`, and its faults. They are flags.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ChainSettings {
    /// Id of the chain. Ethereum only, as all flags of the chain.
    #[arg(long, env = "SIMULATOR_CHAIN_ID", default_value_t = CHAIN_ID)]
    pub chain_id: u64,
    /// Number of pools; the first six have the tokens of the main chain.
    #[arg(long, env = "SIMULATOR_POOLS", value_name = "COUNT", default_value_t = POOLS,
          value_parser = clap::value_parser!(u32).range(1..=MAX_POOLS))]
    pub pools: u32,
    /// Time between two blocks, 20ms or longer.
    #[arg(long, env = "SIMULATOR_BLOCK_EVERY", default_value = "1s", value_parser = units::duration)]
    pub block_every: Duration,
    /// Time between the timestamps of two blocks, never beyond the clock; without it the clock decides.
    #[arg(long, env = "SIMULATOR_BLOCK_TIME", value_parser = units::duration)]
    pub block_time: Option<Duration>,
    /// Age of the timestamp of the first block, for --block-time.
    #[arg(long, env = "SIMULATOR_CHAIN_AGE", default_value = "0ms", value_parser = units::duration)]
    pub chain_age: Duration,
    /// Reorganise the chain after every so many blocks, one to five blocks deep.
    #[arg(long, env = "SIMULATOR_REORG_EVERY", value_name = "BLOCKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub reorg_every: Option<u64>,
    /// Go back to the first fork some blocks after every so many reorganisations.
    #[arg(long, env = "SIMULATOR_REORG_BACK_EVERY", value_name = "REORGANISATIONS", value_parser = clap::value_parser!(u64).range(1..))]
    pub reorg_back_every: Option<u64>,
    /// Announce every so many transactions as pending before their block.
    #[arg(long, env = "SIMULATOR_PENDING_EVERY", value_name = "TRANSACTIONS", value_parser = clap::value_parser!(u64).range(1..))]
    pub pending_every: Option<u64>,
    /// Never include every so many of the pending transactions.
    #[arg(long, env = "SIMULATOR_DROP_PENDING_EVERY", value_name = "PENDING", value_parser = clap::value_parser!(u64).range(1..))]
    pub drop_pending_every: Option<u64>,
    /// Fall behind after every so many blocks: the next blocks come late and at once.
    #[arg(long, env = "SIMULATOR_BEHIND_EVERY", value_name = "BLOCKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub behind_every: Option<u64>,
    /// Blocks by which the node falls behind.
    #[arg(long, env = "SIMULATOR_BEHIND_FOR", value_name = "BLOCKS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub behind_for: u64,
    /// Announce no head for blocks whose number is a multiple of this, and of several at once only the last.
    #[arg(long, env = "SIMULATOR_SKIP_HEADS_EVERY", value_name = "BLOCKS", value_parser = clap::value_parser!(u64).range(2..))]
    pub skip_heads_every: Option<u64>,
    /// Send the logs of blocks whose number is a multiple of this before their head.
    #[arg(long, env = "SIMULATOR_LOGS_FIRST_EVERY", value_name = "BLOCKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub logs_first_every: Option<u64>,
    /// Send `blockTimestamp` with each log, as recent nodes do.
    #[arg(long, env = "SIMULATOR_BLOCK_TIMESTAMPS")]
    pub block_timestamps: bool,
    /// Forget the subscriptions of each connection, without a word, after this many of its heads.
    #[arg(long, env = "SIMULATOR_FORGET_SUBSCRIPTIONS_EVERY", value_name = "HEADS", value_parser = clap::value_parser!(u64).range(1..))]
    pub forget_subscriptions_every: Option<u64>,
    /// Logs in an answer at most; an error names the limit when there are more.
    #[arg(long, env = "SIMULATOR_MAX_LOGS", value_name = "COUNT", default_value_t = MAX_LOGS,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_logs: u32,
}

impl Default for ChainSettings {
    fn default() -> Self {
        Self {
            chain_id: CHAIN_ID,
            pools: POOLS,
            block_every: Duration::from_secs(1),
            block_time: None,
            chain_age: Duration::ZERO,
            reorg_every: None,
            reorg_back_every: None,
            pending_every: None,
            drop_pending_every: None,
            behind_every: None,
            behind_for: 5,
            skip_heads_every: None,
            logs_first_every: None,
            block_timestamps: false,
            forget_subscriptions_every: None,
            max_logs: MAX_LOGS,
        }
    }
}
