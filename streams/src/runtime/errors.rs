//! librdkafka's errors, sorted by what to do next, and its log lines.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::Error;

/// Another member or a newer incarnation has taken over.
const FENCED: [RDKafkaErrorCode; 8] = [
    RDKafkaErrorCode::Fenced,
    RDKafkaErrorCode::ProducerFenced,
    RDKafkaErrorCode::InvalidProducerEpoch,
    RDKafkaErrorCode::TransactionCoordinatorFenced,
    RDKafkaErrorCode::IllegalGeneration,
    RDKafkaErrorCode::UnknownMemberId,
    RDKafkaErrorCode::FencedMemberEpoch,
    RDKafkaErrorCode::StaleMemberEpoch,
];

fn is_fenced(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| FENCED.contains(&code))
}

/// A setting that librdkafka refuses.
#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
pub(super) fn setting(error: KafkaError) -> Error {
    Error::Invalid(format!("client configuration: {error}; check --kafka"))
}

/// A topic or partition that a client does not know. Brokers that have just taken over say so for a
/// moment, and so does a client whose metadata is on its way: whether a topic is missing is decided
/// where a worker starts, by `admin`.
const UNKNOWN: [RDKafkaErrorCode; 3] = [
    RDKafkaErrorCode::UnknownTopicOrPartition,
    RDKafkaErrorCode::UnknownTopic,
    RDKafkaErrorCode::UnknownPartition,
];

/// The way out of a topic that its ACLs deny.
pub(super) const TOPIC_DENIED: &str = "its ACLs deny it: allow this user the operations that infra/kafka/acls.txt lists for the topic";

/// The correction that a person has to make; `None` when the error may heal by itself.
pub(super) fn way_out(code: RDKafkaErrorCode) -> Option<&'static str> {
    Some(match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => TOPIC_DENIED,
        RDKafkaErrorCode::GroupAuthorizationFailed => {
            "its ACLs deny the group: allow this user the operations that infra/kafka/acls.txt lists \
             for the groups of --application-id"
        }
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            "its ACLs deny the transactions: allow this user Write on transactional ids that begin \
             with --application-id"
        }
        RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::SaslAuthenticationFailed => "check the broker's ACLs and --kafka",
        RDKafkaErrorCode::MessageSizeTooLarge
        | RDKafkaErrorCode::InvalidMessageSize
        | RDKafkaErrorCode::MessageBatchTooLarge => {
            "a record is larger than its topic takes: raise the topic's max.message.bytes and \
             --kafka message.max.bytes"
        }
        RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::PolicyViolation => {
            "the broker refuses what is written: check the topics' settings"
        }
        RDKafkaErrorCode::InvalidTransactionTimeout => {
            "lower --transaction-timeout, or raise the broker's transaction.max.timeout.ms"
        }
        RDKafkaErrorCode::FencedInstanceId => {
            "another process has joined the group with this --group-instance-id: give each member its \
             own"
        }
        RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature => {
            "the broker is too old for this; --group-protocol classic asks less of it"
        }
        _ => return None,
    })
}

/// Any call outside a transaction.
#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
pub(super) fn plain(error: KafkaError) -> Error {
    if is_fenced(&error) {
        return Error::Fenced(error.to_string());
    }
    let code = error.rdkafka_error_code();
    match code.and_then(|code| Some((code, way_out(code)?))) {
        Some((code, way_out)) => Error::Invalid(format!("{code}; {way_out}")),
        None => Error::Unavailable(error.to_string()),
    }
}

/// An error that the consumer reports on its queue: most heal by themselves.
pub(super) fn consumer(error: &KafkaError) -> Result<(), Error> {
    let code = error.rdkafka_error_code();
    match plain(error.clone()) {
        Error::Unavailable(reason) if code == Some(RDKafkaErrorCode::Fatal) => {
            Err(Error::Fenced(reason))
        }
        unknown @ Error::Unavailable(_) if code.is_some_and(|code| UNKNOWN.contains(&code)) => {
            Err(unknown)
        }
        Error::Unavailable(_) => {
            tracing::warn!(%error, "consumer");
            Ok(())
        }
        error => Err(error),
    }
}

/// The beginning of the error of an instance id that the group has not released.
pub(super) const INSTANCE_HELD: &str = "the group still has a member with this --group-instance-id";

/// An error after which a group member is of no more use. That of an instance (KIP-345) that another
/// member has is an error of the configuration, unless it may be the member's own last run.
pub(super) fn membership(code: RDKafkaErrorCode, error: &KafkaError) -> Result<(), Error> {
    match code {
        RDKafkaErrorCode::FencedInstanceId => Err(plain(KafkaError::MessageConsumption(code))),
        RDKafkaErrorCode::UnreleasedInstanceId => Err(Error::Unavailable(format!(
            "{INSTANCE_HELD}: its last run, until the session ends \
             (group.consumer.session.timeout.ms), or another process"
        ))),
        _ => consumer(error),
    }
}

