//! The liveness of a connection to a node. A value: time is an argument.
//!
//! A node that has lost its peers keeps its connections and sends nothing. So the sign of life is a
//! new head, and until the subscriptions stand the answers to our requests.

use std::time::Duration;

/// The interval of pings: proxies close a connection that is silent for a minute.
const PING_EVERY: Duration = Duration::from_secs(20);

/// A due action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a ping.
    Ping,
    /// No new head came in time.
    Stale,
}

/// The times of one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    head_timeout: Duration,
    head_by: Duration,
    ping_at: Duration,
    has_head: bool,
}

impl Liveness {
    pub(super) fn new(head_timeout: Duration, now: Duration) -> Self {
        let (head_by, ping_at) = (now + head_timeout, now + PING_EVERY);
        Self { head_timeout, head_by, ping_at, has_head: false }
    }

    /// A head was published.
    pub(super) fn head(&mut self, now: Duration) {
        self.has_head = true;
        self.head_by = now + self.head_timeout;
    }

    /// The node answered a request of a connection that is not yet live: a long backfill lives.
    pub(super) fn answered(&mut self, now: Duration) {
        self.head_by = now + self.head_timeout;
    }

    /// The connection was of use.
    pub(super) fn has_head(&self) -> bool {
        self.has_head
    }

    /// The time of the next action.
    pub(super) fn next_due(&self) -> Duration {
        self.head_by.min(self.ping_at)
    }

    /// The action that is due, if any.
    pub(super) fn due(&mut self, now: Duration) -> Option<Due> {
        if now >= self.head_by {
            return Some(Due::Stale);
        }
        if now >= self.ping_at {
            self.ping_at = now + PING_EVERY;
            return Some(Due::Ping);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_without_a_new_head_is_stale_whatever_else_it_sends() {
        let mut liveness = Liveness::new(seconds(60), seconds(100));
        assert_eq!((liveness.next_due(), liveness.due(seconds(119))), (seconds(120), None));
        assert_eq!(liveness.due(seconds(120)), Some(Due::Ping));
        assert_eq!((liveness.next_due(), liveness.due(seconds(120))), (seconds(140), None));
        assert_eq!(liveness.due(seconds(159)), Some(Due::Ping));
        liveness.head(seconds(159));
        assert!(liveness.has_head());
        assert_eq!(liveness.due(seconds(179)), Some(Due::Ping));
        assert_eq!(liveness.due(seconds(219)), Some(Due::Stale));
    }

    #[test]
    fn answers_keep_a_connection_that_backfills() {
        let mut liveness = Liveness::new(seconds(10), seconds(0));
        liveness.answered(seconds(9));
        assert_eq!(liveness.due(seconds(18)), None);
        assert_eq!(liveness.due(seconds(19)), Some(Due::Stale));
        assert!(!liveness.has_head(), "it was of no use");
    }
}
