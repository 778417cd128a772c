//! Each reaction to an error is reached, by faults that librdkafka's mock cluster injects into
//! single requests.
//!
//! | reaction | what happens to a worker | reached here by |
//! |---|---|---|
//! | none: the same call again | it stays | `a_call_of_a_transaction_that_may_succeed_is_made_again`, `a_call_outside_a_transaction_that_may_succeed_is_made_again` |
//! | none: the client heals itself | it stays, and its partitions come back | `a_member_that_the_group_gave_up_joins_again` |
//! | `Fenced` | another rejoins | `a_member_that_was_replaced_is_fenced` |
//! | `Indeterminate` | another rejoins | `a_commit_without_an_answer_is_indeterminate` |
//! | `Unavailable` | another rejoins | `what_may_heal_is_unavailable`, `a_dead_letter_that_its_topic_refuses_ends_nothing` |
//! | `Invalid` | the application ends | `what_a_person_must_change_is_invalid` |
//! | `Corrupt` | the application ends | `a_store_that_knows_more_than_its_topic_is_corrupt`, `a_foreign_record_is_corrupt` |
//!
//! Which code is which is a table in `streams/src/runtime/errors.rs` with a test of its own; that
//! calls are not made again without end is shown in `streams/src/runtime/producer.rs`. What is
//! `Invalid` before a worker starts is shown with the real stack by `bad_input.rs`, and so is a
//! broker that does not answer.
//!
//! The mock cluster serves here and nowhere else: it knows no transactions, so nothing is said here
//! of what readers see. That is `broker.rs`, on real brokers.

#[path = "errors/app.rs"]
mod app;

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use app::{Api, Code, World, committed};
use streams::Error;

// Answers of brokers, by short names.
const BUSY: Code = Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS;
const LOADING: Code = Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
const AWAY: Code = Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
const MOVED: Code = Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
const FENCED: Code = Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
const OLD_EPOCH: Code = Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
const OLD_GENERATION: Code = Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
const NO_MEMBER: Code = Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
const CUT: Code = Code::RD_KAFKA_RESP_ERR__TRANSPORT;
const NO_LEADER: Code = Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
const FEW_COPIES: Code = Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
const UNSTABLE: Code = Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT;
const NO_TRANSACTIONS: Code = Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
const NO_TOPIC: Code = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
const NO_GROUP: Code = Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;

/// What is said when the broker does not allow something.
const ACL: &[&str] = &["uthorization", "ACLs"];
/// Requests that two consumers make: one of them may be of a store that has just been restored, and
/// nobody hears its answer.
const FETCHERS: usize = 8;
/// A fetch that may succeed is made again, and then it is refused.
const FETCHES: [Code; FETCHERS] = {
    let mut codes = [NO_TOPIC; FETCHERS];
    codes[0] = NO_LEADER;
    codes
};
/// Worlds at a time: each waits far more than it works.
const SIDE_BY_SIDE: usize = 4;