/// An error of [`membership`] that ends with the session of an earlier run.
pub(super) fn is_instance_held(error: &Error) -> bool {
    matches!(error, Error::Unavailable(reason) if reason.starts_with(INSTANCE_HELD))
}

/// The position of a fetch is not in the partition.
pub(super) const fn is_out_of_range(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
}

/// A fetch of a source failed.
pub(super) fn partition(
    topic: &str,
    is_repartition: bool,
    partition: i32,
    code: RDKafkaErrorCode,
) -> Result<(), Error> {
    if is_out_of_range(code) && is_repartition {
        // A member that was paused while another took its task: the new owner deletes what it commits.
        return Err(Error::Unavailable(format!(
            "{topic}/{partition}: records were deleted before this member has read them: their next \
             owner has committed them, or another program has deleted them"
        )));
    }
    if is_out_of_range(code) {
        return Err(Error::Invalid(format!(
            "{topic}/{partition}: the group's committed offset is no longer in the topic, so \
             records were deleted unread; if that is acceptable, delete the group's offsets \
             (kafka-consumer-groups --delete-offsets) and start once with --reset-offsets earliest"
        )));
    }
    changelog(topic, partition, code)
}

/// A fetch of a changelog failed, for another reason than its position.
pub(super) fn changelog(topic: &str, partition: i32, code: RDKafkaErrorCode) -> Result<(), Error> {
    match code {
        code if UNKNOWN.contains(&code) => {
            Err(Error::Unavailable(format!("{topic}/{partition}: {code}")))
        }
        code => {
            if let Some(way_out) = way_out(code) {
                return Err(Error::Invalid(format!("{topic}/{partition}: {code}; {way_out}")));
            }
            tracing::warn!(topic, partition, error = %code, "fetch");
            Ok(())
        }
    }
}

/// A commit outside a transaction.
pub(super) fn commit(error: &KafkaError) -> Error {
    if is_fenced(error) {
        Error::Fenced(error.to_string())
    } else {
        Error::Indeterminate(error.to_string())
    }
}

/// The reaction to a failed transactional call.
pub(super) enum Transactional {
    /// Make the same call again.
    Retry(String),
    /// The transaction is known to be lost.
    Failed(Error),
}

/// A call of the transaction protocol before the commit itself.
pub(super) fn transactional(error: &KafkaError) -> Transactional {
    if is_fenced(error) {
        return Transactional::Failed(Error::Fenced(error.to_string()));
    }
    match error {
        KafkaError::Transaction(native) if native.is_retriable() && !native.is_fatal() => {
            Transactional::Retry(error.to_string())
        }
        _ => match plain(error.clone()) {
            invalid @ Error::Invalid(_) => Transactional::Failed(invalid),
            _ => Transactional::Failed(Error::Unavailable(error.to_string())),
        },
    }
}

