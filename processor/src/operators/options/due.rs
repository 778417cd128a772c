//! The rows of a table in the order in which they close or are deleted.
//!
//! Derived from the store and kept in memory: read when it is first needed, updated from then on,
//! and forgotten when the task may have been discarded.
//!
//! Invariant: once read, it has each row that has a due time, at that time, and no other.

use std::collections::BTreeSet;

use schemas::Timestamp;
use streams::store::StoreHandle;

use super::row::Row;
use crate::operators::Result;
use crate::operators::pairs::AFTER_ALL;

/// Keys per page when the index is first built.
const PAGE: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct DueRows {
    rows: BTreeSet<(Timestamp, Box<[u8]>)>,
    is_read: bool,
}

impl DueRows {
    /// The store may no longer be what it was.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The due time of a row has changed, or has not.
    pub(super) fn change(
        &mut self,
        key: &[u8],
        before: Option<Timestamp>,
        after: Option<Timestamp>,
    ) {
        if !self.is_read || before == after {
            return;
        }
        if let Some(before) = before {
            self.rows.remove(&(before, key.into()));
        }
        if let Some(after) = after {
            self.rows.insert((after, key.into()));
        }
    }

    /// The first row that is due by a time.
    pub(super) fn first<R: Row>(
        &mut self,
        rows: &StoreHandle<R>,
        by: Timestamp,
    ) -> Result<Option<Box<[u8]>>> {
        self.read(rows)?;
        let first = self.rows.first().filter(|(due, _)| *due <= by);
        Ok(first.map(|(_, key)| key.clone()))
    }

    /// Finds the rows of the store, once.
    fn read<R: Row>(&mut self, rows: &StoreHandle<R>) -> Result<()> {
        let mut from = Vec::new();
        while !self.is_read {
            let page = rows.range(&from, &AFTER_ALL, PAGE)?;
            self.is_read = page.len() < PAGE;
            for (key, row) in page {
                from.clone_from(&key);
                from.push(0);
                if let Some(due) = row.life().due() {
                    self.rows.insert((due, key.into()));
                }
            }
        }
        Ok(())
    }
}
