//! The graph of sources, processors, stores and sinks, wired by the handles that they return.
//!
//! ```
//! use streams::{Builder, Context, Failure, Layout, Processor, Topology, store::StoreHandle};
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
//! fn counts() -> Layout<u64> {
//!     Layout::new(
//!         "counts",
//!         |count: &u64, out| out.extend_from_slice(&count.to_be_bytes()),
//!         |bytes| bytes.try_into().map(u64::from_be_bytes).map_err(|_| "not a count".into()),
//!     )
//! }
//!
//! let topology = Topology::new(|builder: &mut Builder| {
//!     let words = builder.source("words", |record| {
//!         let word = record.value.and_then(|value| String::from_utf8(value.into()).ok());
//!         word.ok_or(Failure::Drop("not_a_word"))
//!     });
//!     let counts = builder.store("counts", counts());
//!     words.process(builder, |stores| Count { counts: stores.get(&counts) });
//! })?;
//! assert_eq!(topology.sub_topologies()[0].source(), "words");
//! # Ok::<(), streams::Error>(())
//! ```
//!
//! A handle exists only after what it stands for, so an edge cannot dangle. The function that
//! wires the graph runs once for every task: each has processors and caches of its own.
//!
//! Invariant: the shape (sources, stores, sinks and their order) is the same at every run of the
//! function. The runtime plans by the shape of the first.

mod builder;
mod store_changes;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use builder::{Builder, ConnectedStores, DeclaredStore, Stream};
use builder::{Punctuate, Resume, SourceKind, SourceNode, StoreNode};
pub use store_changes::{StoreChange, StoreChanges};

use crate::changelog::{Layout, StoreKeys};
use crate::error::{Error, Failure, Result};
use crate::processor::Scope;
use crate::punctuation::{Punctuation, PunctuationType};
use crate::record::{Batch, Partition, SubTopologyId, Timestamp};
use crate::retention::Retention;
use crate::store::{Committed, Store};

type Keys = dyn Fn(&Batch) -> Result<StoreKeys> + Send + Sync;
type Wire = dyn Fn(&mut Builder) + Send + Sync;

/// A store of the topology, as the runtime plans with it.
#[derive(Clone)]
pub struct StoreSpec {
    /// Its name.
    pub name: String,
    /// The topic that it publishes and is restored from.
    pub topic: String,
    version: u32,
    retention: Option<Retention>,
    keys: Arc<Keys>,
    /// By the order of declaration in the whole topology.
    index: usize,
}

impl StoreSpec {
    fn new<V: 'static>(name: String, layout: &Arc<Layout<V>>, index: usize) -> Self {
        let topic = layout.topic().to_owned();
        let (version, retention) = (layout.version(), layout.retention());
        let layout = Arc::clone(layout);
        let keys: Arc<Keys> = Arc::new(move |records: &Batch| layout.store_keys(records));
        Self { name, topic, version, retention, keys, index }
    }

    /// How long a windowed store keeps its windows.
    pub const fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// The committed state over a store of one partition.
    pub fn committed(&self, store: Box<dyn Store>) -> Result<Committed> {
        match self.retention {
            None => Ok(Committed::new(store)),
            Some(retention) => Committed::windowed(store, retention),
        }
    }

    /// The name of one partition's part on disk.
    pub(crate) fn name_on_disk(&self, partition: Partition) -> String {
        self.name_of_version(self.version, partition)
    }

    fn name_of_version(&self, version: u32, partition: Partition) -> String {
        match version {
            1 => format!("{}-{partition}", self.name),
            version => format!("{}.v{version}-{partition}", self.name),
        }
    }

    /// The names that earlier versions of the layout had on disk.
    pub(crate) fn earlier_names(&self, partition: Partition) -> impl Iterator<Item = String> {
        (1..self.version).map(move |version| self.name_of_version(version, partition))
    }

    /// Commits records of the topic to a store, all or none. Returns their keys in the store.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a record that is not of this store.
    pub fn restore(&self, records: &Batch, store: &Committed) -> Result<StoreKeys> {
        let keys = (self.keys)(records)?;
        store.commit(keys.changes(records));
        Ok(keys)
    }
}

/// A part of the topology with one source. Its tasks share nothing with those of other parts.
#[derive(Clone)]
pub struct SubTopology {
    source: String,
    kind: SourceKind,
    stores: Vec<StoreSpec>,
    sinks: Vec<String>,
    repartitions: Vec<SubTopologyId>,
}

impl SubTopology {
    /// The source topic.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The source is a repartition topic: another sub-topology of the application writes it.
    pub const fn is_repartition(&self) -> bool {
        matches!(self.kind, SourceKind::Repartition)
    }

    /// Its one store is a table: every process follows it, and the group does not assign it.
    pub const fn is_table(&self) -> bool {
        matches!(self.kind, SourceKind::Table)
    }

    /// The stores, in the order of declaration.
    pub fn stores(&self) -> &[StoreSpec] {
        &self.stores
    }

    /// The sink topics, in the order of declaration.
    pub fn sinks(&self) -> &[String] {
        &self.sinks
    }

    /// The sub-topologies whose sources are the repartition topics that it writes, in the order of
    /// declaration.
    pub fn repartitions(&self) -> &[SubTopologyId] {
        &self.repartitions
    }
}

