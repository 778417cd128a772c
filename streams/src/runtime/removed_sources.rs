//! A group that has read a source goes on to read it, or a person says that it shall not.
//!
//! Committed offsets name the sources of their group. A member that starts without one of them would leave
//! it unread, until its records are deleted: it is refused when it gets its first partitions. One that
//! starts with a further source adds it: the others go on, and the last one that is replaced ends the step.

use std::collections::BTreeSet;

use super::config::AppConfig;
use crate::error::{Error, Result};
use crate::topology::Topology;

/// Checks the sources that committed offsets name.
///
/// # Errors
/// [`Error::Invalid`] names the group and the sources that it lacks.
pub(super) fn check(
    config: &AppConfig,
    topology: &Topology,
    listed: &BTreeSet<String>,
) -> Result<()> {
    let missing = missing(topology, listed, &config.removed_sources);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "group {} has read {missing}, and this member does not: nobody would read it any more; start it with \
         the sub-topologies of the group, or state those that are removed (--removed-topologies)",
        config.application_id
    )))
}

/// The listed sources that are neither read nor removed.
fn missing(topology: &Topology, listed: &BTreeSet<String>, removed: &[String]) -> String {
    let is_known =
        |source: &String| topology.of_source(source).is_some() || removed.contains(source);
    let missing = listed.iter().filter(|source| !is_known(source));
    missing.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;

    #[test]
    fn a_source_is_missing_when_it_is_neither_read_nor_removed() -> Result<()> {
        let topology = Topology::new(|builder: &mut Builder| {
            builder.source("events", |record| Ok(record.key.to_vec()));
        })?;
        let listed = ["events", "quotes", "swaps"].map(str::to_owned).into();
        let removed =
            |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(missing(&topology, &listed, &[]), "quotes, swaps");
        assert_eq!(missing(&topology, &listed, &removed(&["quotes"])), "swaps");
        assert_eq!(missing(&topology, &listed, &removed(&["swaps", "quotes"])), "");
        assert_eq!(missing(&topology, &BTreeSet::new(), &[]), "");
        Ok(())
    }
}
