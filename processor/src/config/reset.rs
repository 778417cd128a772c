//! The flags of `processor reset`.

use clap::Args;

use super::{Kafka, topic_prefix};
use crate::topology::Named;

/// `processor reset`.
#[derive(Args, Clone, Debug)]
pub struct ResetCommand {
    /// The sub-topology.
    #[arg(value_enum)]
    pub sub_topology: Named,
    /// Do it; without it the steps are only printed.
    #[arg(long, env = "RESET_YES")]
    pub yes: bool,
    /// The consumer group, as for `processor run`.
    #[arg(long, env = "APPLICATION_ID", default_value = "processor")]
    pub application_id: String,
    /// Put before the names of `events`, `quotes` and `books` instead of the prefix of every topic, as for `processor run`.
    #[arg(long, env = "INPUT_PREFIX", value_parser = topic_prefix)]
    pub input_prefix: Option<String>,
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: Kafka,
}
