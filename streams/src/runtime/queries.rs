//! Interactive queries: the committed stores of this process, readable from any thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::changes::{ChangeEvent, Changes};
use crate::store::Committed;

/// By name and partition.
type Stores = BTreeMap<(String, i32), Arc<Committed>>;

/// The readable stores of this process, by name and partition. Clones share them.
///
/// A reader sees committed state only. A store that it holds stays readable while the partition moves
/// away: its answers become older and do not fail.
#[derive(Clone, Default)]
pub struct Queries {
    /// Written at rebalances, read by queries; held for one map operation.
    stores: Arc<RwLock<Stores>>,
    /// Written at rebalances, read by probes; held for one map operation.
    members: Arc<Mutex<BTreeMap<usize, WorkerStatus>>>,
    /// Written at each turn of a follower, read by probes; held for one assignment.
    follower: Arc<Mutex<Option<WorkerStatus>>>,
    /// Written when a worker or follower starts, read when a position is given out; held for one
    /// map operation.
    topics: Arc<Mutex<BTreeMap<String, String>>>,
    changes: Changes,
}

/// The progress of one worker, or of the follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// The group has answered at least once since the worker joined.
    pub joined: bool,
    /// Tasks whose stores are catching up.
    pub restoring: usize,
    /// Tasks that process.
    pub running: usize,
}

impl Queries {
    /// Makes a store readable, and publishes [`ChangeEvent::Moved`]. Called by the runtime, and by tests
    /// without one.
    pub fn add(&self, name: &str, partition: i32, store: Arc<Committed>) {
        {
            let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
            stores.insert((name.to_owned(), partition), store);
        }
        self.changes.publish(&ChangeEvent::Moved { store: name.to_owned(), partition });
    }

    /// The changes of these stores.
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Sets the ids of the stores' topics. An offset means something only together with its topic's id.
    pub fn set_topics(&self, ids: impl Iterator<Item = (String, String)>) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    /// The id of a store's topic; `None` when the broker was not asked.
    pub fn topic_id(&self, store: &str) -> Option<String> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).get(store).cloned()
    }

    pub(super) fn remove(&self, name: &str, partition: i32) {
        {
            let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
            stores.remove(&(name.to_owned(), partition));
        }
        self.changes.publish(&ChangeEvent::Moved { store: name.to_owned(), partition });
    }

    pub(super) fn set_member(&self, worker: usize, member: WorkerStatus) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, member);
    }

    /// Every worker of this process.
    pub fn members(&self) -> Vec<WorkerStatus> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.values().copied().collect()
    }

    pub(super) fn set_follower(&self, follower: WorkerStatus) {
        *self.follower.lock().unwrap_or_else(PoisonError::into_inner) = Some(follower);
    }

    /// The progress of the follower, if there is one.
    pub fn follower(&self) -> Option<WorkerStatus> {
        *self.follower.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every worker has joined the group, and none is restoring. A view has no worker and is ready when
    /// its follower is; a standby does not count.
    pub fn is_ready(&self) -> bool {
        let ready = |member: &WorkerStatus| member.joined && member.restoring == 0;
        let members = self.members();
        if members.is_empty() {
            return self.follower().is_some_and(|follower| ready(&follower));
        }
        members.iter().all(ready)
    }

    /// Stores of one partition, ready at once: of a task that runs without a broker.
    pub fn of_partition(stores: impl IntoIterator<Item = (String, Arc<Committed>)>) -> Self {
        let queries = Self::default();
        for (name, store) in stores {
            queries.add(&name, 0, store);
        }
        queries.set_follower(WorkerStatus { joined: true, restoring: 0, running: 1 });
        queries
    }

    /// The readable partitions of a store.
    pub fn stores(&self, name: &str) -> Vec<(i32, Arc<Committed>)> {
        let stores = self.stores.read().unwrap_or_else(PoisonError::into_inner);
        let named = stores.iter().filter(|((store, _), _)| store == name);
        named.map(|((_, partition), store)| (*partition, Arc::clone(store))).collect()
    }
}
