//! A store in memory: a sorted map under a lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::{ChangeRef, Pair, Store};
use crate::error::Result;
use crate::record::Offset;

/// Ordered pairs in memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// Readers of other threads share it; held for one operation.
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<Offset>,
}

impl Store for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.pairs.get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
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

    fn position(&self) -> Result<Option<Offset>> {
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner).position)
    }
}
