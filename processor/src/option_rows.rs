//! The rows of the store `options` in this process, for reads that need all of them.

use schemas::topic::Topic;
use schemas::{Codec, OptionState, PairKey};
use streams::runtime::Queries;
use streams::store::Committed;
use streams::{Error, Result};

use crate::store_keys;
use crate::topology::store_name;

/// Rows per page of a scan.
const PAGE: usize = 4096;

/// Gives every row of the local partitions of `options`, those of a partition in the order of their
/// keys. A row whose bytes cannot be read is an error.
pub fn visit_options(
    queries: &Queries,
    codec: &Codec,
    mut each: impl FnMut(&PairKey, &OptionState),
) -> Result<()> {
    let stores = queries.stores(store_name(Topic::Options));
    stores.iter().try_for_each(|(_, store)| visit(store, codec, &mut each))
}

/// The same of one store.
pub fn visit(
    store: &Committed,
    codec: &Codec,
    mut each: impl FnMut(&PairKey, &OptionState),
) -> Result<()> {
    let corrupt = |reason: &dyn std::fmt::Display| {
        let name = store_name(Topic::Options);
        Error::Corrupt(format!(
            "store {name}: {reason}; delete its directory, and it is restored from the topic"
        ))
    };
    let mut from = Vec::new();
    loop {
        let page = store.range(&from, &store_keys::after_prefix(&[]), PAGE)?;
        for (key, value) in &page {
            let pair = store_keys::read_pair(key).ok_or_else(|| corrupt(&"a key is not a pair"))?;
            let row = codec.decode(value).map_err(|error| corrupt(&error))?;
            each(&pair, &row);
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => {
                from.clone_from(key);
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}
