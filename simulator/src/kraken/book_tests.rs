//! The checksum is the venue's, and every client is told the same.

use super::*;
use crate::book::Side;
use crate::book::followed::{Followed, Part, SlowSnapshot};
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
    assert_eq!(checksum(&book), 3_310_070_434);
    // Levels beyond the tenth have no part in it.
    book.asks.insert(453_000, 1);
    book.bids.insert(452_000, 1);
    assert_eq!(checksum(&book), 3_310_070_434);
    book.bids.insert(452_835, 10_000_001);
    assert_ne!(checksum(&book), 3_310_070_434);
    Ok(())
}

/// The text of an update that a client at depth 10 receives.
fn sent(followed: &mut Followed, market: &Market, update: &Update) -> Option<String> {
    let product = &market.products()[0];
    match followed.part(update)? {
        Part::Snapshot(depth) => Some(snapshot(product, &update.after, depth)),
        Part::Changes(depth) => self::update(product, update, depth),
    }
}

#[test]
fn every_client_is_told_the_same_of_a_trade() -> anyhow::Result<()> {
    let mut market = Market::new(1, &["BTC/USD".into()], 0)?;
    let mut early = Followed::default();
    early.follow(0, 10, market.books().shown(0), 0);
    let mut last = None;
    for time in 0..100 {
        last = market.step(time).0;
        let update = last.as_ref().ok_or_else(|| anyhow::anyhow!("it comes with the trade"))?;
        sent(&mut early, &market, update);
    }
    let mut late = Followed::default();
    late.follow(0, 10, market.books().shown(0), 0);
    let text = snapshot(&market.products()[0], market.books().shown(0), 10);
    assert!(text.starts_with(r#"{"channel":"book","type":"snapshot","data":[{"symbol":"#));
    assert_eq!(last.and_then(|update| sent(&mut late, &market, &update)), None);
    let update = market.step(100).0.ok_or_else(|| anyhow::anyhow!("it comes with the trade"))?;
    let told = [&mut early, &mut late].map(|books| sent(books, &market, &update));
    assert!(told[0].is_some());
    assert_eq!(told[0], told[1]);
    Ok(())
}

#[test]
fn a_slow_snapshot_comes_in_the_place_of_a_later_update() -> anyhow::Result<()> {
    let mut market = Market::new(1, &["BTC/USD".into()], 0)?;
    let mut slow = Followed::new(SlowSnapshot { product: 0, by_us: 50 });
    assert!(!slow.follow(0, 10, market.books().shown(0), 0));
    let mut forms = Vec::new();
    for time in (0..400).step_by(10) {
        // Some trades share the time of the one before.
        let (update, trade) = market.step(time);
        let update = update.ok_or_else(|| anyhow::anyhow!("it comes with the trade"))?;
        let text = sent(&mut slow, &market, &update);
        assert_eq!(text.is_some(), trade.time_us >= 50, "{}", trade.time_us);
        forms.extend(text.map(|text| text.contains("snapshot")));
    }
    assert!(forms[0] && forms.len() > 2 && !forms[1..].contains(&true), "{forms:?}");
    Ok(())
}
