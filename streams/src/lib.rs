//! Kafka Streams semantics as a library: exactly once, state restored from what it publishes.
//!
//! # Overview
//!
//! A [`Task`] is a value. Records and time go in; one [`Commit`] comes out:
//!
//! ```text
//!              add_records          prepare_commit             one transaction
//! source ──► buffer ──► process ──► Commit ──────────────────► outputs + offsets
//!                          │ cache     │ post_commit
//!                          └──◄────────┴──► overlay ──every few seconds──► store
//! ```
//!
//! - [`topology`] is the graph of sub-topologies: sources, [`Processor`]s, stores and sinks, wired by handles.
//! - [`task`] runs one partition of a sub-topology. It does no I/O and reads no clock.
//! - [`store`] holds what is committed, with its changelog position.
//! - [`changelog`] makes a published topic serve as changelog, so that state is written once.
//! - [`changes`] publishes changes of stores to listeners.
//! - [`replica`] follows such a topic: restore, standby and view are one loop.
//! - [`dead_letter`] cuts a record that cannot be processed to a bounded size.
//! - [`driver`] runs the real task against logs in memory, for tests and for files.
//! - [`log`] keeps topics in files of one machine, without a broker.
//! - [`runtime`] runs tasks on Kafka. It has all code that blocks, fails or reads a clock.
//!
//! # Example
//!
//! Words are counted; `examples/word_count.rs` is the same as a program on a broker.
//!
//! ```
//! use streams::store::StoreHandle;
//! use streams::{Builder, Context, Driver, Failure, Layout, Processor, SinkRecord, Topology};
//!
//! struct Split;
//!
//! impl Processor for Split {
//!     type In = String;
//!     type Out = String;
//!     fn process(&mut self, context: &mut Context<'_, String>, line: &String) -> Result<(), Failure> {
//!         line.split_whitespace().try_for_each(|word| context.forward(&word.to_lowercase()))
//!     }
//! }
//!
//! struct Count { counts: StoreHandle<u64> }
//!
//! impl Processor for Count {
//!     type In = String;
//!     type Out = ();
//!     fn process(&mut self, _: &mut Context<'_, ()>, word: &String) -> Result<(), Failure> {
//!         *self.counts.entry(word.as_bytes())?.get_or_insert(0) += 1;
//!         Ok(())
//!     }
//! }
//!
//! let topology = Topology::new(|builder: &mut Builder| {
//!     let lines = builder.source("lines", |record| {
//!         let line = record.value.and_then(|value| String::from_utf8(value.into()).ok());
//!         line.ok_or(Failure::Drop("not_text"))
//!     });
//!     let counts = builder.store("counts", Layout::new(
//!         "word-counts",
//!         |count: &u64, out| out.extend_from_slice(count.to_string().as_bytes()),
//!         |bytes| String::from_utf8_lossy(bytes).parse().map_err(|_| "not a count".into()),
//!     ));
//!     // A word is counted in the task of its partition, whichever line it comes from.
//!     let words = lines.process(builder, |_| Split).repartition(
//!         builder,
//!         "words",
//!         |word| SinkRecord { key: word.clone().into_bytes(), value: None },
//!         |record| String::from_utf8(record.key.into()).map_err(|_| Failure::Drop("not_text")),
//!     );
//!     words.process(builder, |stores| Count { counts: stores.get(&counts) });
//! })?;
//!
//! // The driver is the broker here; on a real one it is `runtime::App`.
//! let mut driver = Driver::new(topology)?;
//! driver.pipe("lines", 0, b"", Some(b"to be or not"))?;
//! driver.pipe("lines", 1, b"", Some(b"To be"))?;
//! driver.commit()?;
//!
//! // Each word was written once, though two of them were counted twice.
//! let counts: Vec<_> = driver.output("word-counts").iter().map(|record| {
//!     let value = record.value.as_deref().unwrap_or_default();
//!     (String::from_utf8_lossy(&record.key), String::from_utf8_lossy(value))
//! }).collect();
//! let expected = [("to", "2"), ("be", "2"), ("or", "1"), ("not", "1")];
//! assert_eq!(counts, expected.map(|(word, count)| (word.into(), count.into())));
//!
//! // The topic is the state: what a crash loses comes back from it.
//! driver.crash()?;
//! driver.pipe("lines", 2, b"", Some(b"be"))?;
//! driver.commit()?;
//! assert_eq!(driver.store("counts").and_then(|store| store.get(b"be").ok()?), Some(b"3".to_vec()));
//! # Ok::<(), streams::Error>(())
//! ```
//!
//! # Invariants
//!
//! 1. store == fold(changelog[.. position]).
//! 2. A commit takes effect completely or not at all.
//! 3. The same records in the same order give the same commits, byte for byte.
//! 4. Stream time never decreases.
//! 5. Every dropped record is counted and stands in the dead letters.
//! 6. A windowed store answers alike on every member, standby and view, whenever they were restored.
//!
//! # What this does not do
//!
//! A sub-topology has one source topic: two logs meet in a repartition topic, which orders them. There
//! are no joins. Tables are for readers. Stores hold whole values by key; there are no timestamped or
//! versioned stores. Windows are tumbling.

pub mod buffer;
pub mod changelog;
pub mod changes;
pub mod dead_letter;
pub mod driver;
pub mod error;
pub mod log;
pub mod partitioner;
pub mod processor;
pub mod punctuation;
pub mod record;
pub mod replica;
pub mod retention;
pub mod runtime;
pub mod store;
pub mod task;
pub mod topology;
pub mod window;

pub use changelog::Layout;
pub use driver::Driver;
pub use error::{Error, Failure, Result};
pub use processor::{Context, Processor};
pub use record::SinkRecord;
pub use replica::Replica;
pub use retention::Retention;
pub use task::{Commit, Task};
pub use topology::{Builder, Stream, Topology};

/// The examples of the README are doc-tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
