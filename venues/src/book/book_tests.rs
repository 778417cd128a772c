//! A book against the truth: a venue made of single changes, its snapshots and its updates.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::Decimal;

use super::*;

/// Prices of bids and asks meet here, so some states are crossed.
const MIDDLE: i128 = 40;

fn level(price: i128, size: i128) -> Level {
    let units = |number| Decimal::from_units(number).unwrap_or_default();
    Level { price: units(price), size: units(size) }
}

fn frame(kind: FrameKind, bids: Vec<Level>, asks: Vec<Level>) -> BookFrame {
    BookFrame { kind, bids, asks, span: None, checksum: None, event_time: None }
}

/// The naive book: ordinary maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
}

impl Model {
    fn apply(&mut self, frame: &BookFrame) {
        if frame.kind == FrameKind::Snapshot {
            *self = Self::default();
        }
        for (side, levels) in [(&mut self.bids, &frame.bids), (&mut self.asks, &frame.asks)] {
            for Level { price, size } in levels {
                if *size == Decimal::ZERO {
                    side.remove(price)
                } else {
                    side.insert(*price, *size)
                };
            }
        }
    }

    fn bids(&self) -> Vec<Level> {
        self.bids.iter().rev().map(|(price, size)| Level { price: *price, size: *size }).collect()
    }

    fn asks(&self) -> Vec<Level> {
        self.asks.iter().map(|(price, size)| Level { price: *price, size: *size }).collect()
    }

    fn best(&self) -> (Option<Level>, Option<Level>) {
        (self.bids().first().copied(), self.asks().first().copied())
    }

    fn is_crossed(&self) -> bool {
        matches!(self.best(), (Some(bid), Some(ask)) if bid.price > ask.price)
    }

    fn truncate(&mut self, depth: usize) {
        for level in self.bids().iter().skip(depth) {
            self.bids.remove(&level.price);
        }
        for level in self.asks().iter().skip(depth) {
            self.asks.remove(&level.price);
        }
    }

    /// Kraken's checksum of numbers with one decimal, whose text has none but their digits.
    fn checksum(&self) -> u32 {
        let text =
            |level: Level| format!("{}{}", level.price.units() / TENTH, level.size.units() / TENTH);
        let asks: String = self.asks().into_iter().take(10).map(text).collect();
        let bids: String = self.bids().into_iter().take(10).map(text).collect();
        crc32fast::hash(format!("{asks}{bids}").as_bytes())
    }
}

const TENTH: i128 = 100_000_000_000_000_000;

fn side(prices: std::ops::Range<i128>, scale: i128) -> impl Strategy<Value = Vec<Level>> {
    let change =
        (prices, 0i128..4).prop_map(move |(price, size)| level(price * scale, size * scale));
    prop::collection::vec(change, 0..12)
}

fn frames(scale: i128) -> impl Strategy<Value = Vec<BookFrame>> {
    let kind = prop_oneof![1 => Just(FrameKind::Snapshot), 4 => Just(FrameKind::Update)];
    let one = (kind, side(1..MIDDLE + 2, scale), side(MIDDLE - 2..2 * MIDDLE, scale));
    prop::collection::vec(one.prop_map(|(kind, bids, asks)| frame(kind, bids, asks)), 1..30)
}

/// The outcomes of a book whose snapshots are sent, by the rules as they are written.
fn expected(
    model: Option<&Model>,
    published: Option<(Option<Level>, Option<Level>)>,
) -> &'static str {
    match model {
        None => "unchanged",
        Some(model) if model.is_crossed() => "crossed",
        Some(model) if published == Some(model.best()) => "unchanged",
        Some(_) => "quote",
    }
}

fn named(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Quote(_) => "quote",
        Outcome::Unchanged => "unchanged",
        Outcome::Resync(Reason::Crossed) => "crossed",
        Outcome::Resync(Reason::Checksum) => "checksum",
        Outcome::Resync(_) => "other",
    }
}