/// A request, what its next answers are, and what is expected of the application.
struct Case<T>(Api, &'static [Code], T);

/// Checks each case in a world of its own.
fn each<T: Sync>(
    cases: &[Case<T>],
    world: impl Fn() -> Result<World> + Sync,
    check: impl Fn(&World, &T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(Case(api, codes, expected)) = cases.get(next.fetch_add(1, Ordering::SeqCst))
        {
            check(&world()?.fail(*api, codes), expected)
                .with_context(|| format!("{api:?} fails with {codes:?}"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|w| w.join().ok().context("a case panicked")?);
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// A worker rejoined once, after an error of this kind, and the next one committed.
fn heals(world: &World, kind: &&'static str) -> Result<()> {
    world.run()?.healed(&[(kind, 1)])
}

fn is_invalid(world: &World, words: &&[&str]) -> Result<()> {
    world.run_to_its_end()?.ended(|error| matches!(error, Error::Invalid(_)), words)
}

fn is_corrupt(world: &World, words: &[&str]) -> Result<()> {
    world.run_to_its_end()?.ended(|error| matches!(error, Error::Corrupt(_)), words)
}

#[test]
fn a_member_that_was_replaced_is_fenced() -> Result<()> {
    let fenced = "fenced";
    let cases = [
        Case(Api::InitProducerId, &[FENCED], fenced),
        Case(Api::InitProducerId, &[OLD_EPOCH], fenced),
        Case(Api::AddPartitionsToTxn, &[FENCED], fenced),
        Case(Api::Produce, &[FENCED], fenced),
        Case(Api::Produce, &[OLD_EPOCH], fenced),
        Case(Api::AddOffsetsToTxn, &[OLD_EPOCH], fenced),
        Case(Api::TxnOffsetCommit, &[FENCED], fenced),
        Case(Api::TxnOffsetCommit, &[OLD_GENERATION], fenced),
        Case(Api::TxnOffsetCommit, &[NO_MEMBER], fenced),
        Case(Api::TxnOffsetCommit, &[Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH], fenced),
        Case(Api::EndTxn, &[FENCED], fenced),
        Case(Api::EndTxn, &[OLD_EPOCH], fenced),
    ];
    each(&cases, World::new, heals)
}

#[test]
fn a_commit_without_an_answer_is_indeterminate() -> Result<()> {
    let unknown = "indeterminate";
    let cases = [
        Case(Api::EndTxn, &[Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT], unknown),
        Case(Api::EndTxn, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN], unknown),
        Case(Api::EndTxn, &[Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE], unknown),
    ];
    each(&cases, World::new, heals)?;
    // A member without work proves that it is the owner by the same request, and loses nothing when that
    // fails: it may take the first of these answers, or the second once a worker has rejoined.
    let answers = [Code::RD_KAFKA_RESP_ERR_UNKNOWN; 2];
    let world = World::new()?.classic().at_least_once().fail(Api::OffsetCommit, &answers);
    let outcome = world.run()?;
    let restarts = outcome.restarts.clone();
    ensure!(matches!(restarts[..], [("indeterminate", 1 | 2)]), "{outcome:?}");
    outcome.healed(&restarts)
}

#[test]
fn what_may_heal_is_unavailable() -> Result<()> {
    let unavailable = "unavailable";
    let cases = [
        Case(Api::AddPartitionsToTxn, &[Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE], unavailable),
        Case(Api::AddPartitionsToTxn, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID], unavailable),
        Case(Api::Produce, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN], unavailable),
        Case(Api::TxnOffsetCommit, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN], unavailable),
        // A broker that has just taken over; a topic that is really missing is found by the next start.
        Case(Api::OffsetFetch, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART], unavailable),
    ];
    each(&cases, World::new, heals)
}

#[test]
fn what_a_person_must_change_is_invalid() -> Result<()> {
    const SIZE: &[&str] = &["larger than its topic takes", "max.message.bytes"];
    const OFFSET: &[&str] = &["/0", "records were deleted unread", "--reset-offsets"];
    const TIMEOUT: &[&str] = &["lower --transaction-timeout"];
    const REFUSED: &[&str] = &["the broker refuses what is written"];
    const INSTANCE: &[&str] = &["give each member its own"];
    let cases = [
        Case(Api::InitProducerId, &[Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED], ACL),
        Case(Api::InitProducerId, &[Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT], TIMEOUT),
        Case(Api::AddPartitionsToTxn, &[NO_TOPIC], ACL),
        Case(Api::TxnOffsetCommit, &[Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID], INSTANCE),
        // Of an output: it cannot be left out. A dead letter is cut instead, see below.
        Case(Api::Produce, &[Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE], SIZE),
        Case(Api::Produce, &[Code::RD_KAFKA_RESP_ERR_INVALID_RECORD], REFUSED),
        Case(Api::AddOffsetsToTxn, &[NO_GROUP], ACL),
        Case(Api::EndTxn, &[NO_TRANSACTIONS], ACL),
        Case(Api::Fetch, &[Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; FETCHERS], OFFSET),
        Case(Api::Fetch, &[NO_TOPIC; FETCHERS], ACL),
    ];
    each(&cases, World::new, is_invalid)
}

