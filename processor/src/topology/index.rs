//! The sub-topology of the consolidated price, behind a repartition topic of `prices`.

use std::sync::Arc;

use schemas::topic::Topic;
use streams::{Builder, SinkRecord};

use super::prices::Priced;
use super::selection::INDEX_LEGS;
use super::{Wiring, store_name};
use crate::layouts;
use crate::operators::{IndexLegEntry, IndexLegs, Indexes, index_leg_entry};

/// Wires it, behind the operators that keep `latest`.
///
/// ```text
/// prices ──► IndexLegs ──► index-legs ──► Indexes
///               └─ store of the pairs       └─ store index (its own topic)
///                  that wait
/// ```
pub(super) fn wire(builder: &mut Builder, wiring: &Wiring, priced: &Priced) {
    let Wiring { codec, prefix, .. } = wiring;
    let due = builder
        .store(store_name(Topic::IndexDue), layouts::index_due(Topic::IndexDue.name(prefix)));
    let Priced { entries, latest } = priced;
    let legs =
        entries.process(builder, |stores| IndexLegs::new(stores.get(latest), stores.get(&due)));
    let (encoder, decoder) = (Arc::clone(codec), Arc::clone(codec));
    let encode = move |(key, leg): &IndexLegEntry| SinkRecord {
        key: encoder.to_bytes(key),
        value: Some(encoder.to_bytes(leg)),
    };
    let legs =
        legs.repartition(builder, INDEX_LEGS, encode, move |one| index_leg_entry(&decoder, one));
    let rows =
        builder.store(store_name(Topic::Index), layouts::index(codec, Topic::Index.name(prefix)));
    legs.process(builder, |stores| Indexes::new(stores.get(&rows)));
}
