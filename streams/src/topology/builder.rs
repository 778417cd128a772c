//! Collects the graph: sources, processors, stores and sinks, each with the sub-topology that it is in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::{StoreChanges, StoreSpec};
use crate::changelog::Layout;
use crate::error::{Error, Failure, Result};
use crate::processor::{Child, Context, Processor, Scope};
use crate::punctuation::Punctuation;
use crate::record::{RepartitionRecord, SinkRecord, SourceRecord, SubTopologyId, Timestamp};
use crate::store::{Cache, Committed, MemoryStore, StoreHandle};

type Children<T> = Rc<RefCell<Vec<Child<T>>>>;
pub(super) type SourceNode = Box<dyn Fn(&mut Scope, &SourceRecord<'_>) -> Result<(), Failure>>;
pub(super) type Punctuate = Box<dyn Fn(&mut Scope, Timestamp) -> Result<(), Failure>>;
pub(super) type Resume = Box<dyn Fn(&mut Scope) -> Result<(), Failure>>;
type Drain = Box<dyn Fn(&mut StoreChanges) -> Result<u64>>;

/// A store's parts that do not depend on its type of values.
pub(crate) struct StoreNode {
    /// Gives the changes, and how many writes to expired windows were dropped.
    pub(crate) drain: Drain,
    pub(crate) discard: Box<dyn Fn()>,
    pub(crate) trim: Box<dyn Fn(usize)>,
    pub(crate) bytes: Box<dyn Fn() -> usize>,
}

/// Where the records of a source come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// A topic that other programs write.
    Topic,
    /// A repartition topic of this application.
    Repartition,
    /// The changelog of a store that this application does not write.
    Table,
}

/// A source and all that is downstream of it, but for the stores.
pub(super) struct Source {
    pub(super) topic: String,
    pub(super) kind: SourceKind,
    pub(super) node: SourceNode,
    pub(super) sinks: Vec<String>,
    pub(super) repartitions: Vec<SubTopologyId>,
    pub(super) punctuations: Vec<(Punctuation, Punctuate)>,
    pub(super) resumes: Vec<Resume>,
}

pub(super) struct Store {
    pub(super) spec: StoreSpec,
    pub(super) node: StoreNode,
    /// The sub-topology whose processors use it.
    pub(super) of: Option<SubTopologyId>,
}

/// Collects the graph.
pub struct Builder {
    pub(super) sources: Vec<Source>,
    pub(super) stores: Vec<Store>,
    /// The first mistake of the wiring.
    pub(super) mistake: Option<String>,
    /// The stores of the task that is built, by the order of declaration.
    committed: BTreeMap<usize, Arc<Committed>>,
}

/// A store of the topology that is still to be connected to processors ([`Stream::process`]).
pub struct DeclaredStore<V> {
    index: usize,
    handle: StoreHandle<V>,
}

/// Gives declared stores to a processor that is being added.
pub struct ConnectedStores<'a> {
    builder: &'a mut Builder,
    of: SubTopologyId,
}

impl ConnectedStores<'_> {
    /// The store, which belongs to the processor's sub-topology from here on. `Topology::new` refuses a
    /// store that processors of two sub-topologies use.
    pub fn get<V>(&mut self, store: &DeclaredStore<V>) -> StoreHandle<V> {
        let known = &mut self.builder.stores[store.index];
        match known.of {
            None => known.of = Some(self.of),
            Some(of) if of == self.of => {}
            Some(of) => {
                let name = known.spec.name.clone();
                let topic = |of: SubTopologyId| &self.builder.sources[of.0].topic;
                let said = format!(
                    "store {name} is used in sub-topology {} (source {}) and in sub-topology {} (source \
                     {}): a store belongs to one; send the records there with repartition, or give \
                     each a store of its own",
                    of.0,
                    topic(of),
                    self.of.0,
                    topic(self.of)
                );
                self.builder.mistaken(said);
            }
        }
        store.handle.clone()
    }
}

impl Builder {
    pub(super) fn new(committed: BTreeMap<usize, Arc<Committed>>) -> Self {
        Self { sources: Vec::new(), stores: Vec::new(), mistake: None, committed }
    }

    fn mistaken(&mut self, mistake: String) {
        self.mistake.get_or_insert(mistake);
    }

    /// A source topic: the beginning of a sub-topology. `decode` turns its bytes into the records of the
    /// stream.
    pub fn source<T: 'static>(
        &mut self,
        topic: impl Into<String>,
        decode: impl Fn(&SourceRecord<'_>) -> Result<T, Failure> + 'static,
    ) -> Stream<T> {
        self.begin(topic.into(), SourceKind::Topic, decode)
    }

