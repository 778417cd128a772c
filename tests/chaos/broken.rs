//! Records that cannot be used, written all the time to one partition after the other.
//!
//! What a broker does not take while it is down is not in the input, and not missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use schemas::topic::{DEFAULT_PARTITIONS, Topic};
use tests::support::{Installation, wait_until};

/// Longer than any fault lasts: the writing ends when it is told to.
const WHOLE: Duration = Duration::from_hours(1);
/// Within this, a record is in the topic or given up.
const DELIVERY: Duration = Duration::from_secs(20);
/// No key, and a value or none: each has another reason.
const VALUES: [Option<&[u8]>; 2] = [Some(b"no event"), None];

/// A thread that writes.
pub(crate) struct Broken {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Broken {
    /// Writes to this installation's events from now on.
    pub(crate) fn start(installation: &Installation) -> Result<Self> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &installation.stack.bootstrap_servers)
            .set("message.timeout.ms", DELIVERY.as_millis().to_string())
            .create()?;
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&taken));
        let events = installation.topic(Topic::Events);
        let thread = std::thread::spawn(move || {
            let mut places = (0..DEFAULT_PARTITIONS).cycle().zip(VALUES.into_iter().cycle());
            wait_until("the end of the broken records", WHOLE, || {
                let (partition, value) = places.next().ok_or_else(|| anyhow!("no partition"))?;
                let mut record =
                    BaseRecord::<[u8], [u8]>::to(&events).partition(partition).key(b"no key");
                record.payload = value;
                if producer.send(record).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                producer.poll(Duration::ZERO);
                Ok(told.load(Ordering::Relaxed).then_some(()))
            })?;
            Ok(producer.flush(DELIVERY * 2)?)
        });
        Ok(Self { stop, taken, thread: Some(thread) })
    }

    /// Records that the client has taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Ends the writing: each record is in the topic or given up.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("nothing is written"))?;
        thread.join().map_err(|_| anyhow!("the writing panicked"))?
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
