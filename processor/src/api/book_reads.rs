//! The part of a read that needs the stores of `quotes` and the table `books`.
//!
//! The stores of `quotes` have partitions of their own: a member may have the prices of a pair and not
//! its quotes. The table `books` has every partition in each process.

use std::sync::Arc;

use schemas::topic::Topic;
use schemas::{Book, PairKey, TopOfBook};

use super::book_reader::BookReader;
use super::error::{Refusal, Result};
use super::extent::Extent;
use super::pair_store::PairStore;
use super::read_service::ReadContext;
use crate::topology::store_name;

impl ReadContext<'_> {
    fn book_readers(&mut self) -> &[(i32, BookReader)] {
        let service = self.service;
        self.books
            .get_or_insert_with(|| BookReader::of_partitions(&service.queries, &service.codec))
    }

    /// The place among the readers of the partition that has the pair's quotes, and the top of its book.
    pub(super) fn find_top(&mut self, pair: &PairKey) -> Result<Option<(usize, TopOfBook)>> {
        let hints = Arc::clone(&self.service.quote_hints);
        let readers = self.book_readers();
        let first = hints.recall(pair);
        let first = first.and_then(|first| readers.iter().position(|(p, _)| *p == first));
        let others = (0..readers.len()).filter(|index| Some(*index) != first);
        let mut searched = Extent::default();
        let mut found = None;
        for index in first.into_iter().chain(others) {
            let (partition, reader) = &readers[index];
            let mut extent = Extent::default();
            extent.add(Topic::TopOfBook, *partition, reader.store(Topic::TopOfBook)?);
            if let Some(top) = reader.top(pair)? {
                hints.remember(pair, *partition);
                // Only a pair that is missing everywhere depends on every partition.
                searched = extent;
                found = Some((index, top));
                break;
            }
            searched.merge(extent);
        }
        self.extent.merge(searched);
        Ok(found)
    }

    /// The top of every book that is here.
    pub(super) fn tops(&mut self) -> Result<Vec<(PairKey, TopOfBook)>> {
        let (mut found, mut extent) = (Vec::new(), Extent::default());
        for (partition, reader) in self.book_readers() {
            extent.add(Topic::TopOfBook, *partition, reader.store(Topic::TopOfBook)?);
            found.extend(reader.tops(&[])?);
        }
        self.extent.merge(extent);
        Ok(found)
    }

    /// The reader at a place, for a read of these stores.
    pub(super) fn book_reader(&mut self, index: usize, topics: &[Topic]) -> Result<&BookReader> {
        let mut extent = Extent::default();
        let (partition, reader) = &self.book_readers()[index];
        for topic in topics {
            extent.add(*topic, *partition, reader.store(*topic)?);
        }
        self.extent.merge(extent);
        Ok(&self.book_readers()[index].1)
    }

    /// The newest book of a pair.
    pub(super) fn book(&mut self, pair: &PairKey) -> Result<Option<Book>> {
        let service = self.service;
        let mut searched = Extent::default();
        for (partition, store) in service.queries.stores(store_name(Topic::Books)) {
            let mut extent = Extent::default();
            extent.add(Topic::Books, partition, &store);
            let found = PairStore::new(&service.codec, &store, Topic::Books).get(pair)?;
            if found.is_some() {
                self.extent.merge(extent);
                return Ok(found);
            }
            searched.merge(extent);
        }
        self.extent.merge(searched);
        Ok(None)
    }

    /// The refusal when no partition of this process has quotes of the pair.
    pub(super) fn no_quotes_here(&mut self, pair: &PairKey) -> Refusal {
        let partitions: Vec<i32> =
            self.book_readers().iter().map(|(partition, _)| *partition).collect();
        if !self.is_ready() {
            let reason = format!(
                "{pair}: its quotes are not in the partitions that are restored so far: try again"
            );
            return Refusal::unavailable(reason).with("partitions", partitions);
        }
        let reason = format!(
            "{pair}: no partition of this member has a quote of it: check the name, ask a view, follow \
             its book with producer run --channels book, or compute it with processor run \
             --topologies prices,quotes"
        );
        Refusal::not_found(reason).with("partitions", partitions)
    }
}
