//! `producer plan`: prints the connections of a plan.

use std::io::{self, Write};

use anyhow::Context;

use crate::plan::selection::FollowConfig;

/// Prints the plan.
pub fn plan(config: &FollowConfig) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let (plan, _) = runtime.block_on(config.plan())?;
    write!(io::stdout(), "{plan}").context("cannot write to standard output")
}
