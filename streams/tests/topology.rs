//! The rules of a graph: each mistake is refused when the topology is made, with the names of its parts.

use std::sync::atomic::{AtomicBool, Ordering};

use streams::store::StoreHandle;
use streams::topology::SubTopology;
use streams::{
    Builder, Context, Driver, Error, Failure, Layout, Processor, SinkRecord, Stream, Topology,
};

struct Keep(StoreHandle<Vec<u8>>);

impl Processor for Keep {
    type In = Vec<u8>;
    type Out = Vec<u8>;

    fn process(
        &mut self,
        context: &mut Context<'_, Vec<u8>>,
        key: &Vec<u8>,
    ) -> Result<(), Failure> {
        *self.0.entry(key)? = Some(key.clone());
        context.forward(key)
    }
}

fn layout(topic: &str) -> Layout<Vec<u8>> {
    Layout::new(topic, |key: &Vec<u8>, out| out.extend_from_slice(key), |bytes| Ok(bytes.to_vec()))
}

fn source(builder: &mut Builder, topic: &str) -> Stream<Vec<u8>> {
    builder.source(topic, |record| Ok(record.key.to_vec()))
}

fn repartition(builder: &mut Builder, stream: &Stream<Vec<u8>>, name: &str) -> Stream<Vec<u8>> {
    let encode = |key: &Vec<u8>| SinkRecord { key: key.clone(), value: None };
    stream.repartition(builder, name, encode, |record| Ok(record.key.to_vec()))
}

/// The error of a graph that is not accepted.
fn refused(wire: impl Fn(&mut Builder) + Send + Sync + 'static) -> String {
    match Topology::new(wire) {
        Err(Error::Invalid(said)) => said,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[test]
fn a_store_of_two_sub_topologies_is_refused_with_the_names_of_all() {
    let said = refused(|builder| {
        let kept = builder.store("kept", layout("kept"));
        let lines = source(builder, "lines");
        lines.process(builder, |stores| Keep(stores.get(&kept)));
        let words = repartition(builder, &lines, "words");
        words.process(builder, |stores| Keep(stores.get(&kept)));
    });
    for name in ["store kept", "sub-topology 0 (source lines)", "1 (source words-repartition)"] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn processors_of_one_sub_topology_share_a_store() -> streams::Result<()> {
    let topology = Topology::new(|builder| {
        let kept = builder.store("kept", layout("kept"));
        let lines = source(builder, "lines");
        let next = lines.process(builder, |stores| Keep(stores.get(&kept)));
        next.process(builder, |stores| Keep(stores.get(&kept)));
    })?;
    assert_eq!(topology.stores().count(), 1);
    Ok(())
}

#[test]
fn parts_that_lead_nowhere_or_have_one_name_are_refused() {
    let said = refused(|builder| {
        source(builder, "lines");
        builder.store("kept", layout("kept"));
    });
    assert!(said.contains("store kept is declared, but no processor uses it"), "{said}");
    let said = refused(|builder| {
        source(builder, "lines");
        source(builder, "lines");
    });
    assert!(said.contains("topic lines is a source twice"), "{said}");
    let said = refused(|builder| {
        builder.store("kept", layout("one"));
        builder.store("kept", layout("other"));
    });
    assert!(said.contains("store kept is declared twice"), "{said}");
    assert!(refused(|_| ()).contains("a topology has no source"));
}

#[test]
fn a_graph_that_changes_between_two_runs_is_refused() -> streams::Result<()> {
    let again = AtomicBool::new(false);
    let topology = Topology::new(move |builder| {
        let lines = source(builder, "lines");
        if again.swap(true, Ordering::Relaxed) {
            repartition(builder, &lines, "words");
        }
    })?;
    let said = Driver::new(topology).err().map(|error| error.to_string());
    assert!(said.is_some_and(|said| said.contains("differs between two runs")));
    Ok(())
}

#[test]
fn a_repartition_topic_has_the_name_of_its_application() -> streams::Result<()> {
    let topology = Topology::new(|builder| {
        let lines = source(builder, "lines");
        repartition(builder, &lines, "words");
    })?;
    let named = topology.of_application("app");
    let sources: Vec<_> = named.sub_topologies().iter().map(SubTopology::source).collect();
    assert_eq!(sources, ["lines", "app-words-repartition"]);
    Ok(())
}

#[test]
fn a_table_holds_what_another_program_writes_and_publishes_nothing() -> streams::Result<()> {
    let topology = Topology::new(|builder: &mut Builder| {
        let kept = builder.store("kept", layout("kept"));
        let lines = source(builder, "lines");
        lines.process(builder, |stores| Keep(stores.get(&kept)));
        builder.table("books", layout("books"));
    })?;
    let [lines, books] = topology.sub_topologies() else { panic!("two sub-topologies") };
    assert!(books.is_table() && !lines.is_table() && !books.is_repartition());
    let mut driver = Driver::new(topology)?;
    driver.pipe("books", 0, b"one", Some(b"1"))?;
    driver.pipe("lines", 0, b"a", None)?;
    driver.pipe("books", 0, b"two", Some(b"2"))?;
    driver.commit()?;
    driver.flush_stores()?;
    driver.pipe("books", 0, b"one", None)?;
    let held = |driver: &Driver| driver.store("books").map(|store| store.range(b"", b"z", 9));
    let expected = vec![(b"two".to_vec(), b"2".to_vec())];
    assert_eq!(held(&driver).transpose()?, Some(expected.clone()));
    assert_eq!(driver.output("books").len(), 3, "only the other program has written");
    driver.crash()?;
    assert_eq!(held(&driver).transpose()?, Some(expected));
    Ok(())
}

#[test]
fn a_table_has_a_name_and_a_topic_of_its_own() {
    let twice = refused(|builder| {
        source(builder, "books");
        builder.table("books", layout("books"));
    });
    assert!(twice.contains("topic books is a source twice"), "{twice}");
    let named = refused(|builder| {
        let kept = builder.store("kept", layout("kept"));
        let lines = source(builder, "lines");
        lines.process(builder, |stores| Keep(stores.get(&kept)));
        builder.table("kept", layout("books"));
    });
    assert!(named.contains("store kept is declared twice"), "{named}");
}
