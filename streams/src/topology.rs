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
//!     words.process(builder, Count { counts });
//! });
//! assert_eq!(topology.sources(), ["words"]);
//! ```
//!
//! A handle exists only after what it stands for, so an edge cannot dangle. The function that
//! wires the graph runs once for every task: each has processors and caches of its own.
//!
//! Invariant: the shape (sources, stores, sinks and their order) is the same at every run of the
//! function. The runtime plans by the shape of the first.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::changelog::{Layout, StoreKeys};
use crate::error::{Error, Failure, Result};
use crate::processor::{Child, Context, Processor, Scope};
use crate::punctuation::{Punctuation, PunctuationType};
use crate::record::{Batch, Partition, SinkRecord, SourceId, SourceRecord, Timestamp};
use crate::store::{Cache, Committed, MemoryStore, StoreHandle};

type Children<T> = Rc<RefCell<Vec<Child<T>>>>;
pub(crate) type SourceNode = Box<dyn Fn(&mut Scope, &SourceRecord<'_>) -> Result<(), Failure>>;
type Punctuate = Box<dyn Fn(&mut Scope, Timestamp) -> Result<(), Failure>>;
type Resume = Box<dyn Fn(&mut Scope) -> Result<(), Failure>>;
type Keys = Box<dyn Fn(&Batch) -> Result<StoreKeys> + Send + Sync>;
type Drain = Box<dyn Fn(&mut StoreChanges) -> Result<()>>;
type Wire = dyn Fn(&mut Builder) + Send + Sync;

/// A store's parts that do not depend on its type of values.
pub(crate) struct StoreNode {
    pub(crate) drain: Drain,
    pub(crate) discard: Box<dyn Fn()>,
    pub(crate) trim: Box<dyn Fn(usize)>,
    pub(crate) bytes: Box<dyn Fn() -> usize>,
}

/// Changes of one store, drained for a commit, in one arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreChanges {
    bytes: Vec<u8>,
    /// Where topic key, store key and value end; without a value, a tombstone.
    ends: Vec<(usize, usize, Option<usize>)>,
}

/// One change of a store, as it stands in the topic and in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreChange<'a> {
    /// The key of the topic's record.
    pub topic_key: &'a [u8],
    /// The key in the store.
    pub store_key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl StoreChanges {
    /// Every change, in the order of first touch.
    pub fn iter(&self) -> impl Iterator<Item = StoreChange<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |&(topic_key, store_key, value)| {
            let change = StoreChange {
                topic_key: &self.bytes[start..topic_key],
                store_key: &self.bytes[topic_key..store_key],
                value: value.map(|end| &self.bytes[store_key..end]),
            };
            start = value.unwrap_or(store_key);
            change
        })
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No change.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// A store of the topology, as the runtime plans with it.
#[derive(Clone)]
pub struct StoreSpec {
    /// Its name.
    pub name: String,
    /// The topic that it publishes and is restored from.
    pub topic: String,
    version: u32,
    keys: Arc<Keys>,
}

impl StoreSpec {
    /// The name of one partition's part on disk.
    pub(crate) fn name_on_disk(&self, partition: Partition) -> String {
        match self.version {
            1 => format!("{}-{partition}", self.name),
            version => format!("{}.v{version}-{partition}", self.name),
        }
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

/// Collects the graph of one task.
pub struct Builder {
    pub(crate) sources: Vec<(String, SourceNode)>,
    pub(crate) specs: Vec<StoreSpec>,
    pub(crate) stores: Vec<StoreNode>,
    pub(crate) sinks: Vec<String>,
    pub(crate) punctuations: Vec<(Punctuation, Punctuate)>,
    resumes: Vec<Resume>,
    committed: Vec<Arc<Committed>>,
}

impl Builder {
    fn new(committed: Vec<Arc<Committed>>) -> Self {
        Self {
            sources: Vec::new(),
            specs: Vec::new(),
            stores: Vec::new(),
            sinks: Vec::new(),
            punctuations: Vec::new(),
            resumes: Vec::new(),
            committed,
        }
    }

    /// A source topic; `decode` turns its bytes into what the stream carries.
    pub fn source<T: 'static>(
        &mut self,
        topic: impl Into<String>,
        decode: impl Fn(&SourceRecord<'_>) -> Result<T, Failure> + 'static,
    ) -> Stream<T> {
        let stream = Stream::new();
        let children = Rc::clone(&stream.children);
        let node = move |scope: &mut Scope, record: &SourceRecord<'_>| {
            let decoded = decode(record)?;
            children.borrow().iter().try_for_each(|child| child(scope, &decoded))
        };
        self.sources.push((topic.into(), Box::new(node)));
        stream
    }

    /// A store whose changes are published to the layout's topic.
    pub fn store<V: 'static>(
        &mut self,
        name: impl Into<String>,
        layout: Layout<V>,
    ) -> StoreHandle<V> {
        let layout = Arc::new(layout);
        let committed = self.committed.get(self.stores.len()).cloned();
        // While only the shape is asked for there is no store yet.
        let committed =
            committed.unwrap_or_else(|| Arc::new(Committed::new(Box::new(MemoryStore::default()))));
        let cache = Cache::new(Arc::clone(&layout), committed);
        let handle = StoreHandle::new(cache);
        self.stores.push(store_node(&layout, &handle));
        let (topic, version) = (layout.topic().to_owned(), layout.version());
        let keys: Keys = Box::new(move |records| layout.store_keys(records));
        self.specs.push(StoreSpec { name: name.into(), topic, version, keys: Arc::new(keys) });
        handle
    }
}