proptest! {
    #[test]
    fn a_book_equals_the_naive_one(frames in frames(1)) {
        let mut book = Book::new(Rules::Plain);
        let (mut model, mut published): (Option<Model>, _) = (None, None);
        for frame in frames {
            if frame.kind == FrameKind::Snapshot {
                model = Some(model.unwrap_or_default());
            }
            if let Some(model) = &mut model {
                model.apply(&frame);
            }
            prop_assert_eq!(named(book.apply(frame)), expected(model.as_ref(), published));
            if model.as_ref().is_some_and(Model::is_crossed) {
                (model, published) = (None, None);
            }
            published = model.as_ref().map(Model::best).or(published);
            let quote = book.quote().map(|quote| (quote.bid, quote.ask));
            prop_assert_eq!(quote, model.as_ref().map(Model::best));
            let depth = book.depth(BOOK_LEVELS).map(|depth| (depth.bids, depth.asks, depth.is_complete));
            let top = |mut levels: Vec<Level>| { levels.truncate(BOOK_LEVELS); levels };
            let all = model.as_ref().map(|model| (top(model.bids()), top(model.asks()), true));
            prop_assert_eq!(depth, all);
        }
    }

    #[test]
    fn a_checksummed_book_is_in_sync_until_a_checksum_is_wrong(
        frames in frames(TENTH),
        depth in 1usize..30,
        wrong in prop::option::of(0usize..30),
    ) {
        let precision = Precision::new(1, 1).unwrap();
        let mut book = Book::new(Rules::Checksummed(Terms { depth, precision }));
        let mut model: Option<Model> = None;
        for (at, mut frame) in frames.into_iter().enumerate() {
            if frame.kind == FrameKind::Snapshot {
                model = Some(model.unwrap_or_default());
            }
            if let Some(model) = &mut model {
                model.apply(&frame);
                model.truncate(depth);
                frame.checksum = Some(model.checksum() ^ u32::from(wrong == Some(at)));
            }
            let outcome = named(book.apply(frame));
            let fails = model.is_some() && wrong == Some(at);
            prop_assert_eq!(outcome == "checksum", fails);
            if fails || model.as_ref().is_some_and(Model::is_crossed) {
                model = None;
            }
            prop_assert_eq!(book.quote().map(|quote| (quote.bid, quote.ask)), model.as_ref().map(Model::best));
        }
    }
}

/// A venue: the state after each id, from 0 on, and the updates of some ids each.
#[derive(Clone, Debug)]
struct Truth {
    states: Vec<Model>,
    updates: Vec<BookFrame>,
}

impl Truth {
    fn last(&self) -> i64 {
        i64::try_from(self.states.len()).unwrap() - 1
    }

    fn snapshot(&self, id: usize) -> BookFrame {
        let (bids, asks) = (self.states[id].bids(), self.states[id].asks());
        BookFrame {
            span: Some(Span::at(i64::try_from(id).unwrap())),
            ..frame(FrameKind::Snapshot, bids, asks)
        }
    }
}

fn truth() -> impl Strategy<Value = Truth> {
    // Never crossed: only lost updates can cross a book that is made of them.
    let change = (any::<bool>(), 0..MIDDLE, 0i128..4);
    prop::collection::vec(prop::collection::vec(change, 1..4), 2..25).prop_map(|groups| {
        let mut truth = Truth { states: vec![Model::default()], updates: Vec::new() };
        for group in groups {
            let after = truth.last();
            let mut update = frame(FrameKind::Update, Vec::new(), Vec::new());
            for (is_bid, price, size) in group {
                let mut one = frame(FrameKind::Update, Vec::new(), Vec::new());
                let (side, price) =
                    if is_bid { (&mut one.bids, price) } else { (&mut one.asks, price + MIDDLE) };
                side.push(level(price, size));
                let mut state = truth.states[truth.states.len() - 1].clone();
                state.apply(&one);
                truth.states.push(state);
                update.bids.extend(one.bids);
                update.asks.extend(one.asks);
            }
            update.span = Some(Span { after, last: truth.last() });
            truth.updates.push(update);
        }
        truth
    })
}

