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

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::client::{Changelog, JobResult, StoreJob};
use super::config::StoreConfig;
use super::errors;
use crate::error::{Error, Result};
use crate::record::Offset;

/// A request for a partition's end.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Jobs waiting for the thread: a worker has one round under way, so this is never reached.
const MAX_JOBS: usize = 1024;

/// The thread that writes one worker's stores.
pub(super) struct Flusher {
    jobs: Option<SyncSender<StoreJob>>,
    done: Receiver<Result<JobResult>>,
    thread: Option<JoinHandle<()>>,
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
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// Begins a job.
    pub(super) fn submit(&self, job: StoreJob) -> Result<()> {
        let jobs = self.jobs.as_ref();
        let sent = jobs.is_some_and(|jobs| jobs.try_send(job).is_ok());
        if sent { Ok(()) } else { Err(Error::Unavailable("the flusher has stopped".into())) }
    }

    /// The job under way, once it is done; waits for it up to `wait`.
    pub(super) fn done(&self, wait: Duration) -> Result<Option<JobResult>> {
        match self.done.recv_timeout(wait) {
            Ok(done) => done.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::Unavailable("the flusher has stopped".into()))
            }
        }
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

fn work(client: &BaseConsumer, inbox: &Receiver<StoreJob>, outbox: &Sender<Result<JobResult>>) {
    for job in inbox {
        let done = match job {
            StoreJob::Ends(changelogs) => ends(client, changelogs).map(JobResult::Ends),
            StoreJob::Write(changelogs) => {
                let written = changelogs.iter().try_for_each(|log| log.store.write_frozen());
                written.map(|()| JobResult::Written)
            }
        };
        if outbox.send(done).is_err() {
            return;
        }
    }
}

fn ends(client: &BaseConsumer, changelogs: Vec<Changelog>) -> Result<Vec<(Changelog, Offset)>> {
    let ends = changelogs.into_iter().map(|log| {
        let (_, end) = client
            .fetch_watermarks(&log.topic, log.task.partition.0, TIMEOUT)
            .map_err(errors::plain)?;
        Ok((log, Offset(end)))
    });
    ends.collect()
}
