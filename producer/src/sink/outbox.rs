//! The spool in front of the Kafka client: records enter in order and leave once Kafka has them.
//!
//! ```text
//! push ─→ spool ─→ next … sent ─→ client's queue ─→ broker
//!           ▲                                          │ in any order over partitions
//!           └──────── acknowledged, in order ◀── Delivered ◀┘
//! ```
//!
//! A record is on disk before it is in the client's queue, so a killed process loses nothing. The
//! next process sends again, in order, what was delivered and not yet acknowledged here. Such a
//! record counts once, by the trade's id or the sample's content. Kafka has a record when it has
//! its dead letter.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::Timestamp;

use crate::metrics::Metrics;
use crate::sink::config::{Result, SinkError, SpoolConfig};
use crate::sink::parcel::Parcel;
use crate::sink::spool::{Damage, Push, Spool, SpoolRecord};

/// Deliveries between two acknowledgements on disk while more is on its way: this many records at
/// most are sent again after a crash, beside those in flight.
const ACKNOWLEDGE_EVERY: u64 = 256;

/// The records that Kafka has.
#[derive(Debug, Default)]
struct Numbers {
    /// All before it.
    next: u64,
    /// And these: where a range begins, and where it ends.
    ahead: BTreeMap<u64, u64>,
}

/// The records that Kafka has, as the client's thread reports them.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Guards a counter and a set of what overtook it, as many as are in flight; held for one
    /// insertion, or to read the counter.
    numbers: Arc<Mutex<Numbers>>,
}

impl Delivered {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record is delivered.
    pub fn done(&self, number: u64) {
        self.all_done(number..number + 1);
    }

    /// These records are delivered.
    fn all_done(&self, range: Range<u64>) {
        let mut numbers = self.numbers();
        numbers.ahead.insert(range.start, range.end);
        while let Some(end) = {
            let next = numbers.next;
            numbers.ahead.remove(&next)
        } {
            numbers.next = end;
        }
    }

    fn next(&self) -> u64 {
        self.numbers().next
    }
}

/// The spool, and what became of its records.
pub struct Outbox {
    spool: Spool,
    delivered: Delivered,
    metrics: Arc<Metrics>,
    /// The number after the last that was sent: those up to the next record have none.
    expected: u64,
}

impl Outbox {
    /// Opens the spool; records of an earlier process are sent first.
    pub fn open(config: &SpoolConfig, delivered: Delivered, metrics: Arc<Metrics>) -> Result<Self> {
        let spool = Spool::open(&config.dir, config.max_bytes).map_err(|error| failed(&error))?;
        delivered.numbers().next = spool.next_ack();
        let expected = spool.next_ack();
        let outbox = Self { spool, delivered, metrics, expected };
        outbox.tell(config);
        Ok(outbox)
    }

    /// Logs the records that an earlier process left, and the damaged ones.
    fn tell(&self, config: &SpoolConfig) {
        let recovery = &self.metrics.recovery;
        for damage in self.spool.damages() {
            let Damage { file, offset, bytes, is_tail, kept } = damage;
            let file = file.display();
            if *is_tail {
                recovery.spool_cut.inc_by(*bytes);
                tracing::warn!(%file, offset, bytes, ?kept, "the torn end of the spool is cut off");
            } else {
                recovery.spool_damaged.inc_by(*bytes);
                tracing::error!(%file, offset, bytes, ?kept, "damaged records of the spool are skipped: check the disk");
            }
        }
        if !self.spool.is_empty() {
            tracing::warn!(
                dir = %config.dir.display(), records = self.spool.len(),
                "the spool holds what an earlier process left"
            );
        }
    }

    /// Puts a record behind all others.
    pub fn push(&mut self, at: Timestamp, parcel: &Parcel<'_>) -> Result<Push> {
        self.spool.push(at, &parcel.write()).map_err(|error| failed(&error))
    }

    /// The next record that the client does not have.
    pub fn head(&mut self) -> Result<Option<&SpoolRecord>> {
        self.spool.peek().map_err(|error| failed(&error))?;
        let next = self.spool.next_read();
        if self.expected < next {
            self.delivered.all_done(self.expected..next);
            self.expected = next;
        }
        self.spool.peek().map_err(|error| failed(&error))
    }

    /// The client has what [`Self::head`] showed.
    pub fn sent(&mut self) {
        self.spool.advance();
        self.expected += 1;
    }

    /// Keeps a record that Kafka does not take in any form, and lets it go; where. It stays in the
    /// spool when there is no room.
    pub(crate) fn keep(&self, number: u64, parcel: &Parcel<'_>) -> Result<Option<PathBuf>> {
        let kept = self.spool.keep(&format!("refused-{number:020}"), &parcel.write());
        let kept = kept.map_err(|error| failed(&error))?;
        if kept.is_some() {
            self.delivered.done(number);
        }
        Ok(kept)
    }

    /// Releases acknowledged records, and updates the metrics.
    pub fn settle(&mut self, now: Timestamp) -> Result<()> {
        let next = self.delivered.next();
        let all = next == self.spool.next_push();
        if next > self.spool.next_ack()
            && (all || next - self.spool.next_ack() >= ACKNOWLEDGE_EVERY)
        {
            self.spool.acknowledge(next).map_err(|error| failed(&error))?;
        }
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.recovery.spool_records.set(gauge(self.spool.len()));
        self.metrics.recovery.spool_bytes.set(gauge(self.spool.bytes()));
        let oldest = self.spool.oldest().map_err(|error| failed(&error))?;
        let millis = oldest.map_or(0, |at| u32::try_from(now.0 - at.0).unwrap_or(0));
        self.metrics.recovery.spool_age.set(f64::from(millis) / 1000.0);
        Ok(())
    }

    /// Records that Kafka does not have.
    pub fn len(&self) -> u64 {
        self.spool.len()
    }

    /// Kafka has everything.
    pub fn is_empty(&self) -> bool {
        self.spool.is_empty()
    }
}

fn failed(error: &std::io::Error) -> SinkError {
    SinkError::Spool(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_before_the_first_that_is_missing_is_delivered() {
        let delivered = Delivered::default();
        delivered.numbers().next = 5;
        for (number, next) in [(6, 5), (8, 5), (5, 7), (7, 9)] {
            delivered.done(number);
            assert_eq!(delivered.next(), next);
        }
        delivered.all_done(10..15);
        delivered.done(9);
        assert_eq!(delivered.next(), 15);
        assert!(delivered.numbers().ahead.is_empty());
    }
}
