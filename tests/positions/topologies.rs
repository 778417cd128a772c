//! The list of sub-topologies of a group: one is added by replacing members, and removed when a person says
//! so.

use anyhow::Result;
use tests::support::Installation;

use super::{LATER, LOAD, START, refuses};

const PRICES: [&str; 2] = ["--topologies", "prices"];
const BOTH: [&str; 2] = ["--topologies", "prices,quotes"];

/// A member with these flags processes a load to its end, which commits its list.
fn processes(installation: &Installation, flags: &[&str], load: &[&str]) -> Result<()> {
    let mut member = installation.ready_member("one", flags)?;
    installation.process(load, &mut [&mut member])?;
    member.stop()?;
    Ok(())
}

#[test]
fn a_member_that_lacks_a_sub_topology_of_its_group_is_refused_until_it_is_removed() -> Result<()> {
    let installation = Installation::new("topologies")?;
    processes(&installation, &PRICES, &[&LOAD[..], &START].concat())?;
    // One more is no question.
    processes(&installation, &BOTH, &[&LOAD[..], &LATER].concat())?;
    let said = installation.member("one", &PRICES)?.process.outcome()?;
    let (group, quotes) = (installation.application_id(), format!("{}quotes", installation.prefix));
    refuses(&said, &[&group, "has read", &quotes, "--removed-topologies"])?;

    let removed = [&PRICES[..], &["--removed-topologies", "quotes"]].concat();
    let more = ["--start-ms", "1700020000000", "--seed", "3"];
    processes(&installation, &removed, &[&LOAD[..], &more].concat())?;
    let again = ["--start-ms", "1700030000000", "--seed", "4"];
    processes(&installation, &PRICES, &[&LOAD[..], &again].concat())?;
    installation.outputs_equal_the_fold()?;
    installation.finish()
}
