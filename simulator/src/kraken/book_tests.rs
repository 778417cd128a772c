//! The checksum is the venue's, and whoever applies what is sent has the book that it is over.

use super::*;
use crate::market::Market;
use crate::text::decimal;

/// The example of the venue's guide, "Book checksum (WebSocket v2)", best levels first.
const ASKS: [(&str, &str); 10] = [
    ("45285.2", "0.00100000"),
    ("45286.4", "1.54571953"),
    ("45286.6", "1.54571109"),
    ("45289.6", "1.54560911"),
    ("45290.2", "0.15890660"),
    ("45291.8", "1.54553491"),
    ("45294.7", "0.04454749"),
    ("45296.1", "0.35380000"),
    ("45297.5", "0.09945542"),
    ("45299.5", "0.18772827"),
];
const BIDS: [(&str, &str); 10] = [
    ("45283.5", "0.10000000"),
    ("45283.4", "1.54582015"),
    ("45282.1", "0.10000000"),
    ("45281.0", "0.10000000"),
    ("45280.3", "1.54592586"),
    ("45279.0", "0.07990000"),
    ("45277.6", "0.03310103"),
    ("45277.5", "0.30000000"),
    ("45277.3", "1.54602737"),
    ("45276.6", "0.15445238"),
];

fn side(levels: &[(&str, &str)]) -> anyhow::Result<Side> {
    let mut side = Side::new();
    for (price, size) in levels {
        let ticks: i64 = price.replace('.', "").parse()?;
        let units: i64 = size.replace('.', "").parse()?;
        // As the product writes them on the wire.
        assert_eq!((decimal(ticks, 1), decimal(units, 8)), ((*price).into(), (*size).into()));
        side.insert(ticks, units);
    }
    Ok(side)
}

#[test]
fn the_checksum_is_that_of_the_venues_example() -> anyhow::Result<()> {
    let mut book = Book { bids: side(&BIDS)?, asks: side(&ASKS)? };
    assert_eq!(book.checksum(), 3_310_070_434);
    // What is beyond the tenth has no part in it.
    book.asks.insert(453_000, 1);
    book.bids.insert(452_000, 1);
    assert_eq!(book.checksum(), 3_310_070_434);
    book.bids.insert(452_835, 10_000_001);
    assert_ne!(book.checksum(), 3_310_070_434);
    Ok(())
}

/// Applies what was sent as a client does.
fn applied(mut side: Side, sent: &Side) -> Side {
    side.extend(sent);
    side.retain(|_, size| *size > 0);
    side
}

#[test]
fn whoever_applies_what_is_sent_and_cuts_to_depth_has_the_book() -> anyhow::Result<()> {
    // Prices of seven digits; and of four, where a deep book ends before its depth.
    for (name, depth) in [("BTC/USD", 10), ("BTC/USD", 100), ("SHIB/USD", 10), ("SHIB/USD", 1000)] {
        let mut market = Market::new(1, &[name.into()], 0)?;
        let product = market.products()[0].clone();
        let mut held = Book::at(&product, &product.last, depth);
        for time in 0..2_000 {
            let trade = market.trade(time);
            let next = Book::at(&product, &trade, depth);
            let (bid, ask) = (next.bids.keys().next_back(), next.asks.keys().next());
            assert_eq!((bid, ask), (Some(&trade.price), Some(&(trade.price + 1))));
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

#[test]
fn every_client_is_told_the_same_of_a_trade() -> anyhow::Result<()> {
    let mut market = Market::new(1, &["BTC/USD".into()], 0)?;
    let mut early = Books::default();
    early.follow(&market.products()[0], 10);
    for time in 0..100 {
        let trade = market.trade(time);
        early.update(&market.products()[0], &trade);
    }
    let mut late = Books::default();
    let snapshot = late.follow(&market.products()[0], 10);
    assert!(snapshot.starts_with(r#"{"channel":"book","type":"snapshot","data":[{"symbol":"#));
    assert_eq!(late.update(&market.products()[0], &market.products()[0].last), None);
    let trade = market.trade(100);
    let [early, late] =
        [&mut early, &mut late].map(|books| books.update(&market.products()[0], &trade));
    assert!(early.is_some());
    assert_eq!(early, late);
    Ok(())
}
