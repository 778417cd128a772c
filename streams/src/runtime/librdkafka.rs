//! The few calls of librdkafka that rust-rdkafka does not offer: records taken and given in
//! batches, a flush that does not poll in steps of 100 ms, and the ids of topics.
//!
//! This is the one file with unsafe code. Measured on one broker (see `bench/`): a batch call
//! takes 0.27 CPU-µs a record where `poll` takes 0.42, and a batch of sends costs 17 % less than
//! one by one.

#![expect(unsafe_code, reason = "rdkafka-sys is the only way to librdkafka's batch calls")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::error::{Error, Result};

/// Records a batch call may return.
pub(super) const BATCH: usize = 4096;

/// One event of a queue.
pub(super) enum Polled<'a> {
    /// A record.
    Record {
        topic: &'a [u8],
        partition: i32,
        offset: i64,
        timestamp: i64,
        key: &'a [u8],
        value: Option<&'a [u8]>,
    },
    /// The end of a partition, as of now; the offset is the next to come.
    End { topic: &'a [u8], partition: i32, offset: i64 },
    /// Anything else.
    Failed { topic: &'a [u8], partition: i32, code: RDKafkaErrorCode },
}

/// A queue of records that only this program reads.
///
/// It must be dropped before its client.
pub(super) struct Records {
    queue: NonNull<sys::rd_kafka_queue_t>,
    room: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; the room is empty between calls.
unsafe impl Send for Records {}

impl Records {
    /// A queue of this client.
    pub(super) fn new<C: ClientContext>(client: &Client<C>) -> Result<Self> {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_new(client.native_ptr()) };
        let queue = NonNull::new(queue)
            .ok_or_else(|| Error::Invalid("librdkafka gave no queue: out of memory?".into()))?;
        Ok(Self { queue, room: vec![ptr::null_mut(); BATCH] })
    }

    /// Sends what is fetched for a partition here, and not to the consumer's own queue, on which
    /// a batch call would swallow rebalances. Must be called before the partition is assigned.
    pub(super) fn forward<C: ClientContext>(
        &self,
        client: &Client<C>,
        topic: &str,
        partition: i32,
    ) -> Result<()> {
        let topic = c_name(topic)?;
        // SAFETY: client and queue are alive, and the reference to the partition's queue is given
        // back.
        unsafe {
            let queue =
                sys::rd_kafka_queue_get_partition(client.native_ptr(), topic.as_ptr(), partition);
            if !queue.is_null() {
                sys::rd_kafka_queue_forward(queue, self.queue.as_ptr());
                sys::rd_kafka_queue_destroy(queue);
            }
        }
        Ok(())
    }

    /// Gives what waits to `take`; waits up to `wait` for the first. Returns how many there were.
    pub(super) fn take(&mut self, wait: Duration, mut take: impl FnMut(Polled<'_>)) -> usize {
        // A batch call with a wait returns only when it is full or the wait is over: take what is
        // there, and wait for one record only when there is nothing.
        let mut count = self.fill(Duration::ZERO, BATCH);
        if count == 0 && !wait.is_zero() {
            count = self.fill(wait, 1);
        }
        for index in 0..count {
            let message = self.room[index];
            // SAFETY: librdkafka wrote `count` valid messages, each destroyed once, after its use.
            unsafe {
                take(taken(&*message));
                sys::rd_kafka_message_destroy(message);
            }
            self.room[index] = ptr::null_mut();
        }
        count
    }

    fn fill(&mut self, wait: Duration, limit: usize) -> usize {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive and the room holds at least `limit` pointers.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                wait,
                self.room.as_mut_ptr(),
                limit.min(self.room.len()),
            )
        };
        usize::try_from(count).unwrap_or(0)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: this is the one owner of the queue.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// # Safety
/// `message` must come from librdkafka and outlive what is returned.
unsafe fn taken(message: &sys::rd_kafka_message_t) -> Polled<'_> {
    let view = |start: *mut c_void, length: usize| {
        // SAFETY: librdkafka's pointers and lengths belong together.
        (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
    };
    // SAFETY: a message of a partition has a topic, whose name lives as long as the message.
    let topic = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) }.to_bytes();
    let partition = message.partition;
    match RDKafkaErrorCode::from(message.err) {
        RDKafkaErrorCode::NoError => {
            // SAFETY: the message is alive, and the kind of timestamp may be left unasked.
            let timestamp = unsafe { sys::rd_kafka_message_timestamp(message, ptr::null_mut()) };
            Polled::Record {
                topic,
                partition,
                offset: message.offset,
                timestamp,
                key: view(message.key, message.key_len).unwrap_or_default(),
                value: view(message.payload, message.len),
            }
        }
        RDKafkaErrorCode::PartitionEOF => Polled::End { topic, partition, offset: message.offset },
        code => Polled::Failed { topic, partition, code },
    }
}

