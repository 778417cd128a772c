//! A Kafka that asks everybody who they are: TLS with an authority of its own, SCRAM, and the ACLs of
//! `infra/kafka/acls.txt`, in front of a registry with TLS and a password. Each program does its work
//! with its own user, and says in one line what it is refused.
//!
//! A target of its own: its broker and its Connect worker are a second stack, beside the one of all.

#[path = "security/scene.rs"]
mod scene;

use anyhow::{Result, ensure};
use scene::{Scene, Tls};
use schemas::topic::Topic;
use tests::support::process::Said;
use tests::support::soon;

/// Pairs of the load.
const PAIRS: usize = 10;

/// It ended by itself with one line beside those of its start, which says all of `words`.
fn refuses(said: &Said, words: &[&str]) -> Result<()> {
    ensure!(said.code.is_some_and(|code| code != 0), "exit code {:?}:\n{}", said.code, said.log);
    let last = said.log.lines().last().unwrap_or_default();
    for word in words {
        ensure!(last.contains(word), "{word:?} is not in the last line:\n{}", said.log);
    }
    let named = ["processor: ", "producer: "].iter().any(|name| last.starts_with(name));
    ensure!(named, "the program does not name itself:\n{}", said.log);
    // A client that is refused tries again and again; its own words are no news.
    let others = said.log.lines().filter(|line| !line.contains(" INFO ")).count();
    ensure!(others == 1, "{others} lines:\n{}", said.log);
    Ok(())
}

#[test]
fn each_program_works_with_its_own_user_and_says_what_it_is_refused() -> Result<()> {
    let scene = Scene::start()?;
    everything_works(&scene)?;
    a_wrong_password_is_named(&scene)?;
    a_certificate_that_proves_nothing_is_named(&scene)?;
    a_missing_acl_is_named(&scene)?;
    the_registry_refuses_in_one_line(&scene)?;
    scene.finish()
}

fn everything_works(scene: &Scene) -> Result<()> {
    scene.topics("topics", Tls::Trusted)?.finish()?;
    let mut member = scene.member("processor", "one", &["--kafka", "compression.type=zstd"])?;
    member.ready()?;
    let mut view = scene.view("view")?;
    view.ready()?;
    let pairs = PAIRS.to_string();
    let load = ["--events", "2000", "--keys", &pairs, "--rate", "1000", "--event-rate", "10"];
    scene.load("producer", Tls::Trusted, &load)?.finish()?;
    for (name, reader) in [("the member", &mut member), ("the view", &mut view)] {
        let url = format!("http://{}/v1/exchanges", reader.address()?);
        soon(&format!("{PAIRS} pairs at {name}"), || {
            reader.process.alive()?;
            let answer: serde_json::Value = reqwest::blocking::get(&url)?.json()?;
            let counts = answer["exchanges"].as_array().into_iter().flatten();
            let pairs = counts.filter_map(|exchange| exchange["pairs"].as_u64()).sum::<u64>();
            Ok(usize::try_from(pairs)? == PAIRS)
        })?;
    }
    let address = view.address()?;
    let said = scene.end_pair("pairs", Tls::Trusted, &address)?.finish()?;
    let events = scene.topic(Topic::Events);
    ensure!(said.out.ends_with(&format!("written to {events}: 1\n")), "{}", said.out);
    let said = scene.end_pair("view", Tls::Trusted, &address)?.outcome()?;
    refuses(&said, &[&events, "its ACLs deny it", "infra/kafka/acls.txt"])?;
    let connect = scene.connect()?;
    connect.rows_at_least("latest", PAIRS)?;
    soon("the sink to run", || connect.are_running())?;
    drop(connect);
    view.stop()?;
    member.stop().map(|_| ())
}

/// Every program, with this user, to its end.
fn each(scene: &Scene, user: &str, tls: Tls) -> Result<Vec<Said>> {
    Ok(vec![
        scene.topics(user, tls)?.outcome()?,
        scene.load(user, tls, &["--events", "10"])?.outcome()?,
        scene.member_process(user, tls, "refused", &[])?.outcome()?,
        scene.view_process(user, tls)?.outcome()?,
    ])
}

fn a_wrong_password_is_named(scene: &Scene) -> Result<()> {
    for said in each(scene, "nobody", Tls::Trusted)? {
        let words =
            ["refuses this client", "uthentication failed", "correct the user and password"];
        refuses(&said, &words)?;
    }
    Ok(())
}

fn a_certificate_that_proves_nothing_is_named(scene: &Scene) -> Result<()> {
    for said in each(scene, "processor", Tls::Expired)? {
        refuses(
            &said,
            &["refuses this client", "certificate verify failed", "renew the broker's"],
        )?;
    }
    let said = scene.topics("topics", Tls::Public)?.outcome()?;
    refuses(&said, &["certificate", "ssl.ca.location"])
}

fn a_missing_acl_is_named(scene: &Scene) -> Result<()> {
    let events = scene.topic(Topic::Events);
    // Of a topic that its user may not see, a program hears as little as of one that is not there.
    let said = scene.member_process("view", Tls::Trusted, "refused", &[])?.outcome()?;
    refuses(&said, &[&events, "its ACLs deny it", "infra/kafka/acls.txt"])?;
    let said = scene.load("view", Tls::Trusted, &["--events", "10"])?.outcome()?;
    refuses(&said, &["does not exist, or this user may not write to it", "allow that user Write"])?;
    // One that it may read.
    let said = scene.load("processor", Tls::Trusted, &["--events", "10"])?.outcome()?;
    refuses(&said, &[&events, "may not write", "allow that user Write"])?;
    let said = scene.view_process("producer", Tls::Trusted)?.outcome()?;
    refuses(&said, &["its ACLs deny it", "infra/kafka/acls.txt"])?;
    let said = scene.topics("view", Tls::Trusted)?.outcome()?;
    refuses(&said, &["cannot be created", "infra/kafka/acls.txt"])?;
    let other = ["--application-id", "somebody-elses"];
    let said = scene.member_process("processor", Tls::Trusted, "refused", &other)?.outcome()?;
    refuses(&said, &["its ACLs deny the", "--application-id"])
}

fn the_registry_refuses_in_one_line(scene: &Scene) -> Result<()> {
    for (login, ca, words) in [
        ("registry:wrong", true, ["401 Unauthorized", "correct --schema-registry-user"]),
        ("registry:secret", false, ["certificate", "--schema-registry-ca"]),
    ] {
        let registry = scene.registry(login, ca);
        refuses(&scene.load_from("producer", &registry)?.outcome()?, &words)?;
        refuses(&scene.member_from("processor", &registry)?.outcome()?, &words)?;
    }
    Ok(())
}
