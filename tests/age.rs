//! An answer of a member is never younger than the last word of its group: not while the network is
//! cut, and not when the process wakes up.

#[expect(dead_code, reason = "reads.rs uses all of it")]
#[path = "reads/steady.rs"]
mod steady;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use steady::Steady;
use tests::support::proxy::{Network, Proxy};
use tests::support::{Installation, soon};

const LOAD: [&str; 7] = ["load", "--events", "2000", "--keys", "40", "--event-rate", "100"];
/// What an idle member's answers are at most: a proof a second, and a busy machine.
const FRESH_MS: u64 = 3_000;
/// An age at which it can no longer be taken for that.
const OLD_MS: u64 = 6_000;
/// How long the process sleeps.
const SLEEP: Duration = Duration::from_secs(4);

fn an_isolated_member_says_how_old_its_answers_are(protocol: &str) -> Result<()> {
    let installation = Installation::new(&format!("age-{protocol}"))?;
    let proxy = Proxy::start(&installation.stack)?;
    let setting = proxy.setting();
    let behind = ["--kafka", &setting, "--group-protocol", protocol];
    let mut member = installation.ready_member("one", &behind)?;
    installation.process(&LOAD, &mut [&mut member])?;
    let url = format!("http://{}", member.address()?);
    // It has nothing to commit, and is the owner.
    let reader = Steady::start(&url);
    reader.is_fresh(FRESH_MS)?;
    // Its group may have given everything away by now: nobody can tell it.
    proxy.set(Network::Holds);
    let cut = Instant::now();
    reader.ages(OLD_MS)?;
    reader.stop()?;

    member.process.signal("STOP")?;
    let asleep = Instant::now();
    // Asked while it sleeps: the first that it answers.
    let first = {
        let url = format!("{url}/v1/latest?base=L00000&quote=USD&exchange=load");
        std::thread::spawn(move || -> Result<u64> {
            let http = reqwest::blocking::Client::builder().timeout(Duration::from_mins(1));
            let answer = http.build()?.get(url).send()?;
            let lag = answer.headers().get("lag-ms").context("no age")?;
            Ok(lag.to_str()?.parse()?)
        })
    };
    soon("the time to pass", || Ok(asleep.elapsed() >= SLEEP))?;
    let least = cut.elapsed();
    member.process.signal("CONT")?;
    let lag = first.join().ok().context("the reader panicked")??;
    ensure!(u128::from(lag) >= least.as_millis(), "{lag} ms, and {least:?} without a word");

    let reader = Steady::start(&url);
    proxy.set(Network::Passes);
    reader.is_fresh(FRESH_MS)?;
    reader.stop()?;
    installation.finish_with([member])
}

#[test]
fn an_isolated_member_of_a_classic_group_says_how_old_its_answers_are() -> Result<()> {
    an_isolated_member_says_how_old_its_answers_are("classic")
}

#[test]
fn an_isolated_member_of_a_kip_848_group_says_how_old_its_answers_are() -> Result<()> {
    an_isolated_member_says_how_old_its_answers_are("consumer")
}
