//! Everything that can block, fail or be late; the only place that knows Kafka.
//!
//! ```text
//! App ─┬─ worker thread ─┬─ tasks            one for each source partition it owns
//!      │                 ├─ Tail             restores stores from output topics
//!      │                 ├─ Group            KafkaGroup: GroupConsumer, OutputProducer
//!      │                 └─ Topics           KafkaTopics: a consumer, the Flusher, the state directory
//!      ├─ worker thread ─ …
//!      └─ follower       ─┬─ Tail             keeps warm what others own (standby)
//! View ── follower        └─ Topics           the same, outside any group
//! ```
//!
//! [`worker`] knows no Kafka: it calls the two traits of `client.rs`, which `kafka.rs` implements.

mod admin;
mod app;
mod client;
mod clock;
mod config;
mod connection_refusal;
mod consumer;
mod context;
mod dead_letter_limit;
mod errors;
mod flusher;
mod follower;
mod kafka;
mod librdkafka;
mod lost_offsets;
mod metrics;
mod migrate;
mod offset_metadata;
mod producer;
mod purge;
mod queries;
mod removed_sources;
mod reset;
mod stable_offsets;
mod state_dir;
mod stop;
mod tail;
mod view;
pub mod worker;
mod write;

pub use admin::{TopicSpec, create_topics};
pub use app::App;
pub use clock::moment;
pub use config::{AppConfig, GroupProtocol, Guarantee, ResetOffsets, StoreConfig};
pub use connection_refusal::ConnectionRefusal;
pub use metrics::Metrics;
pub use migrate::{MigrateConfig, Migration, Placement};
pub use queries::{Queries, WorkerStatus};
pub use reset::{Reset, ResetConfig};
pub use stop::Stop;
pub use view::View;
pub use write::{NewRecord, write_records};
