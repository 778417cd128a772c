//! A store that follows its topic: the one loop of restore, standby and view.
//!
//! ```text
//! restoring   records ──► overlay    nobody reads it yet    written when there is much of it
//! following   records ──► overlay    readable at once       written on a schedule
//! ```
//!
//! A restore ends in memory, with the newest value of each key in the overlay. The disk gets it in the
//! background, in sorted runs with a position each. A process that is killed resumes from the last run.
//!
//! Invariant: everything before `next` is in the store or in its overlay, and nothing else is. So
//! a replica can be handed to a task at any time: the task replays from `next`.

use std::sync::Arc;

use crate::changes::Changes;
use crate::error::Result;
use crate::record::{Batch, ChangeRef, Offset, Partition, Timestamp};
use crate::store::Committed;
use crate::topology::StoreSpec;

/// Records gathered before they are given to the store.
const BATCH_RECORDS: usize = 4096;

/// One store of one partition that follows its topic.
pub struct Replica {
    spec: StoreSpec,
    store: Arc<Committed>,
    batch: Batch,
    next: Offset,
    taken: u64,
    following: bool,
    /// The publisher of its changes, and the partition under which they are published.
    told: Option<(Partition, Changes)>,
}

impl Replica {
    /// Resumes at the store's position. The overlay has to be empty.
    pub fn new(spec: StoreSpec, store: Arc<Committed>) -> Result<Self> {
        let next = store.position()?.unwrap_or_default();
        let batch = Batch::default();
        Ok(Self { spec, store, batch, next, taken: 0, following: false, told: None })
    }

    /// Publishes the changes that it takes while it follows, under this partition.
    #[must_use]
    pub fn publishing_to(self, partition: Partition, changes: &Changes) -> Self {
        Self { told: Some((partition, changes.clone())), ..self }
    }

    /// The store's description.
    pub const fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    /// The store.
    pub const fn store(&self) -> &Arc<Committed> {
        &self.store
    }

    /// The next offset of the topic that it has not seen.
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// Records taken since it began.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// It has been at the end once, and is readable.
    pub const fn is_following(&self) -> bool {
        self.following
    }

    /// Takes the record at `offset`; those between it and the one before are known to be none.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] for a record that is not of this store.
    pub fn take(
        &mut self,
        offset: Offset,
        timestamp: Timestamp,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        self.batch.push(offset, timestamp, key, value);
        self.next = offset.next();
        self.taken += 1;
        if self.batch.len() >= BATCH_RECORDS { self.write() } else { Ok(()) }
    }

    /// Skips to `next`: the offsets before it are transaction markers, or records that are gone.
    pub fn pass(&mut self, next: Offset) {
        self.next = self.next.max(next);
    }

    /// Gives the gathered records to the store's overlay.
    pub fn write(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let keys = self.spec.restore(&self.batch, &self.store)?;
        if let (true, Some((partition, told))) = (self.following, &self.told)
            && told.has_listeners()
        {
            let owned = |(key, value): ChangeRef<'_>| (key.to_vec(), value.map(<[u8]>::to_vec));
            let changes = keys.changes(&self.batch).map(owned).collect();
            told.publish_changes(&self.spec.name, partition.0, Some(self.next), changes);
        }
        self.batch.clear();
        Ok(())
    }

    /// It is at the end: changes are published from here on.
    pub fn follow(&mut self) -> Result<()> {
        self.write()?;
        self.following = true;
        Ok(())
    }

    /// Freezes the overlay for [`Committed::write_frozen`]. False when it is empty, or while an earlier
    /// freeze is not yet written.
    pub fn freeze(&mut self) -> Result<bool> {
        self.write()?;
        Ok(self.store.live_bytes() > 0 && self.store.freeze(self.next))
    }
}
