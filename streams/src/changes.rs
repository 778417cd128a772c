//! Publishes changes of stores to listeners, once they are readable.
//!
//! ```text
//! worker    post_commit ──► stores ─┐                     ┌─ bounded queue ─► Listener
//! follower  write       ──► stores ─┴─► Changes::publish ────┼─ bounded queue ─► Listener
//!                                                         └─ full: Lost
//! ```
//!
//! A change is published after it is in its store. The publisher does not wait: a listener whose queue
//! is full loses changes and gets [`ChangeEvent::Lost`]. The stores then hold everything that it lost.
//! Without listeners a batch costs one load of a flag.
//!
//! ```
//! use std::time::Duration;
//! use streams::changes::{Changed, Changes, ChangeEvent};
//!
//! let changes = Changes::default();
//! let listener = changes.listen(8);
//! let changed = Changed {
//!     store: "counts".into(), partition: 0, next: None,
//!     changes: vec![(b"be".to_vec(), Some(b"2".to_vec()))],
//! };
//! changes.publish(&ChangeEvent::Changed(changed.into()));
//! assert!(matches!(listener.next(Duration::ZERO), Some(ChangeEvent::Changed(_))));
//! assert!(listener.next(Duration::ZERO).is_none());
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::record::{Change, Offset};

/// Committed changes of one store and partition, in the order of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The store's name.
    pub store: String,
    /// The partition.
    pub partition: i32,
    /// The next offset of the store's topic after these; `None` from a writer, which does not ask
    /// the broker where its records stand.
    pub next: Option<Offset>,
    /// Keys of the store and their new values.
    pub changes: Vec<Change>,
}

/// An event for a listener.
#[derive(Clone, Debug)]
pub enum ChangeEvent {
    /// These changes are in their store.
    Changed(Arc<Changed>),
    /// A store has become readable here, or is no longer here. Changes before that were not published.
    Moved {
        /// The store's name.
        store: String,
        /// The partition.
        partition: i32,
    },
    /// The listener was behind and has lost events of any store.
    Lost,
}

/// The publisher of changes. Clones share the listeners.
#[derive(Clone, Default)]
pub struct Changes(Arc<Place>);

#[derive(Default)]
struct Place {
    /// There are listeners: read before anything is copied.
    heard: AtomicBool,
    /// Held while one event is put into each queue, without waiting.
    queues: Mutex<Vec<Queue>>,
}

struct Queue {
    sender: SyncSender<ChangeEvent>,
    lost: Arc<AtomicBool>,
}

impl Changes {
    /// A listener from now on, with a queue of this many batches.
    pub fn listen(&self, batches: usize) -> Listener {
        let (sender, receiver) = sync_channel(batches);
        let lost = Arc::new(AtomicBool::new(false));
        let queue = Queue { sender, lost: Arc::clone(&lost) };
        self.queues().push(queue);
        self.0.heard.store(true, Ordering::SeqCst);
        Listener { receiver, lost }
    }

    /// Whether there are listeners.
    pub fn has_listeners(&self) -> bool {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// Puts an event into every queue that has room.
    pub fn publish(&self, news: &ChangeEvent) {
        if !self.has_listeners() {
            return;
        }
        let mut queues = self.queues();
        queues.retain(|queue| match queue.sender.try_send(news.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                queue.lost.store(true, Ordering::SeqCst);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        self.0.heard.store(!queues.is_empty(), Ordering::SeqCst);
    }

    /// Publishes changes of a store, if there are any.
    pub fn publish_changes(
        &self,
        store: &str,
        partition: i32,
        next: Option<Offset>,
        changes: Vec<Change>,
    ) {
        if self.has_listeners() && !changes.is_empty() {
            let changed = Changed { store: store.to_owned(), partition, next, changes };
            self.publish(&ChangeEvent::Changed(Arc::new(changed)));
        }
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, Vec<Queue>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver of events, until it is dropped.
pub struct Listener {
    receiver: Receiver<ChangeEvent>,
    lost: Arc<AtomicBool>,
}

impl Listener {
    /// The next event; `None` when none comes in this time.
    ///
    /// [`ChangeEvent::Lost`] drops all waiting events: they are older than the lost ones, and applying
    /// them to what the listener reads from the stores now would undo newer changes.
    pub fn next(&self, wait: Duration) -> Option<ChangeEvent> {
        if self.lost.swap(false, Ordering::SeqCst) {
            while self.receiver.try_recv().is_ok() {}
            return Some(ChangeEvent::Lost);
        }
        if wait.is_zero() {
            return self.receiver.try_recv().ok();
        }
        self.receiver.recv_timeout(wait).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Committed, MemoryStore};

    fn publish(changes: &Changes, key: u8, value: Option<u8>) {
        let change = (vec![key], value.map(|value| vec![value]));
        changes.publish_changes("s", 0, Some(Offset(i64::from(key))), vec![change]);
    }

    #[test]
    fn nobody_listens_and_nothing_is_kept() {
        let changes = Changes::default();
        assert!(!changes.has_listeners());
        publish(&changes, 1, Some(1));
        let listener = changes.listen(2);
        assert!(listener.next(Duration::ZERO).is_none());
        drop(listener);
        publish(&changes, 1, Some(1));
        assert!(!changes.has_listeners(), "whoever has gone costs nothing more");
    }

    #[test]
    fn who_is_behind_is_told_so_and_the_others_miss_nothing() {
        let changes = Changes::default();
        let (slow, quick) = (changes.listen(1), changes.listen(9));
        for key in 0..3 {
            publish(&changes, key, None);
        }
        assert!(matches!(slow.next(Duration::ZERO), Some(ChangeEvent::Lost)));
        assert!(slow.next(Duration::ZERO).is_none());
        for key in 0..3 {
            let Some(ChangeEvent::Changed(changed)) = quick.next(Duration::ZERO) else {
                panic!("news {key} is missing");
            };
            assert_eq!(changed.changes, [(vec![key], None)]);
        }
        publish(&changes, 7, None);
        assert!(matches!(slow.next(Duration::ZERO), Some(ChangeEvent::Changed(_))));
    }

    proptest! {
        /// A listener that reads the store at [`ChangeEvent::Lost`], and applies the other events,
        /// ends with the contents of the store.
        #[test]
        fn a_listener_ends_with_what_the_store_holds(
            steps in vec((0..6_u8, any::<Option<u8>>(), any::<bool>()), 0..60),
            bound in 1..4_usize,
        ) {
            let (changes, store) =
                (Changes::default(), Committed::new(Box::new(MemoryStore::default())));
            let listener = changes.listen(bound);
            let mut known = BTreeMap::new();
            let mut hear = |listener: &Listener| match listener.next(Duration::ZERO) {
                Some(ChangeEvent::Changed(changed)) => {
                    for (key, value) in &changed.changes {
                        match value {
                            Some(value) => known.insert(key.clone(), value.clone()),
                            None => known.remove(key),
                        };
                    }
                    true
                }
                Some(_) => {
                    known = store.range(&[], &[255], 99).unwrap().into_iter().collect();
                    true
                }
                None => false,
            };
            for (key, value, listens) in steps {
                let bytes = value.map(|value| vec![value]);
                store.commit(std::iter::once((&[key][..], bytes.as_deref())));
                publish(&changes, key, value);
                if listens {
                    hear(&listener);
                }
            }
            while hear(&listener) {}
            let held: BTreeMap<_, _> = store.range(&[], &[255], 99).unwrap().into_iter().collect();
            prop_assert_eq!(known, held);
        }
    }
}
