//! The sub-topology of quotes, and the table of books.

use std::cell::RefCell;
use std::sync::Arc;

use schemas::topic::Topic;
use streams::Builder;

use super::{Wiring, store_name};
use crate::layouts;
use crate::operators::{Interval, PairCache, QuoteStores, Quotes, quote_entry};

/// Wires it.
///
/// ```text
/// quotes ──decode, check──► Quotes
///    └─invalid──►             └─ stores top_of_book, spreads_1m, spreads_1h, spreads_1d, feeds
///      dead_letters              (each its own topic)
///
/// books ──► table: followed and read, rewritten by no one
/// ```
pub(super) fn wire(builder: &mut Builder, wiring: &Wiring) {
    let Wiring { codec, prefix, .. } = wiring;
    let spreads = |interval: Interval| layouts::spreads(codec, interval, prefix);
    let tops = builder.store(
        store_name(Topic::TopOfBook),
        layouts::top_of_book(codec, Topic::TopOfBook.name(prefix)),
    );
    let minutes = builder.store(store_name(Topic::Spreads1m), spreads(Interval::Minute));
    let hours = builder.store(store_name(Topic::Spreads1h), spreads(Interval::Hour));
    let days = builder.store(store_name(Topic::Spreads1d), spreads(Interval::Day));
    let feeds = builder.store(
        store_name(Topic::QuoteFeeds),
        layouts::feeds(codec, Topic::QuoteFeeds.name(prefix)),
    );
    let decoder = Arc::clone(codec);
    let pairs = RefCell::<PairCache>::default();
    let quotes = Topic::Quotes.name(&wiring.input_prefix);
    let entries = builder.source(quotes, move |record| quote_entry(&decoder, &pairs, record));
    entries.process(builder, |stores| {
        let stores = QuoteStores {
            tops: stores.get(&tops),
            minutes: stores.get(&minutes),
            hours: stores.get(&hours),
            days: stores.get(&days),
            feeds: stores.get(&feeds),
        };
        Quotes::in_steps(&stores, wiring.step_windows)
    });
    let books = layouts::books(codec, Topic::Books.name(&wiring.input_prefix));
    builder.table(store_name(Topic::Books), books);
}
