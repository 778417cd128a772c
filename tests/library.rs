//! The engine without this product: the library's own example, as a program on the real broker.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use tests::support::stack::kafka;
use tests::support::words::Words;
use tests::support::{Process, owned_tasks, soon, topics};

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
    Ok(())
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
    come_to(&words, &mut one, &[("to", 2), ("be", 3), ("or", 1), ("not", 1)])
}
