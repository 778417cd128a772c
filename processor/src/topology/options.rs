//! The sub-topology of options, futures and perpetuals.

use std::cell::RefCell;
use std::sync::Arc;

use schemas::topic::Topic;
use streams::Builder;

use super::{Wiring, store_name};
use crate::layouts;
use crate::operators::{OptionStores, Options, PairCache, option_entry};

/// Wires it.
///
/// ```text
/// option_tickers ──decode, check──► Options
///    └─invalid──►                     └─ stores options, options_1m, derivatives
///      dead_letters                      (each its own topic)
/// ```
pub(super) fn wire(builder: &mut Builder, wiring: &Wiring) {
    let Wiring { codec, prefix, .. } = wiring;
    let options = builder
        .store(store_name(Topic::Options), layouts::options(codec, Topic::Options.name(prefix)));
    let minutes =
        builder.store(store_name(Topic::Options1m), layouts::option_minutes(codec, prefix));
    let derivatives = builder.store(
        store_name(Topic::Derivatives),
        layouts::derivatives(codec, Topic::Derivatives.name(prefix)),
    );
    let decoder = Arc::clone(codec);
    let pairs = RefCell::<PairCache>::default();
    let tickers = Topic::OptionTickers.name(&wiring.input_prefix);
    let entries = builder.source(tickers, move |record| option_entry(&decoder, &pairs, record));
    entries.process(builder, |stores| {
        let stores = OptionStores {
            options: stores.get(&options),
            minutes: stores.get(&minutes),
            derivatives: stores.get(&derivatives),
        };
        Options::in_steps(&stores, wiring.step_windows)
    });
}
