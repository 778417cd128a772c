//! What the targets share: how a venue's messages are checked.

use std::fmt::Debug;

use schemas::avro::Record;
use schemas::{Codec, Decimal, PairKey, Timestamp};
use venues::book::{
    BOOK_LEVELS, Book, BookMessage, MAX_LEVELS, Outcome, Precision, Quote, Reason, Terms,
};
use venues::{Follow, Malformed, Message, Parsed, UNKNOWN, Venue};

/// When every frame arrives.
const AT: Timestamp = Timestamp(1_723_161_254_087);

/// Any text is read by a venue's adapter, and what comes out can be sent.
pub fn venue(venue: Venue, data: &[u8]) {
    // As the socket has it: a frame that is not UTF-8 never reaches an adapter.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut out = Vec::new();
    match venue.parse(text, AT, &mut out) {
        Ok(()) => out.iter().for_each(|parsed| check(venue, parsed)),
        Err(malformed) => assert!(Malformed::LABELS.contains(&malformed.label())),
    }
}

fn check(venue: Venue, parsed: &Parsed) {
    assert!(
        venue.adapter().kinds.contains(&parsed.kind) || parsed.kind == UNKNOWN,
        "{}",
        parsed.kind
    );
    match &parsed.message {
        Message::Event(pair, event) => survives(pair, event),
        Message::Ticker(pair, ticker) => survives(pair, &**ticker),
        _ => {}
    }
}

/// A record that was read is the same after its way through a topic.
pub fn survives<R: Record + PartialEq + Debug>(pair: &PairKey, record: &R) {
    let codec = Codec::offline();
    assert_eq!(codec.decode::<PairKey>(&codec.to_bytes(pair)).as_ref(), Ok(pair));
    assert_eq!(codec.decode::<R>(&codec.to_bytes(record)).as_ref(), Ok(record));
}

/// Any lines are taken by a book of a venue: text frames, and answers with its snapshot. Pairs are not
/// told apart, so that one book meets more of them.
pub fn book(venue: Venue, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let adapter = &venue.adapter().books;
    let Some(precision) = Precision::new(5, 8) else { return };
    let mut terms = Terms { depth: 10, precision };
    let Some(mut book) = (adapter.rules)(Follow::default(), Some(terms)).map(Book::new) else { return };
    for line in text.lines() {
        let (mut messages, before) = (Vec::new(), terms);
        if let Err(malformed) = (adapter.parse)(line, &mut messages) {
            assert!(Malformed::LABELS.contains(&malformed.label()));
        }
        if let Some(frame) = adapter.snapshot.and_then(|snapshot| snapshot(line).ok()) {
            taken(&mut book, |book| book.apply(frame));
        }
        for message in messages {
            match message {
                BookMessage::Frame(_, frame) => taken(&mut book, |book| book.apply(frame)),
                BookMessage::Lost(_) => taken(&mut book, |book| book.lose(Reason::SequenceGap)),
                BookMessage::Depth(_, depth) => terms.depth = depth,
                BookMessage::Precision(_, precision) => terms.precision = precision,
            }
        }
        if let Some(rules) = (adapter.rules)(Follow::default(), Some(terms)).filter(|_| terms != before) {
            book = Book::new(rules);
        }
    }
}

/// The outcome and the book agree, and a book in sync is sound.
fn taken(book: &mut Book, change: impl FnOnce(&mut Book) -> Outcome) {
    let outcome = change(book);
    match outcome {
        Outcome::Quote(quote) => assert_eq!(book.quote(), Some(quote)),
        Outcome::Unchanged => {}
        Outcome::Resync(_) => assert!(!book.is_in_sync() && book.quote().is_none()),
    }
    let (Some(quote), Some(depth)) = (book.quote(), book.depth(usize::MAX)) else { return };
    sound(&quote);
    assert!(depth.bids.len() <= MAX_LEVELS && depth.asks.len() <= MAX_LEVELS);
    assert_eq!((depth.bids.first(), depth.asks.first()), (quote.bid.as_ref(), quote.ask.as_ref()));
    assert!(depth.bids.is_sorted_by(|a, b| a.price > b.price));
    assert!(depth.asks.is_sorted_by(|a, b| a.price < b.price));
    assert!(depth.bids.iter().chain(&depth.asks).all(|level| level.size.is_positive()));
    assert!(book.depth(BOOK_LEVELS).is_some_and(|top| depth.bids.starts_with(&top.bids)));
}

/// Never crossed, and each value is where it must be.
fn sound(quote: &Quote) {
    if let Some((bid, ask)) = quote.bid.zip(quote.ask) {
        assert!(bid.price <= ask.price);
        for value in [quote.mid(), quote.microprice()] {
            assert!(value.is_some_and(|value| bid.price <= value && value <= ask.price));
        }
    }
    let is_empty = quote.bid.is_none() && quote.ask.is_none();
    let is_ratio = |value: Decimal| {
        value <= Decimal::ONE && !value.checked_add(Decimal::ONE).is_none_or(Decimal::is_negative)
    };
    assert_eq!(quote.imbalance().is_some_and(is_ratio), !is_empty);
}
