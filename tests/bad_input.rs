//! What cannot be started says why: an exit code that is not 0, one line that names the thing and
//! the way out, and nothing half done.

#[path = "bad_input/refusal.rs"]
mod refusal;

use std::net::TcpListener;

use anyhow::{Result, ensure};
use refusal::refuses;
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use serde_json::{Value, json};
use tests::support::{Installation, broker, soon, topics};

/// A port on which nothing listens, as far as anybody knows.
const NOBODY: &str = "127.0.0.1:1";

fn nothing_exists(installation: &Installation) -> Result<()> {
    let topics = topics::list(&installation.stack.bootstrap_servers)?;
    let made: Vec<_> = topics.keys().filter(|t| t.starts_with(&installation.prefix)).collect();
    ensure!(made.is_empty(), "made {made:?}");
    ensure!(!installation.state("one").exists(), "made a state directory");
    Ok(())
}

#[test]
fn an_unknown_flag_is_named() -> Result<()> {
    let installation = Installation::without_topics("flag")?;
    for (program, command) in [("processor", "run"), ("producer", "load")] {
        let said = installation.command(program, &[command, "--no-such-flag"])?.outcome()?;
        ensure!(said.code == Some(2), "{said:?}");
        ensure!(said.log.contains("unexpected argument '--no-such-flag'"), "{said:?}");
        ensure!(said.log.contains("--help"), "{said:?}");
    }
    nothing_exists(&installation)?;
    installation.finish()
}

#[test]
fn a_missing_file_is_named_before_anything_is_published() -> Result<()> {
    let installation = Installation::new("file")?;
    let there = installation.folder().join("there.jsonl");
    std::fs::write(&there, "")?;
    let files = [&*there.to_string_lossy(), "/no/such/file.jsonl"];
    let said =
        installation.command("processor", &[&["candles"][..], &files].concat())?.outcome()?;
    refuses(&said, &["cannot open /no/such/file.jsonl"])?;
    ensure!(said.out.is_empty(), "{said:?}");
    let said = installation.producer(&[&["replay"][..], &files].concat())?.outcome()?;
    refuses(&said, &["cannot open /no/such/file.jsonl"])?;
    ensure!(installation.read(Topic::Events)?.is_empty(), "events were published");
    installation.finish()
}

#[test]
fn a_broker_that_does_not_answer_is_named() -> Result<()> {
    let installation = Installation::without_topics("broker")?;
    let kafka = ["--bootstrap-servers", NOBODY, "--topic-prefix", &installation.prefix];
    let registry = ["--schema-registry-url", &installation.stack.registry];
    let state = installation.state("one");
    let member = ["--listen", "127.0.0.1:0", "--state-dir", &state.to_string_lossy()];
    let quick = ["--connect-timeout", "2s"];
    // Side by side: each waits for its own patience.
    let run = [&["run"][..], &kafka, &registry, &member].concat();
    let create = [&["topics", "create"][..], &kafka].concat();
    let load = [&["load"][..], &kafka, &registry, &quick].concat();
    let started = [
        installation.command("processor", &run)?,
        installation.command("processor", &create)?,
        installation.command("producer", &load)?,
    ];
    for process in started {
        refuses(&process.outcome()?, &[NOBODY, "does not answer", "set --bootstrap-servers"])?;
    }
    nothing_exists(&installation)?;
    installation.finish()
}

#[test]
fn a_registry_that_does_not_answer_is_named() -> Result<()> {
    let installation = Installation::new("registry")?;
    let (url, state) = (format!("http://{NOBODY}/apis"), installation.state("one"));
    let kafka = [
        "--bootstrap-servers",
        &installation.stack.bootstrap_servers,
        "--topic-prefix",
        &installation.prefix,
        "--schema-registry-url",
        &url,
    ];
    let member = ["--listen", "127.0.0.1:0", "--state-dir", &state.to_string_lossy()];
    let words = [&url, "does not answer", "set --schema-registry-url"];
    let run = installation.command("processor", &[&["run"][..], &kafka, &member].concat())?;
    refuses(&run.outcome()?, &words)?;
    let load = installation.command("producer", &[&["load"][..], &kafka].concat())?;
    refuses(&load.outcome()?, &words)?;
    ensure!(!state.exists(), "made a state directory");
    ensure!(installation.read(Topic::Events)?.is_empty(), "events were published");
    installation.finish()
}