/// A topic that records are given to. It must be dropped before its client.
pub(super) struct TopicHandle(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for TopicHandle {}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: this is the one owner of the handle.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

impl TopicHandle {
    /// A handle of that topic.
    pub(super) fn new<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Self> {
        let c_name = c_name(name)?;
        // SAFETY: the client is alive.
        let topic = unsafe {
            sys::rd_kafka_topic_new(client.native_ptr(), c_name.as_ptr(), ptr::null_mut())
        };
        NonNull::new(topic)
            .map(Self)
            .ok_or_else(|| Error::Invalid(format!("librdkafka refuses the topic name {name}")))
    }

    /// Gives records to one partition. `refused` is called when librdkafka does not take one, and
    /// says whether to go on.
    pub(super) fn produce<'a>(
        &self,
        partition: i32,
        records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        mut refused: impl FnMut(RDKafkaErrorCode) -> Result<()>,
    ) -> Result<()> {
        let mut messages: Vec<_> = records.map(|(key, value)| message(key, value)).collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            let count = i32::try_from(rest.len()).unwrap_or(i32::MAX);
            // SAFETY: the handle is alive, `rest` holds as many messages as it says, and
            // librdkafka copies what they point to before it returns.
            let accepted = unsafe {
                sys::rd_kafka_produce_batch(
                    self.0.as_ptr(),
                    partition,
                    sys::RD_KAFKA_MSG_F_COPY,
                    rest.as_mut_ptr(),
                    count,
                )
            };
            // Once one record finds the queue full, all that follow are refused with it.
            rest = &mut rest[usize::try_from(accepted).unwrap_or(0)..];
            if let Some(first) = rest.first() {
                refused(RDKafkaErrorCode::from(first.err))?;
            }
        }
        Ok(())
    }
}

fn message(key: &[u8], value: Option<&[u8]>) -> sys::rd_kafka_message_t {
    // SAFETY: all zero is a valid message without key, value or error.
    let mut message: sys::rd_kafka_message_t = unsafe { std::mem::zeroed() };
    message.key = key.as_ptr().cast_mut().cast();
    message.key_len = key.len();
    if let Some(value) = value {
        message.payload = value.as_ptr().cast_mut().cast();
        message.len = value.len();
    }
    message
}

/// Waits until nothing is in flight; false when `wait` is over before.
pub(super) fn flush<C: ClientContext>(client: &Client<C>, wait: Duration) -> bool {
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive.
    let code = unsafe { sys::rd_kafka_flush(client.native_ptr(), wait) };
    RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError
}

/// The broker that answers for the cluster, as far as it is known by then.
pub(super) fn controller<C: ClientContext>(client: &Client<C>, wait: Duration) -> Option<i32> {
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive.
    let id = unsafe { sys::rd_kafka_controllerid(client.native_ptr(), wait) };
    Some(id).filter(|id| *id >= 0)
}

/// The ids of topics, in the order of their names: a topic that was deleted and created again has
/// another one.
pub(super) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    wait: Duration,
) -> Result<Vec<String>> {
    let c_names = names.iter().map(|name| c_name(name)).collect::<Result<Vec<_>>>()?;
    let mut pointers: Vec<*const c_char> = c_names.iter().map(|name| name.as_ptr()).collect();
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client and the names are alive; what librdkafka gives is destroyed once, and the
    // event after the last look at it.
    unsafe {
        let rk = client.native_ptr();
        let queue = sys::rd_kafka_queue_new(rk);
        let topics =
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(rk, topics, ptr::null(), queue);
        sys::rd_kafka_TopicCollection_destroy(topics);
        let event = sys::rd_kafka_queue_poll(queue, wait);
        sys::rd_kafka_queue_destroy(queue);
        if event.is_null() {
            return Err(Error::Unavailable("topics were asked for and not described".into()));
        }
        let ids = described(event);
        sys::rd_kafka_event_destroy(event);
        ids
    }
}

/// # Safety
/// `event` must be the answer to a request to describe topics.
unsafe fn described(event: *mut sys::rd_kafka_event_t) -> Result<Vec<String>> {
    // SAFETY: the pointers belong to the event, which is alive.
    unsafe {
        let code = RDKafkaErrorCode::from(sys::rd_kafka_event_error(event));
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if code != RDKafkaErrorCode::NoError || result.is_null() {
            return Err(Error::Unavailable(format!("describe topics: {code}")));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let topics = slice::from_raw_parts(topics, if topics.is_null() { 0 } else { count });
        let id = |topic: &*const sys::rd_kafka_TopicDescription_t| {
            let error = sys::rd_kafka_TopicDescription_error(*topic);
            let code = RDKafkaErrorCode::from(sys::rd_kafka_error_code(error));
            if code != RDKafkaErrorCode::NoError {
                return Err(Error::Unavailable(format!("describe a topic: {code}")));
            }
            let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(*topic));
            Ok(CStr::from_ptr(id).to_string_lossy().into_owned())
        };
        topics.iter().map(id).collect()
    }
}

fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| Error::Invalid(format!("topic name {name:?} holds a zero byte")))
}