    fn begin<T: 'static>(
        &mut self,
        topic: String,
        kind: SourceKind,
        decode: impl Fn(&SourceRecord<'_>) -> Result<T, Failure> + 'static,
    ) -> Stream<T> {
        if self.sources.iter().any(|source| source.topic == topic) {
            self.mistaken(format!(
                "topic {topic} is a source twice: use the stream of the first for both"
            ));
        }
        let stream = Stream::new(SubTopologyId(self.sources.len()));
        let children = Rc::clone(&stream.children);
        let node = move |scope: &mut Scope, record: &SourceRecord<'_>| {
            let decoded = decode(record)?;
            children.borrow().iter().try_for_each(|child| child(scope, &decoded))
        };
        self.sources.push(Source {
            topic,
            kind,
            node: Box::new(node),
            sinks: Vec::new(),
            repartitions: Vec::new(),
            punctuations: Vec::new(),
            resumes: Vec::new(),
        });
        stream
    }

    /// A store whose topic another program writes: followed and readable in each process, used by no
    /// processor and written by none. Its tasks are of a sub-topology of its own, outside the group.
    pub fn table<V: 'static>(&mut self, name: impl Into<String>, layout: Layout<V>) {
        let nothing = |_: &SourceRecord<'_>| Ok::<(), Failure>(());
        let stream = self.begin(layout.topic().to_owned(), SourceKind::Table, nothing);
        let table = self.store(name, layout);
        self.stores[table.index].of = Some(stream.of);
    }

    /// A store whose changes are published to the layout's topic.
    pub fn store<V: 'static>(
        &mut self,
        name: impl Into<String>,
        layout: Layout<V>,
    ) -> DeclaredStore<V> {
        let (name, layout, index) = (name.into(), Arc::new(layout), self.stores.len());
        if self.stores.iter().any(|store| store.spec.name == name) {
            self.mistaken(format!("store {name} is declared twice: give each a name of its own"));
        }
        // Stores of other sub-topologies stay empty, as all do while only the shape is asked for.
        let empty = || Arc::new(Committed::new(Box::new(MemoryStore::default())));
        let committed = self.committed.get(&index).cloned().unwrap_or_else(empty);
        let handle = StoreHandle::new(Cache::new(Arc::clone(&layout), committed));
        let node = store_node(&layout, &handle);
        let spec = StoreSpec::new(name, &layout, index);
        self.stores.push(Store { spec, node, of: None });
        DeclaredStore { index, handle }
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

fn drain<V>(layout: &Layout<V>, cache: &mut Cache<V>, out: &mut StoreChanges) -> Result<u64> {
    let mut result = Ok(());
    cache.drain(|(key, value)| {
        if let Err(error) = out.push(|bytes| layout.topic_key(key, bytes), key, value) {
            result = Err(error);
        }
    });
    result.map(|()| cache.take_expired())
}

/// A stream of typed records between two steps of one sub-topology. Clones are the same stream.
pub struct Stream<T> {
    of: SubTopologyId,
    children: Children<T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self { of: self.of, children: Rc::clone(&self.children) }
    }
}

impl<T: 'static> Stream<T> {
    fn new(of: SubTopologyId) -> Self {
        Self { of, children: Rc::default() }
    }

    fn then(&self, child: impl Fn(&mut Scope, &T) -> Result<(), Failure> + 'static) {
        self.children.borrow_mut().push(Box::new(child));
    }

    /// Adds the processor that `supply` makes of the stores that it asks for; the records that it
    /// forwards are the new stream.
    pub fn process<P: Processor<In = T>>(
        &self,
        builder: &mut Builder,
        supply: impl FnOnce(&mut ConnectedStores<'_>) -> P,
    ) -> Stream<P::Out> {
        let of = self.of;
        let processor = supply(&mut ConnectedStores { builder, of });
        let output = Stream::new(of);
        let schedule = processor.schedule();
        let processor = Rc::new(RefCell::new(processor));
        let (node, children) = (Rc::clone(&processor), Rc::clone(&output.children));
        self.then(move |scope, record| {
            let mut context = Context { scope, children: &children.borrow() };
            node.borrow_mut().process(&mut context, record)
        });
        let (resumed, children) = (Rc::clone(&processor), Rc::clone(&output.children));
        let source = &mut builder.sources[of.0];
        source.resumes.push(Box::new(move |scope| {
            let mut context = Context { scope, children: &children.borrow() };
            resumed.borrow_mut().resume(&mut context)
        }));
        if let Some(schedule) = schedule {
            let children = Rc::clone(&output.children);
            let punctuate = move |scope: &mut Scope, time| {
                let mut context = Context { scope, children: &children.borrow() };
                processor.borrow_mut().punctuate(&mut context, time)
            };
            source.punctuations.push((Punctuation::new(schedule), Box::new(punctuate)));
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
        let sinks = &mut builder.sources[self.of.0].sinks;
        let sink = sinks.len();
        sinks.push(topic.into());
        self.then(move |scope, record| {
            scope.outputs[sink].push(encode(record));
            Ok(())
        });
    }

    /// Sends the stream through the repartition topic `{application_id}-{name}-repartition`, partitioned
    /// by the key that `encode` gives (murmur2, as Java clients do), with the event times of the
    /// records. The new stream is another sub-topology.
    pub fn repartition<U: 'static>(
        &self,
        builder: &mut Builder,
        name: &str,
        encode: impl Fn(&T) -> SinkRecord + 'static,
        decode: impl Fn(&SourceRecord<'_>) -> Result<U, Failure> + 'static,
    ) -> Stream<U> {
        let stream = builder.begin(format!("{name}-repartition"), SourceKind::Repartition, decode);
        let repartitions = &mut builder.sources[self.of.0].repartitions;
        let index = repartitions.len();
        repartitions.push(stream.of);
        self.then(move |scope, record| {
            let (record, timestamp) = (encode(record), scope.timestamp);
            scope.repartitioned[index].push(RepartitionRecord { timestamp, record });
            Ok(())
        });
        stream
    }
}

/// The first mistake of a graph, as an error.
pub(super) fn check(builder: &Builder) -> Result<()> {
    if let Some(mistake) = &builder.mistake {
        return Err(Error::Invalid(mistake.clone()));
    }
    if builder.sources.is_empty() {
        return Err(Error::Invalid("a topology has no source: declare one with source".into()));
    }
    match builder.stores.iter().find(|store| store.of.is_none()) {
        None => Ok(()),
        Some(store) => Err(Error::Invalid(format!(
            "store {} is declared, but no processor uses it: connect it where a processor is added, or \
             remove it",
            store.spec.name
        ))),
    }
}