#[test]
fn a_registered_schema_that_is_incompatible_is_named() -> Result<()> {
    let installation = Installation::new("schema")?;
    let subject = format!("{}-value", installation.topic(Topic::Events));
    let url = format!("{}/subjects/{subject}/versions", installation.stack.registry);
    let other = json!({
        "type": "record", "name": "MarketEvent", "namespace": "market",
        "fields": [{"name": "price", "type": "boolean"}],
    });
    let http = reqwest::blocking::Client::new();
    let body = json!({"schemaType": "AVRO", "schema": other.to_string()});
    http.post(&url).json(&body).send()?.error_for_status()?;
    let words = [subject.as_str(), "incompatible", "use another --topic-prefix"];
    refuses(&installation.member("one", &[])?.process.outcome()?, &words)?;
    refuses(&installation.producer(&["load", "--events", "1"])?.outcome()?, &words)?;
    let versions: Value = http.get(&url).send()?.json()?;
    ensure!(versions == json!([1]), "versions {versions}");
    ensure!(!installation.state("one").exists(), "made a state directory");
    ensure!(installation.read(Topic::Events)?.is_empty(), "events were published");
    installation.finish()
}

#[test]
fn topics_that_do_not_exist_are_named() -> Result<()> {
    let installation = Installation::without_topics("topics")?;
    let words = ["does not exist", "processor topics create", &installation.prefix];
    refuses(&installation.member("one", &[])?.process.outcome()?, &words)?;
    refuses(&installation.producer(&["load", "--events", "1"])?.outcome()?, &words)?;
    nothing_exists(&installation)?;
    installation.finish()
}

#[test]
fn a_topic_with_other_partitions_than_the_state_is_named() -> Result<()> {
    let installation = Installation::new("partitions")?;
    let kafka = ["--bootstrap-servers", &installation.stack.bootstrap_servers];
    let other = ["--partitions", "3", "--topic-prefix", &installation.prefix];
    let create = [&["topics", "create"][..], &kafka, &other].concat();
    let said = installation.command("processor", &create)?.outcome()?;
    refuses(&said, &["exists with 4 partitions, not 3", "--partitions 4"])?;

    let member = installation.ready_member("one", &[])?;
    member.stop()?;
    // Those of the group, too: changelogs and repartition topics.
    let all = topics::list(&installation.stack.bootstrap_servers)?;
    let names: Vec<_> =
        all.into_keys().filter(|name| name.starts_with(&installation.prefix)).collect();
    broker::delete(&installation.stack.bootstrap_servers, &names, &[])?;
    soon("the topics to be gone", || {
        let known = topics::list(&installation.stack.bootstrap_servers)?;
        Ok(names.iter().all(|name| !known.contains_key(name)))
    })?;
    installation.create_topics(DEFAULT_PARTITIONS - 1)?;
    let said = installation.member("one", &[])?.process.outcome()?;
    let events = installation.topic(Topic::Events);
    refuses(&said, &[&events, "has 3 partitions", "was made for 4", "give it back 4 partitions"])?;
    ensure!(installation.processed()? == 0, "it has joined the group");
    installation.finish()
}

#[test]
fn a_topic_that_was_created_again_is_named() -> Result<()> {
    let installation = Installation::new("recreated")?;
    let bootstrap = &installation.stack.bootstrap_servers;
    let member = installation.ready_member("one", &[])?;
    member.stop()?;
    // The same name and shape, and nothing of what the state was made of.
    let latest = installation.topic(Topic::Latest);
    broker::delete(bootstrap, std::slice::from_ref(&latest), &[])?;
    soon("the topic to be gone", || Ok(!topics::list(bootstrap)?.contains_key(&latest)))?;
    installation.create_topics(DEFAULT_PARTITIONS)?;
    let said = installation.member("one", &[])?.process.outcome()?;
    refuses(&said, &[&latest, "was deleted and created again", "move the state directory away"])?;
    // The way out.
    std::fs::remove_dir_all(installation.state("one"))?;
    let member = installation.ready_member("one", &[])?;
    installation.finish_with([member])
}

#[test]
fn a_state_directory_in_use_is_named() -> Result<()> {
    let installation = Installation::new("state")?;
    let mut first = installation.ready_member("one", &[])?;
    let said = installation.member("one", &[])?.process.outcome()?;
    let state = installation.state("one");
    refuses(&said, &[&state.to_string_lossy(), "is in use by another process", "--state-dir"])?;
    // The first one has not noticed.
    installation.process(&["load", "--events", "1000", "--keys", "10"], &mut [&mut first])?;
    installation.finish_with([first])
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let installation = Installation::new("port")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let said = installation.member("one", &["--listen", &address])?.process.outcome()?;
    refuses(&said, &["cannot listen on", &address, "set --listen"])?;
    ensure!(!installation.state("one").exists(), "made a state directory");
    let run = ["run", "--venue", "coinbase", "--products", "BTC-USD", "--metrics", &address];
    let said = installation.producer(&[&run[..], &["--url", "ws://127.0.0.1:1"]].concat())?;
    refuses(&said.outcome()?, &["cannot serve metrics at", &address, "--metrics"])?;
    installation.finish()
}
