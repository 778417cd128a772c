//! From an output to its record: topic, partition, key and value.
//!
//! | output | topic | partition |
//! |---|---|---|
//! | event, gap | `events` | by key |
//! | mark | `events` | every one |
//! | quote, book mark | `quotes` | by key |
//! | book clock | `quotes` | every one |
//! | book | `books` | by key |
//! | ticker, instrument | `option_tickers` | by key |
//! | ticker clock | `option_tickers` | every one |
//! | swap, pool | `swaps` | by key |
//! | head | `swaps` | every one |
//! | dead letter | `dead_letters` | any |

use schemas::avro::Record;
use schemas::{ChainHead, FeedMark, PairKey, PoolKey};
use streams::dead_letter;
use venues::ethereum::NAME;
use venues::pipeline::{DeadLetter, Output};

use super::Sink;
use super::config::{Result, SinkError};
use super::parcel::{PairTopic, Target};

impl Sink {
    /// Queues a live record: the time from its receipt to Kafka's acknowledgement is measured.
    pub fn publish_live(&mut self, output: &Output) -> Result<()> {
        self.received = output.received_at();
        let published = self.publish(output);
        self.received = None;
        published
    }

    /// Queues one output, waiting while the queue is full.
    pub fn publish(&mut self, output: &Output) -> Result<()> {
        match output {
            Output::Event { pair, event } => self.record(PairTopic::Events, pair, event),
            Output::Mark { exchange, mark } => {
                self.everywhere(PairTopic::Events, self.partitions.events, exchange, mark)
            }
            Output::Gap { pair, mark } => self.record(PairTopic::Events, pair, mark),
            Output::Quote { pair, quote } => self.record(PairTopic::Quotes, pair, quote),
            Output::Book { pair, book } => self.record(PairTopic::Books, pair, book),
            Output::BookMark { pair, mark } => self.record(PairTopic::Quotes, pair, mark),
            Output::BookClock { exchange, mark } => {
                self.everywhere(PairTopic::Quotes, self.quote_partitions()?, exchange, mark)
            }
            Output::Ticker { pair, ticker } => {
                self.record(PairTopic::OptionTickers, pair, &**ticker)
            }
            Output::Instrument { pair, instrument } => {
                self.record(PairTopic::OptionTickers, pair, instrument)
            }
            Output::TickerClock { exchange, mark } => {
                let partitions = self.ticker_partitions()?;
                self.everywhere(PairTopic::OptionTickers, partitions, exchange, mark)
            }
            Output::Swap { key, swap } => self.of_pool(key, &**swap),
            Output::Pool { key, pool } => self.of_pool(key, &**pool),
            Output::Head { chain, head } => self.head(*chain, head),
            Output::DeadLetter(letter) => self.dead_letter(letter),
        }
    }

    /// Queues a record of `events` whose key is in the wire format already.
    pub fn publish_keyed<R: Record>(
        &mut self,
        key: &[u8],
        value: &R,
        exchange: &str,
    ) -> Result<()> {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        self.codec.encode(value, &mut self.value);
        self.send(Target::Key(PairTopic::Events), exchange, Vec::new())
    }

    /// A key in the wire format.
    pub fn key(&self, pair: &PairKey) -> Vec<u8> {
        self.codec.to_bytes(pair)
    }

    /// Queues a record for the partition of its key.
    fn record<R: Record>(&mut self, topic: PairTopic, pair: &PairKey, value: &R) -> Result<()> {
        match topic {
            PairTopic::Events => {}
            PairTopic::Quotes | PairTopic::Books => _ = self.quote_partitions()?,
            PairTopic::OptionTickers => _ = self.ticker_partitions()?,
            PairTopic::Swaps => _ = self.swap_partitions()?,
        }
        self.encode(pair, value);
        self.send(Target::Key(topic), &pair.exchange, Vec::new())
    }

    /// Queues a record of a pool for the partition of its key.
    fn of_pool<R: Record>(&mut self, key: &PoolKey, value: &R) -> Result<()> {
        self.swap_partitions()?;
        self.encode(key, value);
        self.send(Target::Key(PairTopic::Swaps), NAME, Vec::new())
    }

    /// Queues the head of a chain for every partition: it decides which swaps count.
    fn head(&mut self, chain: i64, head: &ChainHead) -> Result<()> {
        let partitions = self.swap_partitions()?;
        self.encode(&PoolKey::of_chain(chain), head);
        (0..partitions).try_for_each(|partition| {
            self.send(Target::Partition(PairTopic::Swaps, partition), NAME, Vec::new())
        })
    }

    /// Queues a mark of an exchange for every partition.
    fn everywhere(
        &mut self,
        topic: PairTopic,
        partitions: i32,
        exchange: &str,
        mark: &FeedMark,
    ) -> Result<()> {
        self.encode(&PairKey::feed(exchange), mark);
        (0..partitions).try_for_each(|partition| {
            self.send(Target::Partition(topic, partition), exchange, Vec::new())
        })
    }

    /// The partitions of `quotes`. A recording may have books although none are followed: their topics
    /// are missed only then.
    fn quote_partitions(&self) -> Result<i32> {
        self.partitions.quotes.ok_or_else(|| self.missing(PairTopic::Quotes))
    }

    /// The partitions of `option_tickers`. A recording may have tickers although none are followed.
    fn ticker_partitions(&self) -> Result<i32> {
        self.partitions.option_tickers.ok_or_else(|| self.missing(PairTopic::OptionTickers))
    }

    /// The partitions of `swaps`. A recording may have swaps although no chain is followed.
    fn swap_partitions(&self) -> Result<i32> {
        self.partitions.swaps.ok_or_else(|| self.missing(PairTopic::Swaps))
    }

    fn missing(&self, topic: PairTopic) -> SinkError {
        SinkError::MissingTopic(self.topics[topic as usize].clone())
    }

    fn encode<K: Record, R: Record>(&mut self, key: &K, value: &R) {
        self.key.clear();
        self.codec.encode(key, &mut self.key);
        self.value.clear();
        self.codec.encode(value, &mut self.value);
    }

    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<()> {
        self.metrics.dead_letters.with_label_values(&[letter.venue, letter.reason]).inc();
        tracing::debug!(venue = letter.venue, reason = letter.detail, "dead letter");
        let cut = dead_letter::cut(&[], Some(letter.raw.as_bytes()), dead_letter::MAX_BYTES);
        self.value.clear();
        self.value.extend_from_slice(cut.value.unwrap_or_default());
        let length = letter.raw.len().to_string();
        let mut headers = letter.headers(&length);
        headers.extend(cut.headers.iter().map(|(name, text)| (*name, &text[..])));
        self.send(Target::DeadLetters, letter.venue, headers)
    }
}
