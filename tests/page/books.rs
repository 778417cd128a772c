//! The order book on the page: live, out of sync, with an empty side, and at the width of a phone.
//!
//! The live book is that of a simulated venue. The two other states are records of the test's own, so
//! that they stay for as long as a picture takes.

use anyhow::{Result, ensure};
use schemas::topic::Topic;
use schemas::{Book, BookLevel, Decimal, FeedMark, PairKey, Part, Proof, Quote, Timestamp};
use tests::support::Installation;
use tests::support::browser::Browser;

use super::picture;

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
/// Both sides are there, the best ask is above the best bid, and each level has a bar.
const IS_LIVE: &str = "document.getElementById('book').dataset.state === 'in-sync' && \
    document.querySelectorAll('#asks .level').length > 3 && \
    document.querySelectorAll('#bids .level').length > 3 && \
    [...document.querySelectorAll('.ladder .level')].every((row) => \
      parseFloat(row.style.getPropertyValue('--depth')) > 0) && \
    Number(document.querySelector('#asks .level:last-child span').textContent) > \
    Number(document.querySelector('#bids .level span').textContent)";
const HAS_SPREADS: &str = "Number(document.getElementById('spread-chart').dataset.spreads) > 0 && \
    document.querySelectorAll('#spread-chart canvas').length > 0";
/// A book changes within a few seconds.
const MOVES: &str = "(() => { const now = document.querySelector('.ladder').innerText; \
    const moved = window.ladder !== undefined && window.ladder !== now; \
    window.ladder ??= now; return moved; })()";

/// A decimal of a constant of this file.
fn decimal(text: &str) -> Result<Decimal> {
    Ok(text.parse()?)
}

fn level(price: &str, size: &str) -> Result<BookLevel> {
    Ok(BookLevel { price: decimal(price)?, size: decimal(size)? })
}

fn pair(base: &str) -> PairKey {
    PairKey::new(base, "USD", "test")
}

fn quote(bid: Option<&BookLevel>, ask: Option<&BookLevel>) -> Quote {
    Quote {
        bid: bid.map(|level| level.price),
        bid_size: bid.map(|level| level.size),
        ask: ask.map(|level| level.price),
        ask_size: ask.map(|level| level.size),
        ..Quote::empty(Proof::Checksum, Timestamp(EPOCH))
    }
}

/// Writes a quote that has no levels yet.
fn write_quote(installation: &Installation, base: &str, quote: &Quote) -> Result<()> {
    let codec = installation.codec()?;
    let record = (codec.to_bytes(&pair(base)), Some(codec.to_bytes(quote)));
    installation.write(Topic::Quotes, 0, &[record])
}

/// Writes a quote and its book; `after` is a mark that follows.
fn write(
    installation: &Installation,
    base: &str,
    bids: Vec<BookLevel>,
    asks: Vec<BookLevel>,
    after: Option<&FeedMark>,
) -> Result<()> {
    let codec = installation.codec()?;
    let key = codec.to_bytes(&pair(base));
    let quote = quote(bids.first(), asks.first());
    let book = Book {
        bids,
        asks,
        sequence: None,
        proof: Proof::Checksum,
        event_time: Timestamp(EPOCH),
        received_at: Timestamp(EPOCH),
    };
    installation.write(Topic::Books, 0, &[(key.clone(), Some(codec.to_bytes(&book)))])?;
    let mut records = vec![(key.clone(), Some(codec.to_bytes(&quote)))];
    records.extend(after.map(|mark| (key, Some(codec.to_bytes(mark)))));
    installation.write(Topic::Quotes, 0, &records)
}

/// The states of a book, with a picture of each.
pub(crate) fn are_shown(
    installation: &Installation,
    browser: &mut Browser,
    page: &str,
) -> Result<()> {
    let live = format!("{page}#BTC-USD@coinbase");
    browser.open(&live, 1280, 900)?;
    for state in [IS_LIVE, HAS_SPREADS, MOVES] {
        browser.until(state)?;
    }
    is_what_is_served(browser)?;
    browser.until("document.querySelector('#feeds .sync.live') !== null")?;
    picture(browser, "book-live")?;

    let lost = FeedMark {
        part: Some(Part::Book),
        reason: "CHECKSUM".into(),
        ..FeedMark::healthy("0", Timestamp(EPOCH), Timestamp(EPOCH + 1))
    };
    let (bid, ask) = (vec![level("99.5", "2")?, level("99", "7")?], vec![level("100.5", "1")?]);
    write(installation, "BROKEN", bid.clone(), ask.clone(), Some(&lost))?;
    write(installation, "LATER", bid.clone(), ask, None)?;
    let newer = quote(Some(&level("99.75", "1")?), Some(&level("100.5", "1")?));
    write_quote(installation, "LATER", &newer)?;
    write(installation, "EMPTY", bid, Vec::new(), None)?;
    open(browser, page, "BROKEN", "out-of-sync")?;
    let stated = "document.getElementById('book-note').innerText.includes('lost its proof')";
    browser.until(stated)?;
    picture(browser, "book-out-of-sync")?;

    open(browser, page, "LATER", "in-sync")?;
    browser.until("document.querySelector('#measures dd').firstChild.textContent === '99.75'")?;
    browser.until("document.getElementById('between').textContent === 'spread 1 · mid 100'")?;

    open(browser, page, "EMPTY", "in-sync")?;
    browser.until("document.querySelector('#asks .none').textContent === 'no asks'")?;
    let dashes = "[...document.querySelectorAll('#measures dd')].slice(1, 3) \
        .every((value) => value.textContent === '–')";
    ensure!(browser.value(dashes)? == true, "an empty side has a number");
    ensure!(browser.value("document.querySelectorAll('#bids .level').length")? == 2);
    picture(browser, "book-empty-side")?;

    browser.open(page, 1280, 900)?;
    browser.open(&live, 360, 780)?;
    browser.until(IS_LIVE)?;
    browser.until(HAS_SPREADS)?;
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    ensure!(browser.value(fits)? == true, "the book is wider than a phone");
    picture(browser, "book-phone")
}

/// Opens the page at a pair of this test, and waits for the state of its book.
fn open(browser: &mut Browser, page: &str, base: &str, state: &str) -> Result<()> {
    // Another address that differs behind # only would not load the page again.
    browser.open("about:blank", 1280, 900)?;
    browser.open(&format!("{page}#{base}-USD@test"), 1280, 900)?;
    browser.until(&format!("document.getElementById('book').dataset.state === '{state}'"))
}

/// The best bid and the best ask on the page are ones that the interface gives, digit for digit.
fn is_what_is_served(browser: &mut Browser) -> Result<()> {
    let same = browser.value(
        "(async () => { for (let look = 0; look < 100; look += 1) { \
           const [bid, ask] = [...document.querySelectorAll('#measures dd')].slice(0, 2) \
             .map((value) => value.firstChild.textContent); \
           const answer = await fetch('/v1/quotes?base=BTC&quote=USD&exchange=coinbase'); \
           const quote = await answer.json(); \
           if (quote.bid === bid && quote.ask === ask) return true; \
           await new Promise((done) => setTimeout(done, 50)); } return false; })()",
    )?;
    ensure!(same == true, "the page and the interface never had the same quote");
    Ok(())
}
