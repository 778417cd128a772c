//! The engine without this product: the library's own example, as a program on the real broker.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use prometheus::Registry;
use streams::record::SourceRecord;
use streams::runtime::{App, AppConfig, Metrics, Queries, Stop, TopicSpec, create_topics};
use streams::store::StoreHandle;
use streams::{Context, Failure, Layout, Processor, Topology};
use tests::support::stack::kafka;
use tests::support::words::Words;
use tests::support::{Process, broker, owned_tasks, soon, topics};

/// Waits for these counts while the program runs; a larger one would never go away again.
fn come_to(words: &Words, program: &mut Process, expected: &[(&str, u64)]) -> Result<()> {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    let mut counts = BTreeMap::new();
    soon("the words to be counted", || {
        program.alive()?;
        counts = words.counts()?;
        Ok(counts == expected)
    })
    .with_context(|| format!("{counts:?}, not {expected:?}"))
}

#[test]
fn the_example_counts_each_word_once_through_a_kill() -> Result<()> {
    let words = Words::new(kafka()?, "kill")?;
    let mut program = words.start("member", "member", "classic")?;
    soon("the example's topics", || {
        program.alive()?;
        let known = topics::list(&words.servers)?;
        Ok(["lines", "word-counts"].iter().all(|name| known.contains_key(&words.topic(name))))
    })?;
    words.write(&[b"to be or not", b"To be", b"\xff\xfe"])?;
    come_to(&words, &mut program, &[("to", 2), ("be", 2), ("or", 1), ("not", 1)])?;

    program.kill()?;
    words.write(&[b"that is the question", b"to be"])?;
    let mut program = words.start("member", "member", "classic")?;
    let all = [("to", 3), ("be", 3), ("or", 1), ("not", 1)];
    let new = [("that", 1), ("is", 1), ("the", 1), ("question", 1)];
    come_to(&words, &mut program, &[all, new].concat())?;

    let status = program.stop()?;
    ensure!(status.success(), "{status}: {}", program.log()?);
    let dead = topics::read(&words.servers, &words.topic("word-dead-letters"))?;
    let reasons: Vec<_> = dead.iter().map(|letter| letter.headers.get("reason")).collect();
    ensure!(reasons == [Some(&"not_text".to_owned())], "{dead:?}");
    words.finish()
}

/// How many tasks of each sub-topology a member has.
fn owned(member: &Process) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for task in owned_tasks(&member.log()?) {
        let (sub_topology, _) = task.split_once('_').context("a task without a partition")?;
        *counts.entry(sub_topology.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

fn come_to_own(member: &mut Process, lines: usize, counts: usize) -> Result<()> {
    let expected = BTreeMap::from([("0".to_owned(), lines), ("1".to_owned(), counts)]);
    soon(&format!("a member to own {expected:?}"), || {
        member.alive()?;
        Ok(owned(member)? == expected)
    })
    .with_context(|| member.log().unwrap_or_default())
}

#[test]
fn two_members_own_half_of_each_topic_and_one_that_leaves_gives_all_back() -> Result<()> {
    let words = Words::new(kafka()?, "halves")?;
    let mut one = words.start("one", "one", "consumer")?;
    come_to_own(&mut one, 2, 4)?;
    let mut two = words.start("two", "two", "consumer")?;
    come_to_own(&mut one, 1, 2)?;
    come_to_own(&mut two, 1, 2)?;
    words.write(&[b"to be or not", b"To be"])?;
    come_to(&words, &mut one, &[("to", 2), ("be", 2), ("or", 1), ("not", 1)])?;
    let status = two.stop()?;
    ensure!(status.success(), "{status}: {}", two.log()?);
    come_to_own(&mut one, 2, 4)?;
    words.write(&[b"be"])?;
    come_to(&words, &mut one, &[("to", 2), ("be", 3), ("or", 1), ("not", 1)])?;
    one.stop()?;
    words.finish()
}

const TABLE_PARTITIONS: i32 = 3;

/// Keeps each line in a store.
struct Keep(StoreHandle<Vec<u8>>);

impl Processor for Keep {
    type In = Vec<u8>;
    type Out = ();

    fn process(&mut self, _: &mut Context<'_, ()>, line: &Vec<u8>) -> Result<(), Failure> {
        *self.0.entry(line)? = Some(line.clone());
        Ok(())
    }
}

fn bytes(topic: String) -> Layout<Vec<u8>> {
    let encode = |value: &Vec<u8>, out: &mut Vec<u8>| out.extend_from_slice(value);
    Layout::new(topic, encode, |bytes| Ok(bytes.to_vec()))
}

/// An application in this process with a table, at the prefix's topics.
fn with_table(words: &Words, queries: &Queries, stop: &Stop) -> Result<App> {
    let [lines, kept, facts, dead] =
        ["lines", "word-counts", "facts", "word-dead-letters"].map(|name| words.topic(name));
    let spec = |name: &str, partitions| TopicSpec {
        name: name.into(),
        partitions,
        replication: 1,
        settings: Vec::new(),
    };
    let topics = [spec(&lines, 2), spec(&kept, 2), spec(&facts, TABLE_PARTITIONS), spec(&dead, 3)];
    create_topics(&words.servers, &[], &topics)?;
    let topology = Topology::new(move |builder| {
        let kept = builder.store("kept", bytes(kept.clone()));
        let value = |record: &SourceRecord<'_>| {
            record.value.map(<[u8]>::to_vec).ok_or(Failure::Drop("empty"))
        };
        let lines = builder.source(lines.clone(), value);
        lines.process(builder, |stores| Keep(stores.get(&kept)));
        builder.table("facts", bytes(facts.clone()));
    })?;
    let state = words.folder().join("state");
    let config = AppConfig::new(words.group(), words.servers.clone(), state, dead);
    let metrics = Metrics::new("tables", &Registry::new())?;
    Ok(App::new(&topology, config, metrics, queries.clone(), stop.clone())?)
}

/// All that a store holds, of all partitions.
fn held(queries: &Queries, store: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut held = BTreeMap::new();
    for (_, store) in queries.stores(store) {
        held.extend(store.range(&[], &[u8::MAX], usize::MAX)?);
    }
    Ok(held)
}

#[test]
fn a_table_is_followed_by_a_member_and_survives_its_restart() -> Result<()> {
    let words = Words::new(kafka()?, "table")?;
    let mut expected = BTreeMap::new();
    for round in 0..2 {
        let (queries, stop) = (Queries::default(), Stop::default());
        let app = with_table(&words, &queries, &stop)?;
        std::thread::scope(|scope| -> Result<()> {
            let running = scope.spawn(|| app.run());
            for partition in 0..TABLE_PARTITIONS {
                let (key, value) = (format!("{partition}").into_bytes(), vec![b'a' + round]);
                let record = (key.clone(), Some(value.clone()));
                broker::write(&words.servers, &words.topic("facts"), partition, &[record])?;
                expected.insert(key, value);
            }
            words.write(&[b"line"])?;
            let seen = soon("the table and the store to be readable", || {
                Ok(held(&queries, "facts")? == expected && held(&queries, "kept")?.len() == 1)
            });
            let ends = topics::ends(&words.servers, &words.topic("facts"));
            stop.set();
            let ran = running.join().map_err(|_| anyhow!("the application panicked"))?;
            seen?;
            ran?;
            let written = ends?.iter().sum::<i64>();
            let ours = i64::from(round + 1) * i64::from(TABLE_PARTITIONS);
            ensure!(
                written == ours,
                "{written} records in the table's topic, of which {ours} are ours"
            );
            Ok(())
        })?;
    }
    words.finish()
}
