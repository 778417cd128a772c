//! A client that applies what is sent has the book, at any depth and through any fault.

use super::publisher::Terms;
use super::*;
use crate::faults::Faults;
use crate::market::Market;

/// Applies what was sent as a client does.
fn applied(mut side: Side, sent: &Side) -> Side {
    side.extend(sent);
    side.retain(|_, size| *size > 0);
    side
}

#[test]
fn a_client_that_applies_and_truncates_has_the_book() -> anyhow::Result<()> {
    // Prices of seven digits; and of four, where a deep book ends before its depth.
    for (name, depth) in [("BTC/USD", 10), ("BTC/USD", 100), ("SHIB/USD", 10), ("SHIB/USD", 1000)] {
        let mut market = Market::new(1, &[name.into()], 0)?;
        let product = market.products()[0].clone();
        let mut held = Book::at(&product, &product.last, depth);
        for time in 0..2_000 {
            let trade = market.trade(time);
            let next = Book::at(&product, &trade, depth);
            let (bid, ask) = (next.bids.keys().next_back(), next.asks.keys().next());
            let best = trade.best;
            assert_eq!((bid, ask), (Some(&best.bid.price), Some(&best.ask.price)));
            assert!(best.bid.price < best.ask.price && best.bid.size > 0 && best.ask.size > 0);
            assert!(next.asks.len() == depth && next.bids.keys().all(|price| *price > 0));
            let sent = next.since(&held, depth);
            held = Book {
                bids: applied(held.bids, &sent.bids).into_iter().rev().take(depth).collect(),
                asks: applied(held.asks, &sent.asks).into_iter().take(depth).collect(),
            };
            assert_eq!(held, next, "{name}, {depth}");
        }
    }
    Ok(())
}

#[test]
fn a_level_that_is_cut_is_not_removed() {
    let before = Book { asks: Side::from([(11, 1), (13, 1)]), ..Book::default() };
    let after = Book { asks: Side::from([(11, 1), (12, 1)]), ..Book::default() };
    assert_eq!(after.since(&before, 2).asks, Side::from([(12, 1)]));
    assert_eq!(after.since(&before, 3).asks, Side::from([(12, 1), (13, 0)]));
}

/// The updates of a market that shows its books by these terms, with the product.
fn updates(terms: &Terms) -> anyhow::Result<(Product, Vec<update::Update>)> {
    let mut market = Market::new(3, &["BTC-USD".into()], 0)?.showing(*terms);
    let mut updates = Vec::new();
    for step in 0..3_000 {
        let now = step * 10_000;
        updates.extend(market.step(now).0);
        updates.extend(market.books_mut().due(now));
    }
    Ok((market.products()[0].clone(), updates))
}

#[test]
fn updates_at_an_interval_lead_from_any_trade_to_the_same_book() -> anyhow::Result<()> {
    let terms = Terms { every_us: 100_000, ..Terms::default() };
    let (product, updates) = updates(&terms)?;
    assert!(updates.len() > 250, "{}", updates.len());
    let mut held = updates[0].before.book(&product).clone();
    for (number, update) in (1..).zip(&updates) {
        assert_eq!(update.after.number, number);
        let after = update.after.book(&product);
        let sent = update.changes(&product, usize::MAX);
        let client = |book: Book, sent: &Book| Book {
            bids: applied(book.bids, &sent.bids),
            asks: applied(book.asks, &sent.asks),
        };
        held = client(held, &sent);
        assert_eq!(held, *after, "{number}");
        // A snapshot of any trade in between, as Binance may answer.
        let touched = update.touched(&product);
        for trade in &update.trades {
            let snapshot = Book::at(&product, trade, Terms::default().levels);
            assert_eq!(client(snapshot, &touched), *after, "{number}, {}", trade.id);
        }
        // The first is due at once.
        assert!(update.trades.len() > 1 || number == 1, "an interval has several trades");
    }
    Ok(())
}

#[test]
fn a_fault_hits_its_updates_and_the_next_update_repairs_the_book() -> anyhow::Result<()> {
    let terms = Terms { cross_every: Some(50), skip_every: Some(70), ..Terms::default() };
    let (product, updates) = updates(&terms)?;
    let crossed = |book: &Book| book.bids.keys().next_back() >= book.asks.keys().next();
    let mut held = updates[0].before.book(&product).clone();
    for update in &updates {
        let number = update.after.number;
        assert_eq!(update.is_crossed, number % 50 == 0, "{number}");
        assert_eq!(update.is_skipped, number % 70 == 0, "{number}");
        assert_eq!(crossed(&update.book(&product)), update.is_crossed, "{number}");
        // The truth is never crossed.
        assert!(!crossed(update.after.book(&product)), "{number}");
        let sent = update.changes(&product, usize::MAX);
        held = Book { bids: applied(held.bids, &sent.bids), asks: applied(held.asks, &sent.asks) };
        assert_eq!(held, *update.book(&product), "{number}");
    }
    Ok(())
}

#[test]
fn a_fault_hits_one_product() -> anyhow::Result<()> {
    let terms = Terms { cross_every: Some(1), faulty: 1, ..Terms::default() };
    let names = ["A-USD".to_owned(), "B-USD".to_owned()];
    let mut market = Market::new(1, &names, 0)?.showing(terms);
    for time in 0..100 {
        let update = market.step(time).0.ok_or_else(|| anyhow::anyhow!("it comes at once"))?;
        assert_eq!(update.is_crossed, update.product == 1);
    }
    assert!(market.books().truth().faults().all(|made| made.product == 1));
    assert!(market.books().truth().faults().count() > 10);
    Ok(())
}

#[test]
fn the_truth_has_each_change_of_the_best_once() -> anyhow::Result<()> {
    let mut market = Market::new(1, &["BTC-USD".into()], 0)?;
    let mut expected = vec![market.products()[0].last.clone()];
    expected.extend((1..1_000).map(|time| market.trade(time)));
    let shown: Vec<_> = market.books().truth().quotes(0).collect();
    assert!(shown.windows(2).all(|two| two[0].best != two[1].best && two[0].id < two[1].id));
    assert_eq!(shown.len(), expected.len(), "each trade of this market changes a size");
    for (quote, trade) in shown.iter().zip(&expected) {
        assert_eq!(
            (quote.id, quote.best, quote.time_us),
            (trade.sequence, trade.best, trade.time_us)
        );
    }
    Ok(())
}

#[test]
fn the_first_state_has_the_fault_of_its_trade() -> anyhow::Result<()> {
    let faults = Faults { checksum_every: Some(1), checksum_for: 1, ..Faults::default() };
    let names = ["BTC-USD".into(), "ETH-USD".into()];
    let market = Market::new(3, &names, 0)?.showing(Terms { faults, ..Terms::default() });
    let wrong = [0, 1].map(|product| market.books().shown(product).wrong_checksum);
    assert_eq!(wrong, [true, false], "a client may follow the book before the next trade");
    Ok(())
}
