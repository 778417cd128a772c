//! Stores are written on their own schedule, off the processing path.
//!
//! ```text
//! worker                          flusher thread
//!   │── ends? ──────────────────────►│ asks the broker for the changelogs' ends
//!   │◄──────────── ends ─────────────│
//! (next commit boundary)
//!   │ freeze(ends)                    
//!   │── write ───────────────────────►│ sorted, position last
//! ```
//!
//! Why the end is a position: this worker is the only writer of the partition. Every record before
//! the end was committed (or aborted, and is invisible) by the next commit boundary, and is then
//! in the overlay or the store. What is written after the end only makes the replay longer.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::config::StoreConfig;
use super::errors;
use crate::error::{Error, Result};
use crate::record::Offset;
use crate::store::Committed;

/// A request for a partition's end.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Jobs waiting for the thread: a worker has one round under way, so this is never reached.
const MAX_JOBS: usize = 1024;

/// One store's changelog.
#[derive(Clone)]
pub(super) struct Changelog {
    /// Its topic.
    pub(super) topic: String,
    /// Its partition.
    pub(super) partition: i32,
    /// The store.
    pub(super) store: Arc<Committed>,
}

enum Job {
    Ends(Vec<Changelog>),
    Write(Vec<Changelog>),
}

/// What the thread has done.
pub(super) enum Done {
    /// The ends of the changelogs that were asked for.
    Ends(Vec<(Changelog, Offset)>),
    /// What was frozen is written.
    Written,
}

/// The thread that writes one worker's stores.
pub(super) struct Flusher {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<Done>>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
}

impl Flusher {
    /// Starts the thread.
    pub(super) fn start(config: &StoreConfig) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("group.id", format!("{}-tail", config.application_id));
        for (name, value) in &config.kafka {
            client.set(name, value);
        }
        let client: BaseConsumer = client.create().map_err(errors::setting)?;
        let (jobs, inbox) = sync_channel(MAX_JOBS);
        let (outbox, done) = channel();
        let thread = std::thread::Builder::new()
            .name("flusher".into())
            .spawn(move || work(&client, &inbox, &outbox))
            .map_err(|error| Error::Invalid(format!("no thread for the flusher: {error}")))?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread), busy: false })
    }

    /// A round is under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    fn submit(&mut self, job: Job) -> Result<()> {
        self.busy = true;
        let jobs = self.jobs.as_ref();
        let sent = jobs.is_some_and(|jobs| jobs.try_send(job).is_ok());
        if sent { Ok(()) } else { Err(Error::Unavailable("the flusher has stopped".into())) }
    }

    /// Begins a round: asks for the ends.
    pub(super) fn ask_ends(&mut self, changelogs: Vec<Changelog>) -> Result<()> {
        self.submit(Job::Ends(changelogs))
    }

    /// Ends a round: writes what is frozen.
    pub(super) fn write(&mut self, changelogs: Vec<Changelog>) -> Result<()> {
        self.submit(Job::Write(changelogs))
    }

    /// What has been done since the last call.
    pub(super) fn poll(&mut self) -> Result<Option<Done>> {
        match self.done.try_recv() {
            Ok(done) => self.settle(done).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                Err(Error::Unavailable("the flusher has stopped".into()))
            }
        }
    }

    /// Waits for what is under way.
    pub(super) fn wait(&mut self) -> Result<Option<Done>> {
        if !self.busy {
            return Ok(None);
        }
        let done =
            self.done.recv().map_err(|_| Error::Unavailable("the flusher has stopped".into()))?;
        self.settle(done).map(Some)
    }

    fn settle(&mut self, done: Result<Done>) -> Result<Done> {
        self.busy = false;
        done
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // The thread ends when there is nobody left to send.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the flusher panicked");
        }
    }
}

fn work(client: &BaseConsumer, inbox: &Receiver<Job>, outbox: &Sender<Result<Done>>) {
    for job in inbox {
        let done = match job {
            Job::Ends(changelogs) => ends(client, changelogs).map(Done::Ends),
            Job::Write(changelogs) => {
                let written = changelogs.iter().try_for_each(|log| log.store.write_frozen());
                written.map(|()| Done::Written)
            }
        };
        if outbox.send(done).is_err() {
            return;
        }
    }
}

fn ends(client: &BaseConsumer, changelogs: Vec<Changelog>) -> Result<Vec<(Changelog, Offset)>> {
    let ends = changelogs.into_iter().map(|log| {
        let (_, end) =
            client.fetch_watermarks(&log.topic, log.partition, TIMEOUT).map_err(errors::plain)?;
        Ok((log, Offset(end)))
    });
    ends.collect()
}
