//! The sub-topologies of swaps: `swaps`, and behind repartition topics `tokens` and `swap_status`.

use std::sync::Arc;

use schemas::Codec;
use schemas::avro::Record;
use schemas::topic::Topic;
use streams::{Builder, SinkRecord};

use super::selection::{LEGS, STATUSES};
use super::{Wiring, store_name};
use crate::layouts;
use crate::operators::{
    LegEntry, Route, StatusEntry, SwapOutput, SwapStatuses, SwapStores, Swaps, TokenStores, Tokens,
    leg_entry, status_entry, swap_entry,
};

/// Wires them.
///
/// ```text
/// swaps ──decode, check──► Swaps ──┬─ leg ────► token-legs ──► Tokens
///    └─invalid──►           │      │             stores token_5m, token_1h, pools of buckets
///      dead_letters         │      └─ status ─► swap-status ─► SwapStatuses
///                           │                    store swap_status
///                           └─ stores pools, pool_1m, instances and blocks (each its own topic)
/// ```
pub(super) fn wire(builder: &mut Builder, wiring: &Wiring) {
    let Wiring { codec, prefix, .. } = wiring;
    let pools =
        builder.store(store_name(Topic::Pools), layouts::pools(codec, Topic::Pools.name(prefix)));
    let minutes =
        builder.store(store_name(Topic::PoolMinutes), layouts::pool_minutes(codec, prefix));
    let instances = builder.store(
        store_name(Topic::SwapInstances),
        layouts::swap_instances(Topic::SwapInstances.name(prefix)),
    );
    let heights = builder.store(
        store_name(Topic::ChainBlocks),
        layouts::chain_blocks(Topic::ChainBlocks.name(prefix)),
    );
    let decoder = Arc::clone(codec);
    let source = Topic::Swaps.name(&wiring.input_prefix);
    let entries = builder.source(source, move |record| swap_entry(&decoder, record));
    let outputs = entries.process(builder, |stores| {
        let stores = SwapStores {
            pools: stores.get(&pools),
            minutes: stores.get(&minutes),
            instances: stores.get(&instances),
            heights: stores.get(&heights),
        };
        Swaps::new(stores, wiring.confirmations)
    });
    let legs = outputs.process(builder, |_| Route::new(SwapOutput::leg));
    let statuses = outputs.process(builder, |_| Route::new(SwapOutput::status));

    let (encoder, decoder) = (Arc::clone(codec), Arc::clone(codec));
    let encode = move |(key, leg): &LegEntry| record(&encoder, key, Some(leg));
    let legs = legs.repartition(builder, LEGS, encode, move |one| leg_entry(&decoder, one));
    wire_tokens(builder, wiring, &legs);

    let (encoder, decoder) = (Arc::clone(codec), Arc::clone(codec));
    let encode = move |(key, state): &StatusEntry| record(&encoder, key, state.as_ref());
    let statuses =
        statuses.repartition(builder, STATUSES, encode, move |one| status_entry(&decoder, one));
    let rows = builder.store(
        store_name(Topic::SwapStatus),
        layouts::swap_status(codec, Topic::SwapStatus.name(prefix)),
    );
    statuses.process(builder, |stores| SwapStatuses::new(stores.get(&rows)));
}

fn wire_tokens(builder: &mut Builder, wiring: &Wiring, legs: &streams::Stream<LegEntry>) {
    let Wiring { codec, prefix, .. } = wiring;
    let buckets = |topic| layouts::token_buckets(codec, topic, prefix);
    let five_minutes = builder.store(store_name(Topic::Token5m), buckets(Topic::Token5m));
    let hours = builder.store(store_name(Topic::Token1h), buckets(Topic::Token1h));
    let pools = builder
        .store(store_name(Topic::TokenPools), layouts::token_pools(Topic::TokenPools, prefix));
    legs.process(builder, |stores| {
        Tokens::new(TokenStores {
            five_minutes: stores.get(&five_minutes),
            hours: stores.get(&hours),
            pools: stores.get(&pools),
        })
    });
}

fn record<K: Record, V: Record>(codec: &Codec, key: &K, value: Option<&V>) -> SinkRecord {
    SinkRecord { key: codec.to_bytes(key), value: value.map(|value| codec.to_bytes(value)) }
}
