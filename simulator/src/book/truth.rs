//! The truth of the books: the best bids and asks as the venue showed them, and when a fault was
//! made.
//!
//! A quote is in the truth for each update that changed the best bid or ask, also when a fault kept
//! the update from the clients.

use std::collections::VecDeque;

use serde_json::json;

use super::Best;
use super::update::State;
use crate::product::Product;

/// Quotes of all products that can be looked back at: some 30 MB.
const QUOTES: usize = 400_000;
/// Quotes of each product that can be looked back at whatever their number.
const MIN_QUOTES: usize = 50;
/// Faults that can be looked back at.
const FAULTS: usize = 100_000;
/// Lines that wait to be written; a step of the market makes fewer.
const MAX_LINES: usize = 100_000;

schemas::named! {
    /// A fault of a book.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// The checksum is not that of the book.
        Checksum = "checksum",
        /// No client receives the update.
        Skipped = "skipped",
        /// The best bid is above the best ask.
        Crossed = "crossed",
        /// The snapshot is older than the feed.
        StaleSnapshot = "stale_snapshot",
        /// The snapshot comes late.
        SlowSnapshot = "slow_snapshot",
        /// The request for a snapshot has an answer without one.
        NoSnapshot = "no_snapshot",
        /// The subscription is refused.
        Refused = "refused",
    }
}

/// The best bid and ask of a product from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The venue's time, in microseconds since the epoch.
    pub time_us: i64,
    /// The id of the state: the sequence where the venue has one.
    pub id: u64,
    /// In ticks and size units.
    pub best: Best,
}

/// A fault that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The index of the product.
    pub product: usize,
    /// The venue's time, in microseconds since the epoch.
    pub time_us: i64,
    /// The fault.
    pub fault: Fault,
}

enum Line {
    Quote(usize, Quote),
    Fault(Made),
}

/// The quotes and the faults, the newest of each.
#[derive(Debug)]
pub struct Truth {
    quotes: Vec<VecDeque<Quote>>,
    faults: VecDeque<Made>,
    /// To be written, when there is a file.
    lines: Option<VecDeque<Line>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quote(product, quote) => write!(f, "{product}: {quote:?}"),
            Self::Fault(made) => write!(f, "{made:?}"),
        }
    }
}

impl Truth {
    /// Of this many products.
    pub(super) fn new(products: usize) -> Self {
        Self { quotes: vec![VecDeque::new(); products], faults: VecDeque::new(), lines: None }
    }

    /// The quotes of a product, oldest first.
    pub fn quotes(&self, product: usize) -> impl Iterator<Item = &Quote> {
        self.quotes.get(product).into_iter().flatten()
    }

    /// The faults, oldest first.
    pub fn faults(&self) -> impl Iterator<Item = &Made> {
        self.faults.iter()
    }

    /// Notes the best bid and ask of a shown state, if they are others.
    pub(super) fn quote(&mut self, state: &State) {
        let (product, best) = (state.trade.product, state.trade.best);
        let most = (QUOTES / self.quotes.len().max(1)).max(MIN_QUOTES);
        let quotes = &mut self.quotes[product];
        if quotes.back().is_some_and(|last| last.best == best) {
            return;
        }
        let quote = Quote { time_us: state.time_us, id: state.sequence(), best };
        push(quotes, most, quote);
        self.write(Line::Quote(product, quote));
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, product: usize, time_us: i64, fault: Fault) {
        let made = Made { product, time_us, fault };
        push(&mut self.faults, FAULTS, made);
        self.write(Line::Fault(made));
    }

    /// Keeps lines for a file from now on, those of the quotes so far included.
    pub(crate) fn keep_lines(&mut self) {
        let of = |(product, quotes): (usize, &VecDeque<Quote>)| {
            let line = |quote: &Quote| Line::Quote(product, *quote);
            quotes.iter().map(line).collect::<Vec<_>>()
        };
        self.lines = Some(self.quotes.iter().enumerate().flat_map(of).collect());
    }

    /// Takes the lines that are to be written.
    pub(crate) fn take_lines(&mut self, products: &[Product]) -> Vec<String> {
        let Some(lines) = &mut self.lines else { return Vec::new() };
        lines.drain(..).map(|line| text(&line, products)).collect()
    }

    fn write(&mut self, line: Line) {
        if let Some(lines) = &mut self.lines {
            push(lines, MAX_LINES, line);
        }
    }
}

/// One more at the end, and none at the beginning beyond `most`.
fn push<T>(queue: &mut VecDeque<T>, most: usize, one: T) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(one);
}

/// A line of the file, with numbers as the venue writes them.
fn text(line: &Line, products: &[Product]) -> String {
    match line {
        Line::Quote(product, Quote { time_us, id, best }) => {
            let product = &products[*product];
            json!({"product": product.name, "time_us": time_us, "id": id,
                "bid": product.price(best.bid.price), "bid_size": product.size(best.bid.size),
                "ask": product.price(best.ask.price), "ask_size": product.size(best.ask.size)})
        }
        Line::Fault(Made { product, time_us, fault }) => json!({
            "product": products[*product].name, "time_us": time_us, "fault": fault.as_str()}),
    }
    .to_string()
}
