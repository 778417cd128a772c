//! A windowed store on disk: a keyspace for each span of segments, and one for what is known of them.
//!
//! ```text
//! NAME          position, and the numbers of the spans that exist
//! NAME.41       windows of span 41
//! NAME.42       windows of span 42
//! ```
//!
//! A span whose segments have all expired is deleted as a whole, without tombstones or compaction.
//!
//! Invariants:
//! - A span is noted before its keyspace is made and until its keyspace is gone, so none is left behind.
//! - The position is written after the windows that it claims.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{FjallDatabase, FjallStore};
use crate::error::{Error, Result};
use crate::record::{ChangeRef, KeyValue, Offset};
use crate::retention::Retention;
use crate::store::Store;

/// Greater than the key of every span.
const AFTER_SPANS: [u8; 9] = [u8::MAX; 9];

/// Windows in spans of segments.
pub(super) struct SegmentedStore {
    database: Arc<FjallDatabase>,
    name: String,
    /// Segments of a span.
    span: u64,
    base: FjallStore,
    /// By number. Read for one operation, so that no span is removed under a reader.
    spans: RwLock<Spans>,
}

type Spans = BTreeMap<u64, FjallStore>;

impl SegmentedStore {
    /// Opens the store of that name with all its spans, which fences their earlier owner.
    pub(super) fn open(
        database: Arc<FjallDatabase>,
        name: &str,
        retention: Retention,
    ) -> Result<Self> {
        let base = database.store(name)?;
        let mut spans = Spans::new();
        for (key, _) in base.range(&[], &AFTER_SPANS, usize::MAX)? {
            let span = key.try_into().map(u64::from_be_bytes).map_err(|_| {
                Error::Corrupt(format!(
                    "store {name}: the number of a span does not have 8 bytes; move --state-dir away \
                     and its stores are restored from the topics"
                ))
            })?;
            spans.insert(span, database.store(&keyspace(name, span))?);
        }
        let (name, span) = (name.to_owned(), retention.span());
        Ok(Self { database, name, span, base, spans: RwLock::new(spans) })
    }

    fn span_of(&self, key: &[u8]) -> u64 {
        Retention::segment(key) / self.span
    }

    fn read(&self) -> RwLockReadGuard<'_, Spans> {
        self.spans.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Spans> {
        self.spans.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a span that may be new. Called by the one writer of the store.
    fn ensure(&self, span: u64) -> Result<()> {
        if self.read().contains_key(&span) {
            return Ok(());
        }
        self.base.apply(&[(&span.to_be_bytes(), Some(&[]))], None)?;
        let store = self.database.store(&keyspace(&self.name, span))?;
        self.write().insert(span, store);
        Ok(())
    }
}

/// The name of a span's keyspace.
fn keyspace(name: &str, span: u64) -> String {
    format!("{name}.{span}")
}

impl Store for SegmentedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.read().get(&self.span_of(key)) {
            Some(store) => store.get(key),
            None => Ok(None),
        }
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        let mut pairs = Vec::new();
        if from < to {
            for (_, store) in self.read().range(self.span_of(from)..=self.span_of(to)) {
                pairs.extend(store.range(from, to, limit - pairs.len())?);
                if pairs.len() == limit {
                    break;
                }
            }
        }
        Ok(pairs)
    }

    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        let same =
            |(a, _): &ChangeRef<'_>, (b, _): &ChangeRef<'_>| self.span_of(a) == self.span_of(b);
        for part in changes.chunk_by(same) {
            let span = self.span_of(part[0].0);
            self.ensure(span)?;
            if let Some(store) = self.read().get(&span) {
                store.apply(part, None)?;
            }
        }
        if position.is_some() { self.base.apply(&[], position) } else { Ok(()) }
    }

    fn position(&self) -> Result<Option<Offset>> {
        self.base.position()
    }

    fn expire(&self, before: &[u8]) -> Result<()> {
        let kept = self.span_of(before);
        loop {
            let Some(span) = self.read().keys().next().copied().filter(|span| *span < kept) else {
                return Ok(());
            };
            // Its handle is dropped with the lock held: no reader has it.
            self.write().remove(&span);
            self.database.remove_store(&keyspace(&self.name, span))?;
            self.base.apply(&[(&span.to_be_bytes(), None)], None)?;
        }
    }
}
