//! Deletes records of repartition topics that the next sub-topology has committed (KIP-107).
//!
//! The broker deletes them on its own time. A request is sent and its answer looked at before the next
//! one, so that no worker waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::config::AppConfig;
use super::{admin, errors};
use crate::error::Result;

type Answer = Pin<Box<dyn Future<Output = KafkaResult<TopicPartitionList>>>>;

/// The client that deletes, and the answer that is still to come.
pub(super) struct Purge {
    // Dropped in this order: an answer must go before its client.
    answer: Option<Answer>,
    client: AdminClient<DefaultClientContext>,
}

impl Purge {
    /// A client that has deleted nothing yet.
    pub(super) fn new(config: &AppConfig) -> Result<Self> {
        let client = admin::settings(&config.bootstrap_servers, &config.kafka).create();
        Ok(Self { answer: None, client: client.map_err(errors::setting)? })
    }

    /// Asks for the deletion of all records before these offsets, unless the last question is still open.
    /// Records that stay now are deleted with the next ones.
    pub(super) fn begin(&mut self, offsets: &TopicPartitionList) {
        if let Some(answer) = &mut self.answer {
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "records of repartition topics were not deleted");
                }
            }
        }
        self.answer = Some(Box::pin(self.client.delete_records(offsets, &AdminOptions::new())));
    }
}
