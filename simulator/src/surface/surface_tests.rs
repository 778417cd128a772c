//! The surface against itself: deterministic, consistent, and with the life of its instruments.

use super::black76::Contract;
use super::*;

/// 30 November 2026, 18:27 UTC.
const NOW: i64 = 1_796_063_220_000_000;
const SECOND: i64 = 1_000_000;

fn settings() -> SurfaceSettings {
    SurfaceSettings { options: 96, currencies: vec!["BTC".into()], ..SurfaceSettings::default() }
}

fn surface(seed: u64, settings: &SurfaceSettings) -> (Vec<String>, Surface) {
    let names = listing::names(NOW, settings);
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    let surface = Surface::new(seed, &parts, NOW, settings);
    (names, surface)
}

#[test]
fn the_seed_decides_every_quote_and_they_move() {
    let quotes = |seed, seconds: i64| {
        let (names, mut surface) = surface(seed, &settings());
        surface.advance(NOW + seconds * SECOND);
        let quote = |product| format!("{:?}", surface.option(product, NOW));
        (0..names.len()).map(quote).collect::<Vec<_>>()
    };
    assert_eq!(quotes(3, 20), quotes(3, 20));
    assert_ne!(quotes(3, 20), quotes(4, 20));
    assert_ne!(quotes(3, 20), quotes(3, 21));
}

#[test]
fn a_mark_is_the_value_of_the_volatility_beside_it_and_lies_between_bid_and_ask() {
    let (names, mut surface) = surface(5, &settings());
    surface.advance(NOW + 60 * SECOND);
    let (mut empty_bids, mut empty_asks, mut unexplained, mut options) = (0, 0, 0, 0);
    for (product, name) in names.iter().enumerate() {
        let Some(quote) = surface.option(product, NOW) else { continue };
        options += 1;
        let Some(Name { kind: Kind::Option { strike, is_call }, expiry_ms: Some(expiry), .. }) =
            Name::parse(name)
        else {
            continue;
        };
        let years = number::float(expiry - NOW / 1000) / (365.0 * 86_400_000.0);
        let contract = Contract { forward: quote.forward, strike, years, is_call };
        let value = contract.price(quote.mark_iv);
        assert!((value - quote.mark_price).abs() <= 1e-8, "{name}: {value} {quote:?}");
        assert!(quote.bid.is_none_or(|bid| bid.price < quote.mark_price), "{quote:?}");
        assert!(quote.ask.is_none_or(|ask| ask.price > quote.mark_price), "{quote:?}");
        empty_bids += u32::from(quote.bid.is_none());
        empty_asks += u32::from(quote.ask.is_none());
        unexplained += u32::from(quote.bid.is_some_and(|bid| bid.iv < 0.001));
    }
    assert_eq!(options, 96);
    assert!(empty_bids > 0 && empty_asks > 0 && unexplained > 0, "the venue has each");
    assert!(empty_bids + empty_asks < 60, "{empty_bids} {empty_asks}");
}

#[test]
fn a_call_less_a_put_is_worth_the_forward_less_the_strike() {
    let (names, surface) = surface(5, &settings());
    let mut pairs = 0;
    for (product, name) in names.iter().enumerate() {
        let put = name.strip_suffix("-C").map(|rest| format!("{rest}-P"));
        let put = names.iter().position(|other| Some(other) == put.as_ref());
        let quotes = put.map(|put| (surface.option(product, NOW), surface.option(put, NOW)));
        let (Some((Some(call), Some(put))), Some(name)) = (quotes, Name::parse(name)) else {
            continue;
        };
        let Kind::Option { strike, .. } = name.kind else { continue };
        let parity = 1.0 - strike / call.forward;
        assert!((call.mark_price - put.mark_price - parity).abs() < 5e-8, "{name:?}");
        pairs += 1;
    }
    assert_eq!(pairs, 48);
}

#[test]
fn expiries_end_and_are_listed_in_turn() {
    let every = Some(Duration::from_secs(5));
    let settings = SurfaceSettings { expire_every: every, list_every: every, ..settings() };
    let (names, mut surface) = surface(1, &settings);
    let open = |surface: &Surface| (0..names.len()).filter(|one| surface.is_open(*one)).count();
    let first = open(&surface);
    assert_eq!((first, names.len()), (5 + 96, 5 + 96 + 8 * 8));
    assert!(surface.advance(NOW + 4 * SECOND).is_empty());
    let changes = surface.advance(NOW + 5 * SECOND);
    let ended: Vec<&str> = changes
        .iter()
        .filter(|(_, life)| *life != Life::Open)
        .map(|(product, _)| names[*product].as_str())
        .collect();
    assert_eq!((ended.len(), changes.len()), (8, 16));
    assert!(ended.iter().all(|name| name.starts_with("BTC-1DEC26-")), "{ended:?}");
    assert_eq!(open(&surface), first);
    let closed = names.iter().position(|name| name == ended[0]).unwrap_or_default();
    assert!(surface.is_known(closed) && surface.is_due(closed, 50, 20));
    assert!(!(51..200).any(|tick| surface.is_due(closed, tick, 20)), "it is closed once");
    // Eight are listed and twelve end; the perpetual has no end.
    surface.advance(NOW + 120 * SECOND);
    assert_eq!(open(&surface), 1 + 8 * 8);
}

#[test]
fn an_expiry_ends_at_its_time() {
    let names = ["BTC-1DEC26-60000-C", "BTC-22NOV26-60000-C", "BTC-PERPETUAL", "BTC-USD"];
    let mut surface = Surface::new(1, &names, NOW, &SurfaceSettings::default());
    let eight = NOW + 48_780 * SECOND;
    assert!(surface.advance(eight - SECOND).is_empty());
    // In hours of ticks: at most one hour is made up for at once.
    let life = Life::Closed(surface.ticks() + 10);
    assert_eq!(surface.advance(eight), [(0, life)]);
    assert!([1, 2, 3].iter().all(|other| surface.is_open(*other)), "named though it is past");
    assert!(surface.instrument(3).is_none());
}

#[test]
fn a_second_of_a_channel_has_each_instrument_once() {
    let (names, mut surface) = surface(1, &settings());
    surface.advance(NOW + SECOND);
    for product in 0..names.len() {
        let due = |every| (100..120).filter(|tick| surface.is_due(product, *tick, every)).count();
        assert_eq!((due(QUOTED_EVERY), due(AGGREGATED_EVERY)), (2, 1));
    }
}