/// Every published state is that of the venue.
fn check(book: &Book, outcome: Outcome, truth: &Truth) -> Result<(), TestCaseError> {
    let id =
        |quote: &Quote| quote.sequence.and_then(|id| usize::try_from(id).ok()).unwrap_or_default();
    if let Some(quote) = book.quote() {
        prop_assert_eq!((quote.bid, quote.ask), truth.states[id(&quote)].best());
        let depth = book.depth(usize::MAX).map(|depth| (depth.bids, depth.asks));
        let state = &truth.states[id(&quote)];
        prop_assert_eq!(depth, Some((state.bids(), state.asks())));
    }
    if let Outcome::Quote(quote) = outcome {
        prop_assert_eq!((quote.bid, quote.ask), truth.states[id(&quote)].best());
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_fetched_snapshot_joins_the_updates_whenever_it_arrives(
        truth in truth(),
        first in 0usize..24,
        id in 0usize..72,
        arrival in 0usize..26,
        lost in prop::option::of(0usize..25),
    ) {
        let first = first.min(truth.updates.len() - 1);
        let id = id.min(truth.states.len() - 1);
        let mut book = Book::new(Rules::Joined { limit: usize::MAX });
        let mut resyncs = Vec::new();
        let (mut heard, mut is_fetched) = (Vec::new(), false);
        for (at, update) in truth.updates.iter().enumerate().skip(first) {
            if at >= arrival && !is_fetched {
                is_fetched = true;
                let outcome = book.apply(truth.snapshot(id));
                if let Outcome::Resync(reason) = outcome { resyncs.push(reason); }
                check(&book, outcome, &truth)?;
            }
            if lost == Some(at) {
                continue;
            }
            let outcome = book.apply(update.clone());
            if let Outcome::Resync(reason) = outcome { resyncs.push(reason); }
            check(&book, outcome, &truth)?;
            heard.push(update.span.unwrap());
        }
        // In sync at the end means: the updates that were heard chain from the snapshot on.
        let id = i64::try_from(id).unwrap();
        let needed: Vec<Span> = heard.iter().copied().filter(|span| span.last >= id).collect();
        let chains = needed.windows(2).all(|pair| pair[0].last == pair[1].after);
        let begins = needed.first().is_some_and(|span| span.after <= id);
        prop_assert_eq!(book.is_in_sync(), is_fetched && chains && begins, "{:?}", needed);
        let fails = is_fetched && !needed.is_empty() && !(chains && begins);
        prop_assert_eq!(resyncs.len(), usize::from(fails), "{:?}", resyncs);
        if book.is_in_sync() {
            let sequence = book.quote().and_then(|quote| quote.sequence);
            prop_assert_eq!(sequence, needed.last().map(|span| span.last));
        }
    }

    #[test]
    fn a_dated_snapshot_joins_the_updates_whenever_it_arrives(
        truth in truth(),
        snapshot in 0usize..25,
        arrival in 0usize..26,
    ) {
        // Here the id of an update is that of its state.
        let dated: Vec<BookFrame> = truth.updates.iter().map(|update| {
            BookFrame { span: update.span.map(|span| Span::at(span.last)), ..update.clone() }
        }).collect();
        let snapshot = snapshot.min(dated.len() - 1);
        let id = dated[snapshot].span.map(|span| span.last).unwrap_or_default();
        let mut book = Book::new(Rules::Dated);
        for (at, update) in dated.iter().enumerate() {
            // A snapshot is answered after its state was.
            if at == arrival.min(snapshot) {
                let outcome = book.apply(truth.snapshot(usize::try_from(id).unwrap_or_default()));
                prop_assert!(matches!(outcome, Outcome::Quote(_)), "{:?}", outcome);
            }
            book.apply(update.clone());
        }
        prop_assert!(book.is_in_sync());
        check(&book, Outcome::Unchanged, &truth)?;
    }

    #[test]
    fn a_chain_publishes_the_venues_states_only(
        truth in truth(),
        lost in prop::option::of(0usize..25),
        again in 0usize..25,
    ) {
        let mut book = Book::new(Rules::Chained);
        let (mut resyncs, mut missed) = (0, false);
        for (at, update) in truth.updates.iter().enumerate() {
            let before = update.span.map(|span| span.after).and_then(|id| usize::try_from(id).ok());
            if at == 0 || at == again {
                check(&book, book.clone().apply(truth.snapshot(before.unwrap_or_default())), &truth)?;
                book.apply(truth.snapshot(before.unwrap_or_default()));
                missed = false;
            }
            if lost == Some(at) {
                missed = true;
                continue;
            }
            let outcome = book.apply(update.clone());
            resyncs += usize::from(outcome == Outcome::Resync(Reason::SequenceGap));
            prop_assert_eq!(book.is_in_sync(), !missed);
            check(&book, outcome, &truth)?;
        }
        prop_assert!(resyncs <= 1);
    }
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    let largest = 10i128.pow(schemas::decimal::PRECISION) - 1;
    let units = prop_oneof![-2i128..4, -largest..=largest, Just(largest), Just(-largest)];
    units.prop_map(|units| Decimal::from_units(units).unwrap())
}

fn any_frame() -> impl Strategy<Value = BookFrame> {
    let levels = || {
        let level = (any_decimal(), any_decimal()).prop_map(|(price, size)| Level { price, size });
        prop::collection::vec(level, 0..8)
    };
    let id = || prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), 0i64..9];
    let span = prop::option::of((id(), id()).prop_map(|(after, last)| Span { after, last }));
    (any::<bool>(), levels(), levels(), span, prop::option::of(any::<u32>())).prop_map(
        |(is_snapshot, bids, asks, span, checksum)| {
            let kind = if is_snapshot { FrameKind::Snapshot } else { FrameKind::Update };
            BookFrame { span, checksum, ..frame(kind, bids, asks) }
        },
    )
}