/// A graph that can be made again for every task.
#[derive(Clone)]
pub struct Topology {
    wire: Arc<Wire>,
    sub_topologies: Vec<SubTopology>,
}

impl Topology {
    /// The graph that `wire` wires.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the parts of a graph that cannot be run: a store that two sub-topologies
    /// use or none, a topic that is a source twice, a name that is used twice.
    pub fn new(wire: impl Fn(&mut Builder) + Send + Sync + 'static) -> Result<Self> {
        let mut shape = Builder::new(BTreeMap::new());
        wire(&mut shape);
        builder::check(&shape)?;
        Ok(Self { wire: Arc::new(wire), sub_topologies: sub_topologies(shape) })
    }

    /// The same with the full names of the repartition topics: `{application_id}-{name}-repartition`.
    #[must_use]
    pub fn of_application(&self, application_id: &str) -> Self {
        let mut named = self.clone();
        for sub_topology in named.sub_topologies.iter_mut().filter(|one| one.is_repartition()) {
            sub_topology.source = format!("{application_id}-{}", sub_topology.source);
        }
        named
    }

    /// The sub-topologies, by [`SubTopologyId`].
    pub fn sub_topologies(&self) -> &[SubTopology] {
        &self.sub_topologies
    }

    /// One sub-topology.
    pub fn sub_topology(&self, id: SubTopologyId) -> &SubTopology {
        &self.sub_topologies[id.0]
    }

    /// The stores of all sub-topologies.
    pub fn stores(&self) -> impl Iterator<Item = &StoreSpec> {
        self.sub_topologies.iter().flat_map(SubTopology::stores)
    }

    /// The sub-topology with that source.
    pub fn of_source(&self, topic: &str) -> Option<SubTopologyId> {
        self.sub_topologies.iter().position(|one| one.source == topic).map(SubTopologyId)
    }

    /// The graph of one task over these stores, in the order of declaration.
    pub(crate) fn build(&self, id: SubTopologyId, committed: &[Arc<Committed>]) -> Result<Graph> {
        let specs = self.sub_topology(id).stores.iter().map(|spec| spec.index);
        let mut builder = Builder::new(specs.zip(committed.iter().cloned()).collect());
        (self.wire)(&mut builder);
        let parts = |one: &SubTopology| [one.stores.len(), one.sinks.len(), one.repartitions.len()];
        if !shape(&builder).eq(self.sub_topologies.iter().map(parts)) {
            return Err(Error::Invalid(
                "the topology differs between two runs of its wiring function: wire the same sources, stores \
                 and sinks each time".into(),
            ));
        }
        Ok(Graph::new(builder, id))
    }
}
/// The stores that processors of one sub-topology use, in the order of declaration.
fn stores_of(
    stores: &[builder::Store],
    of: SubTopologyId,
) -> impl Iterator<Item = &builder::Store> {
    stores.iter().filter(move |store| store.of == Some(of))
}

/// How many stores, sinks and repartition topics each sub-topology has.
fn shape(builder: &Builder) -> impl Iterator<Item = [usize; 3]> {
    builder.sources.iter().enumerate().map(|(index, source)| {
        let stores = stores_of(&builder.stores, SubTopologyId(index)).count();
        [stores, source.sinks.len(), source.repartitions.len()]
    })
}

fn sub_topologies(shape: Builder) -> Vec<SubTopology> {
    let sources = shape.sources.into_iter().enumerate().map(|(index, source)| {
        let stores = stores_of(&shape.stores, SubTopologyId(index));
        SubTopology {
            source: source.topic,
            kind: source.kind,
            stores: stores.map(|store| store.spec.clone()).collect(),
            sinks: source.sinks,
            repartitions: source.repartitions,
        }
    });
    sources.collect()
}

/// The graph of one task.
pub(crate) struct Graph {
    pub(crate) source: SourceNode,
    pub(crate) stores: Vec<StoreNode>,
    pub(crate) punctuations: Vec<(Punctuation, Punctuate)>,
    resumes: Vec<Resume>,
}

impl Graph {
    fn new(mut builder: Builder, of: SubTopologyId) -> Self {
        let stores = builder.stores.into_iter().filter(|store| store.of == Some(of));
        let source = builder.sources.swap_remove(of.0);
        Self {
            source: source.node,
            stores: stores.map(|store| store.node).collect(),
            punctuations: source.punctuations,
            resumes: source.resumes,
        }
    }

    /// Goes on with the record that is not done; whether it is done now.
    pub(crate) fn resume(&self, scope: &mut Scope) -> Result<bool, Failure> {
        scope.again = false;
        self.resumes.iter().try_for_each(|resume| resume(scope))?;
        Ok(!scope.again)
    }

    /// Runs what is due at `time` on `clock`.
    pub(crate) fn punctuate(
        &mut self,
        scope: &mut Scope,
        clock: PunctuationType,
        time: Timestamp,
    ) -> Result<(), Failure> {
        for (punctuation, call) in &mut self.punctuations {
            if punctuation.clock() == clock && punctuation.take_due(time) {
                call(scope, time)?;
            }
        }
        Ok(())
    }
}