/// The topic of the dead letters refuses each size, one after the other; a worker rejoins after each and
/// writes less, and what cannot be written at all is counted. Nothing is refused twice.
#[test]
fn a_dead_letter_that_its_topic_refuses_ends_nothing() -> Result<()> {
    const SIZES: usize = 3;
    let refusals = [
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        Code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        Code::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    ];
    for refusal in refusals {
        for times in 1..=SIZES {
            let world = World::with_junk()?.fail(Api::Produce, &vec![refusal; times]);
            let outcome = world.run()?;
            outcome.healed(&[("unavailable", u64::try_from(times)?)])?;
            ensure!(outcome.refused == u64::from(times == SIZES), "{outcome:?}");
        }
    }
    Ok(())
}

// The last answer of each of these is one whose reaction is known: it comes only to a call that was
// made again after all answers before it, and those left no trace.

#[test]
fn a_call_of_a_transaction_that_may_succeed_is_made_again() -> Result<()> {
    let cases = [
        Case(Api::AddPartitionsToTxn, &[BUSY, LOADING, AWAY, FENCED][..], "fenced"),
        Case(Api::AddOffsetsToTxn, &[BUSY, MOVED, OLD_EPOCH], "fenced"),
        Case(Api::TxnOffsetCommit, &[LOADING, MOVED, OLD_GENERATION], "fenced"),
        Case(Api::EndTxn, &[BUSY, LOADING, CUT, FENCED], "fenced"),
    ];
    each(&cases, World::new, heals)
}

#[test]
fn a_call_outside_a_transaction_that_may_succeed_is_made_again() -> Result<()> {
    let cases = [
        Case(Api::FindCoordinator, &[AWAY, AWAY, NO_TRANSACTIONS][..], ACL),
        Case(Api::InitProducerId, &[BUSY, AWAY, LOADING, NO_TRANSACTIONS], ACL),
        Case(Api::Produce, &[NO_LEADER, FEW_COPIES, CUT, NO_TOPIC], ACL),
        Case(Api::Fetch, &FETCHES, ACL),
        Case(Api::OffsetFetch, &[UNSTABLE, NO_GROUP], ACL),
    ];
    each(&cases, World::new, is_invalid)?;
    let joining = [Case(Api::JoinGroup, &[LOADING, NO_MEMBER, NO_GROUP][..], ACL)];
    each(&joining, || Ok(World::new()?.classic()), is_invalid)
}

#[test]
fn a_member_that_the_group_gave_up_joins_again() -> Result<()> {
    let world = World::new()?.classic();
    world.mock.request_errors(Api::Heartbeat, &[NO_MEMBER]);
    let mut lost_at = None;
    let outcome = world.run_until(|metrics| {
        // Assigned, lost, assigned again; and then there is something new to commit.
        if lost_at.is_none() && metrics.rebalances.get() >= 3 {
            lost_at = Some(committed(metrics));
            world.write(app::WORDS, b"another", b"")?;
        }
        Ok(lost_at.is_some_and(|before| committed(metrics) > before))
    })?;
    ensure!(lost_at.is_some(), "its partitions were not lost: {outcome:?}");
    outcome.healed(&[])
}

#[test]
fn a_store_that_knows_more_than_its_topic_is_corrupt() -> Result<()> {
    let world = World::new()?;
    world.run()?.healed(&[])?;
    let words = ["store counts partition 0 is at position", "ends at 0", "state directory"];
    is_corrupt(&world.forgotten_by_the_broker()?, &words)
}

#[test]
fn a_foreign_record_is_corrupt() -> Result<()> {
    let world = World::new()?;
    world.write(app::COUNTS, b"word", b"many")?;
    is_corrupt(&world, &["topic counts offset 0", "no count", "a foreign writer?"])
}
