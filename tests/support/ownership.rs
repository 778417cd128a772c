//! The tasks of a member, by its log.

use std::collections::{BTreeMap, BTreeSet};

/// The tasks that a log says its member has: `0_3` is partition 3 of sub-topology 0.
///
/// Counted, for one of its threads may tell of a loss after another has got the task.
pub fn owned_tasks(log: &str) -> BTreeSet<String> {
    let mut times = BTreeMap::<&str, i32>::new();
    for line in log.lines() {
        let change = match line {
            given if given.contains("tasks assigned") => 1,
            taken if taken.contains("tasks revoked") => -1,
            _ => continue,
        };
        let list = line.split(" tasks=\"").nth(1).and_then(|rest| rest.split('"').next());
        for task in list.unwrap_or_default().split_whitespace() {
            let count = times.entry(task).or_default();
            // A task that was lost while it was being assigned has no line that assigns it.
            *count = (*count + change).max(0);
        }
    }
    let owned = times.into_iter().filter(|(_, count)| *count > 0);
    owned.map(|(task, _)| task.to_owned()).collect()
}
