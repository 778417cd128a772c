//! The index of the chosen pair on the page: live beside its members, with exchanges apart, of a pair
//! without one, and at the width of a phone.
//!
//! The prices are records of the test's own. The marks of the followed venue move stream time, by which the
//! prices reach the index.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use schemas::topic::Topic;
use schemas::{Decimal, MarketEvent, PairKey, Timestamp};
use tests::support::Installation;
use tests::support::browser::Browser;

use super::picture;

const FITS: &str = "document.documentElement.scrollWidth <= innerWidth";
/// The card shows what the interface serves, with as many members.
const SHOWS_WHAT_IS_SERVED: &str = "(async () => { \
    const { indexes: [row] } = await (await fetch('/v1/index?base=IDX&quote=USD')).json(); \
    const shown = [...document.querySelectorAll('#index-rows tr')].map((line) => \
      [line.children[0].textContent, line.children[1].textContent].join()); \
    const served = row.members.map((one) => [one.exchange, one.price].join()); \
    return document.querySelector('#index-price b').textContent === row.price \
      && shown.join(';') === served.join(';'); })()";

fn is(state: &str) -> String {
    format!("document.getElementById('index-card').dataset.state === '{state}'")
}

fn note(words: &str) -> String {
    format!("document.getElementById('index-note').innerText.includes('{words}')")
}

/// Writes a trade of one unit at each exchange, now.
fn write(installation: &Installation, prices: &[(&str, &str)]) -> Result<()> {
    let codec = installation.codec()?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut rows = Vec::new();
    for (exchange, price) in prices {
        let key = codec.to_bytes(&PairKey::new("IDX", "USD", *exchange));
        let event = MarketEvent::trade(price.parse()?, Decimal::ONE, Timestamp(now));
        rows.push((key, Some(codec.to_bytes(&event))));
    }
    installation.write(Topic::Events, 0, &rows)
}

/// Each state of the card, with a picture.
pub(super) fn is_shown(
    installation: &Installation,
    browser: &mut Browser,
    page: &str,
) -> Result<()> {
    browser.open(&format!("{page}#NONE-USD@one"), 1280, 900)?;
    browser.until(&is("none"))?;
    browser.until(&note("--topologies prices,index"))?;
    picture(browser, "index-none")?;

    write(installation, &[("one", "100.25"), ("two", "100.5")])?;
    browser.open(&format!("{page}#IDX-USD@one"), 1280, 900)?;
    browser.until(&is("live"))?;
    browser.until("document.querySelectorAll('#index-rows tr').length === 2")?;
    ensure!(browser.value(SHOWS_WHAT_IS_SERVED)? == true, "the card and the interface differ");
    picture(browser, "index-live")?;

    write(installation, &[("one", "100.25"), ("two", "100.5"), ("three", "120")])?;
    browser.until(&is("apart"))?;
    let left_out = "document.querySelector('#index-rows .unused').innerText";
    browser.until(&format!("{left_out}.includes('three') && {left_out}.includes('left out')"))?;
    ensure!(browser.value(SHOWS_WHAT_IS_SERVED)? == true, "the card and the interface differ");
    picture(browser, "index-apart")?;

    browser.open(&format!("{page}#IDX-USD@one"), 360, 780)?;
    browser.until(&is("apart"))?;
    ensure!(browser.value(FITS)? == true, "it is wider than a phone");
    picture(browser, "index-phone")
}
