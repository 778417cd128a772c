//! The rows of the store `index` in this process, for reads that need all of them.

use schemas::topic::Topic;
use schemas::{Codec, Index};
use streams::runtime::Queries;
use streams::store::Committed;
use streams::{Error, Result};

use crate::store_keys;
use crate::topology::store_name;

/// Rows per page of a scan.
const PAGE: usize = 4096;

/// Gives every row of the local partitions of `index`. Returns the number of partitions. A row whose bytes
/// cannot be read is an error.
pub fn visit_indexes(
    queries: &Queries,
    codec: &Codec,
    mut each: impl FnMut(&Index),
) -> Result<usize> {
    let stores = queries.stores(store_name(Topic::Index));
    stores.iter().try_for_each(|(_, store)| visit(store, codec, &mut each))?;
    Ok(stores.len())
}

fn visit(store: &Committed, codec: &Codec, each: &mut impl FnMut(&Index)) -> Result<()> {
    let mut from = Vec::new();
    loop {
        let page = store.range(&from, &store_keys::after_prefix(&[]), PAGE)?;
        for (_, value) in &page {
            let row = codec.decode(value).map_err(|error| {
                let name = store_name(Topic::Index);
                Error::Corrupt(format!(
                    "store {name}: {error}; delete its directory, and it is restored from the topic"
                ))
            })?;
            each(&row);
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