proptest! {
    #[test]
    fn any_frames_are_taken_without_a_panic_and_never_cross_a_quote(
        frames in prop::collection::vec(any_frame(), 0..30),
        depth in 0usize..5,
        lost in 0usize..30,
    ) {
        let precision = Precision::new(18, 0).unwrap();
        for rules in [
            Rules::Plain,
            Rules::Chained,
            Rules::Dated,
            Rules::Joined { limit: 3 },
            Rules::Checksummed(Terms { depth, precision }),
        ] {
            let mut book = Book::new(rules);
            for (at, frame) in frames.iter().enumerate() {
                if at == lost {
                    book.lose(Reason::Disconnected);
                }
                let before = book.is_in_sync();
                match book.apply(frame.clone()) {
                    Outcome::Quote(quote) => {
                        prop_assert!(quote.spread().is_none_or(|spread| !spread.is_negative()));
                        prop_assert_eq!(book.quote(), Some(quote));
                        let _ = (quote.mid(), quote.microprice(), quote.imbalance());
                    }
                    Outcome::Unchanged => {}
                    Outcome::Resync(_) => prop_assert_eq!((book.quote(), book.depth(9)), (None, None)),
                }
                prop_assert!(before || book.is_in_sync() || book.quote().is_none());
            }
        }
    }
}

#[test]
fn a_lost_frame_silences_a_book_once() {
    for reason in [Reason::Disconnected, Reason::SequenceGap] {
        let mut book = Book::new(Rules::Plain);
        assert_eq!(book.lose(reason), Outcome::Unchanged, "it was not in sync");
        let snapshot = || frame(FrameKind::Snapshot, vec![level(1, 1)], vec![level(2, 1)]);
        let Outcome::Quote(first) = book.apply(snapshot()) else { panic!("no quote") };
        assert_eq!(book.apply(snapshot()), Outcome::Unchanged);
        assert_eq!(book.lose(reason), Outcome::Resync(reason));
        assert_eq!((book.lose(reason), book.quote()), (Outcome::Unchanged, None));
        assert_eq!(
            book.apply(frame(FrameKind::Update, vec![level(1, 2)], vec![])),
            Outcome::Unchanged
        );
        assert_eq!(book.apply(snapshot()), Outcome::Quote(first), "the same quote is news again");
    }
}