fn store_node<V: 'static>(layout: &Arc<Layout<V>>, handle: &StoreHandle<V>) -> StoreNode {
    let [drained, discarded, trimmed, counted] = [(); 4].map(|()| Rc::clone(handle.cache()));
    let layout = Arc::clone(layout);
    StoreNode {
        drain: Box::new(move |out| drain(&layout, &mut drained.borrow_mut(), out)),
        discard: Box::new(move || discarded.borrow_mut().discard()),
        trim: Box::new(move |max_bytes| trimmed.borrow_mut().trim(max_bytes)),
        bytes: Box::new(move || counted.borrow().bytes()),
    }
}

fn drain<V>(layout: &Layout<V>, cache: &mut Cache<V>, out: &mut StoreChanges) -> Result<()> {
    let mut result = Ok(());
    cache.drain(|(key, value)| {
        if let Err(error) = layout.topic_key(key, &mut out.bytes) {
            result = Err(error);
        }
        let topic_key_end = out.bytes.len();
        out.bytes.extend_from_slice(key);
        let store_key_end = out.bytes.len();
        let value_end = value.map(|value| {
            out.bytes.extend_from_slice(value);
            out.bytes.len()
        });
        out.ends.push((topic_key_end, store_key_end, value_end));
    });
    result
}

/// A stream of typed records between two steps. Clones are the same stream.
pub struct Stream<T> {
    children: Children<T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self { children: Rc::clone(&self.children) }
    }
}

impl<T: 'static> Stream<T> {
    fn new() -> Self {
        Self { children: Rc::default() }
    }

    /// Adds a processor; what it forwards is the new stream.
    pub fn process<P: Processor<In = T>>(
        &self,
        builder: &mut Builder,
        processor: P,
    ) -> Stream<P::Out> {
        let output = Stream::new();
        let schedule = processor.schedule();
        let processor = Rc::new(RefCell::new(processor));
        let (node, children) = (Rc::clone(&processor), Rc::clone(&output.children));
        self.children.borrow_mut().push(Box::new(move |scope, record| {
            let mut context = Context { scope, children: &children.borrow() };
            node.borrow_mut().process(&mut context, record)
        }));
        let (resumed, children) = (Rc::clone(&processor), Rc::clone(&output.children));
        builder.resumes.push(Box::new(move |scope| {
            let mut context = Context { scope, children: &children.borrow() };
            resumed.borrow_mut().resume(&mut context)
        }));
        if let Some(schedule) = schedule {
            let children = Rc::clone(&output.children);
            let punctuate = move |scope: &mut Scope, time| {
                let mut context = Context { scope, children: &children.borrow() };
                processor.borrow_mut().punctuate(&mut context, time)
            };
            builder.punctuations.push((Punctuation::new(schedule), Box::new(punctuate)));
        }
        output
    }

    /// Writes the stream to a topic, into the task's own partition.
    pub fn to(
        &self,
        builder: &mut Builder,
        topic: impl Into<String>,
        encode: impl Fn(&T) -> SinkRecord + 'static,
    ) {
        let sink = builder.sinks.len();
        builder.sinks.push(topic.into());
        self.children.borrow_mut().push(Box::new(move |scope, record| {
            scope.outputs[sink].push(encode(record));
            Ok(())
        }));
    }
}

/// A graph that can be made again for every task.
#[derive(Clone)]
pub struct Topology {
    wire: Arc<Wire>,
    sources: Vec<String>,
    stores: Vec<StoreSpec>,
    sinks: Vec<String>,
}

impl Topology {
    /// The graph that `wire` wires.
    pub fn new(wire: impl Fn(&mut Builder) + Send + Sync + 'static) -> Self {
        let mut shape = Builder::new(Vec::new());
        wire(&mut shape);
        let sources = shape.sources.into_iter().map(|(topic, _)| topic).collect();
        Self { wire: Arc::new(wire), sources, stores: shape.specs, sinks: shape.sinks }
    }

    /// The source topics, by [`SourceId`].
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The stores, in the order of declaration.
    pub fn stores(&self) -> &[StoreSpec] {
        &self.stores
    }

    /// The sink topics, in the order of declaration.
    pub fn sinks(&self) -> &[String] {
        &self.sinks
    }

    /// The source of that topic.
    pub fn source_id(&self, topic: &str) -> Option<SourceId> {
        self.sources.iter().position(|source| source == topic).map(SourceId)
    }

    /// One task's graph over these stores, in the order of declaration.
    pub(crate) fn build(&self, committed: Vec<Arc<Committed>>) -> Result<Builder> {
        let mut builder = Builder::new(committed);
        (self.wire)(&mut builder);
        let same_shape = builder.sources.len() == self.sources.len()
            && builder.specs.len() == self.stores.len()
            && builder.sinks.len() == self.sinks.len();
        if !same_shape {
            return Err(Error::Invalid(
                "the topology differs between two runs of its wiring function: wire the same sources, stores \
                 and sinks each time".into(),
            ));
        }
        Ok(builder)
    }
}

/// Goes on with the record that is not done; whether it is done now.
pub(crate) fn resume(graph: &Builder, scope: &mut Scope) -> Result<bool, Failure> {
    scope.again = false;
    graph.resumes.iter().try_for_each(|resume| resume(scope))?;
    Ok(!scope.again)
}

/// Runs what is due at `time` on `clock`.
pub(crate) fn punctuate(
    punctuations: &mut [(Punctuation, Punctuate)],
    scope: &mut Scope,
    clock: PunctuationType,
    time: Timestamp,
) -> Result<(), Failure> {
    for (punctuation, call) in punctuations {
        if punctuation.clock() == clock && punctuation.take_due(time) {
            call(scope, time)?;
        }
    }
    Ok(())
}