/// Logs a line of librdkafka: its errors heal by themselves or come back as results.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::warn!(facility, message, "librdkafka"),
        _ => tracing::debug!(facility, message, "librdkafka"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reaction to each code, whichever call it comes from. Codes that are not here may heal.
    const REACTIONS: [(RDKafkaErrorCode, &str); 34] = [
        (RDKafkaErrorCode::Fenced, "fenced"),
        (RDKafkaErrorCode::ProducerFenced, "fenced"),
        (RDKafkaErrorCode::InvalidProducerEpoch, "fenced"),
        (RDKafkaErrorCode::TransactionCoordinatorFenced, "fenced"),
        (RDKafkaErrorCode::IllegalGeneration, "fenced"),
        (RDKafkaErrorCode::UnknownMemberId, "fenced"),
        (RDKafkaErrorCode::FencedInstanceId, "invalid"),
        (RDKafkaErrorCode::FencedMemberEpoch, "fenced"),
        (RDKafkaErrorCode::StaleMemberEpoch, "fenced"),
        (RDKafkaErrorCode::UnknownTopicOrPartition, "unavailable"),
        (RDKafkaErrorCode::UnknownTopic, "unavailable"),
        (RDKafkaErrorCode::UnknownPartition, "unavailable"),
        (RDKafkaErrorCode::TopicAuthorizationFailed, "invalid"),
        (RDKafkaErrorCode::GroupAuthorizationFailed, "invalid"),
        (RDKafkaErrorCode::ClusterAuthorizationFailed, "invalid"),
        (RDKafkaErrorCode::TransactionalIdAuthorizationFailed, "invalid"),
        (RDKafkaErrorCode::SaslAuthenticationFailed, "invalid"),
        (RDKafkaErrorCode::MessageSizeTooLarge, "invalid"),
        (RDKafkaErrorCode::InvalidMessageSize, "invalid"),
        (RDKafkaErrorCode::MessageBatchTooLarge, "invalid"),
        (RDKafkaErrorCode::InvalidRecord, "invalid"),
        (RDKafkaErrorCode::PolicyViolation, "invalid"),
        (RDKafkaErrorCode::InvalidTransactionTimeout, "invalid"),
        (RDKafkaErrorCode::UnsupportedVersion, "invalid"),
        (RDKafkaErrorCode::UnsupportedFeature, "invalid"),
        (RDKafkaErrorCode::OperationTimedOut, "unavailable"),
        (RDKafkaErrorCode::RequestTimedOut, "unavailable"),
        (RDKafkaErrorCode::AllBrokersDown, "unavailable"),
        (RDKafkaErrorCode::BrokerTransportFailure, "unavailable"),
        (RDKafkaErrorCode::CoordinatorNotAvailable, "unavailable"),
        (RDKafkaErrorCode::NotCoordinator, "unavailable"),
        (RDKafkaErrorCode::ConcurrentTransactions, "unavailable"),
        (RDKafkaErrorCode::InvalidTransactionalState, "unavailable"),
        (RDKafkaErrorCode::Unknown, "unavailable"),
    ];

    fn kind(error: &Error) -> &'static str {
        match error {
            Error::Fenced(_) => "fenced",
            Error::Indeterminate(_) => "indeterminate",
            Error::Unavailable(_) => "unavailable",
            Error::Corrupt(_) => "corrupt",
            Error::Invalid(_) => "invalid",
        }
    }

    fn kind_of(result: &Result<(), Error>) -> &'static str {
        result.as_ref().err().map_or("goes on", kind)
    }

    #[test]
    fn a_code_has_one_reaction_wherever_it_comes_from() {
        for (code, reaction) in REACTIONS {
            let error = KafkaError::MessageProduction(code);
            assert_eq!(kind(&plain(error.clone())), reaction, "{code:?}");
            let Transactional::Failed(failed) = transactional(&error) else {
                panic!("{code:?} is tried again although nothing says that it may be");
            };
            assert_eq!(kind(&failed), reaction, "{code:?} in a transaction");
            // Only a fenced member knows that its commit has not happened.
            let expected = if reaction == "fenced" { "fenced" } else { "indeterminate" };
            assert_eq!(kind(&commit(&error)), expected, "{code:?} of a commit");
        }
    }

    #[test]
    fn a_consumer_goes_on_when_its_client_heals_itself() {
        for (code, reaction) in REACTIONS {
            let heals = reaction == "unavailable" && !UNKNOWN.contains(&code);
            let expected = if heals { "goes on" } else { reaction };
            let error = KafkaError::MessageConsumption(code);
            assert_eq!(kind_of(&consumer(&error)), expected, "{code:?}");
        }
        let fatal = KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fatal);
        assert_eq!(kind_of(&consumer(&fatal)), "fenced");
    }

    #[test]
    fn a_partition_is_left_for_what_a_person_must_decide_and_when_its_topic_may_be_gone() {
        let of = |code| kind_of(&partition("events", false, 3, code));
        for code in [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange] {
            assert_eq!(of(code), "invalid", "{code:?}");
            // Another member may have gone on.
            assert_eq!(kind_of(&partition("words", true, 3, code)), "unavailable", "{code:?}");
        }
        for (code, reaction) in REACTIONS {
            let left = reaction == "invalid" || UNKNOWN.contains(&code);
            let expected = if left { reaction } else { "goes on" };
            assert_eq!(of(code), expected, "{code:?}");
        }
    }

    #[test]
    fn an_instance_of_another_process_is_for_a_person_and_one_of_an_earlier_run_is_waited_for() {
        let fatal = KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fatal);
        for (code, reaction) in [
            (RDKafkaErrorCode::FencedInstanceId, "invalid"),
            (RDKafkaErrorCode::UnreleasedInstanceId, "unavailable"),
            (RDKafkaErrorCode::InvalidRequest, "fenced"),
        ] {
            assert_eq!(kind_of(&membership(code, &fatal)), reaction, "{code:?}");
        }
    }

    #[test]
    fn what_is_invalid_names_a_way_out() {
        for (code, reaction) in REACTIONS {
            let said = plain(KafkaError::MessageProduction(code)).to_string();
            assert_eq!(said.contains("; "), reaction == "invalid", "{said}");
        }
        let said = setting(KafkaError::NoMessageReceived).to_string();
        assert!(said.contains("check --kafka"), "{said}");
    }
}