#[test]
fn a_locked_market_is_published_and_an_empty_side_has_no_mid() {
    let mut book = Book::new(Rules::Plain);
    let locked = frame(FrameKind::Snapshot, vec![level(5, 1)], vec![level(5, 3)]);
    let Outcome::Quote(quote) = book.apply(locked) else { panic!("locked is not crossed") };
    assert_eq!((quote.spread(), quote.mid()), (Some(Decimal::ZERO), Decimal::from_units(5)));
    let Outcome::Quote(quote) = book.apply(frame(FrameKind::Update, vec![level(5, 0)], vec![]))
    else {
        panic!("the bid is gone")
    };
    assert_eq!(
        (quote.bid, quote.mid(), quote.spread(), quote.microprice()),
        (None, None, None, None)
    );
    assert_eq!(quote.imbalance(), Decimal::ZERO.checked_sub(Decimal::ONE));
    let Outcome::Quote(quote) = book.apply(frame(FrameKind::Update, vec![], vec![level(5, 0)]))
    else {
        panic!("the ask is gone")
    };
    assert_eq!((quote.ask, quote.imbalance()), (None, None));
}

#[test]
fn a_snapshot_with_a_limit_covers_its_range_only() {
    let mut book = Book::new(Rules::Joined { limit: 2 });
    let levels = |prices: [i128; 2]| prices.map(|price| level(price, 1)).to_vec();
    let snapshot = frame(FrameKind::Snapshot, levels([8, 9]), levels([11, 12]));
    book.apply(BookFrame { span: Some(Span::at(1)), ..snapshot });
    let mut apply = |last: i64, bids| {
        let update = frame(FrameKind::Update, bids, vec![]);
        book.apply(BookFrame { span: Some(Span { after: last - 1, last }), ..update });
        (book.is_covered(), book.depth(2).map(|depth| depth.is_complete))
    };
    assert_eq!(apply(2, vec![level(5, 1)]), (true, Some(true)));
    assert_eq!(apply(3, vec![level(9, 0)]), (true, Some(false)), "the second bid may be another");
    assert_eq!(apply(4, vec![level(8, 0)]), (false, Some(false)), "the best bid may be another");
}

#[test]
fn a_stale_snapshot_leaves_the_updates_for_a_newer_one() {
    let snapshot = |id| {
        let frame = frame(FrameKind::Snapshot, vec![level(1, id)], vec![]);
        BookFrame { span: i64::try_from(id).ok().map(Span::at), ..frame }
    };
    let update = |after, last| {
        let frame = frame(FrameKind::Update, vec![], vec![level(9, 1)]);
        BookFrame { span: Some(Span { after, last }), ..frame }
    };
    let mut book = Book::new(Rules::Joined { limit: 9 });
    book.apply(update(10, 12));
    book.apply(update(12, 15));
    assert_eq!(book.apply(snapshot(9)), Outcome::Resync(Reason::StaleSnapshot));
    let Outcome::Quote(quote) = book.apply(snapshot(11)) else {
        panic!("it joins the first update")
    };
    assert_eq!((quote.sequence, quote.ask), (Some(15), Some(level(9, 1))));
    assert_eq!(book.apply(snapshot(14)), Outcome::Unchanged, "the book is newer");
    assert!(book.is_in_sync());
    assert_eq!(book.apply(snapshot(17)), Outcome::Unchanged, "the updates are not that far yet");
    let lost = book.clone().lose(Reason::Disconnected);
    assert_eq!(lost, Outcome::Resync(Reason::Disconnected), "its last quote is no longer good");
    assert_eq!((book.quote(), book.apply(update(15, 16))), (None, Outcome::Unchanged));
    assert!(matches!(book.apply(update(16, 18)), Outcome::Quote(_)));
}
