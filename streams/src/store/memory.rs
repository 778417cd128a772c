//! A store in memory: a sorted map under a lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::Store;
use crate::error::Result;
use crate::record::{ChangeRef, KeyValue, Offset};

/// Ordered pairs in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// Shared with readers on other threads; held for one operation.
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<Offset>,
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.pairs.get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<KeyValue>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let pairs = state.pairs.range::<[u8], _>(bounds).take(limit);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, changes: &[ChangeRef<'_>], position: Option<Offset>) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => state.pairs.insert(key.to_vec(), value.to_vec()),
                None => state.pairs.remove(*key),
            };
        }
        state.position = position.or(state.position);
        Ok(())
    }

    fn expire(&self, before: &[u8]) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.pairs = state.pairs.split_off(before);
        Ok(())
    }

    fn position(&self) -> Result<Option<Offset>> {
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner).position)
    }
}
