//! How a program says that it cannot start.

use anyhow::{Result, ensure};
use tests::support::process::Said;

/// It failed, and the last line that it wrote says all of `words`.
pub(crate) fn refuses(said: &Said, words: &[&str]) -> Result<()> {
    ensure!(said.code.is_some_and(|code| code != 0), "exit code {:?}:\n{}", said.code, said.log);
    ensure!(!said.log.contains("panicked"), "{}", said.log);
    let last = said.log.lines().last().unwrap_or_default();
    for word in words {
        ensure!(last.contains(word), "{word:?} is not in the last line:\n{}", said.log);
    }
    let named = ["processor: ", "producer: "].iter().any(|name| last.starts_with(name));
    ensure!(named, "the program does not name itself:\n{}", said.log);
    Ok(())
}
