//! The flags of `processor migrate`.

use clap::Args;

use super::{Kafka, SchemaRegistry, topic_prefix};
use crate::topology::Topologies;

/// `processor migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateCommand {
    /// Partitions of every new topic.
    #[arg(long, env = "PARTITIONS", value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub partitions: i32,
    /// Copies of each new partition.
    #[arg(long, env = "REPLICATION_FACTOR", default_value_t = 1,
        value_parser = clap::value_parser!(i32).range(1..=16))]
    pub replication_factor: i32,
    /// Put before the name of every new topic.
    #[arg(long, env = "MIGRATE_TO_PREFIX", value_parser = topic_prefix)]
    pub to_prefix: String,
    /// The consumer group of the present topics, as for `processor run`.
    #[arg(long, env = "APPLICATION_ID", default_value = "processor")]
    pub application_id: String,
    /// The consumer group of the new topics.
    #[arg(long, env = "MIGRATE_TO_APPLICATION_ID")]
    pub to_application_id: String,
    /// The sub-topologies of the group, as for `processor run`.
    #[arg(long, env = "PROCESSOR_TOPOLOGIES", default_value_t = Topologies::PRICES)]
    pub topologies: Topologies,
    /// Do it; without it the steps are only printed.
    #[arg(long, env = "MIGRATE_YES")]
    pub yes: bool,
    /// Where the schema registry is.
    #[command(flatten)]
    pub registry: SchemaRegistry,
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: Kafka,
}
