//! The tokens on the page: none at all, a list by volume with its sparklines, each window, the status of
//! a transaction, and the width of a phone.
//!
//! The pools, swaps and heads are records of the test's own, so that each state stays for as long as a
//! picture takes. The processor counts them, and the page shows what the interface serves.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{ChainHead, Integer, Pool, PoolKey, PoolProtocol, Swap, SwapStatus, Timestamp};
use tests::support::Installation;
use tests::support::broker::Row;
use tests::support::browser::Browser;

use super::picture;

const CHAIN: i64 = 1;
const WETH: &str = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2";
const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
const OSQTH: &str = "0xf1b99e3e573a1a9c5e6b2ce818b617f0e664e86b";
/// USDC and WETH: its swaps have a value in USD.
const PRICED: &str = "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8";
/// WETH and oSQTH: its swaps have none.
const UNPRICED: &str = "0x82c427adfdf2d245ec51d8046b41c4ee87f0d29c";
/// The first block, whose time is this long ago.
const FIRST: i64 = 19_000_000;
const SINCE_MS: i64 = 3_600_000;
/// The time between two blocks: each is in a five-minute window of its own.
const BLOCK_MS: i64 = 380_000;
const BLOCKS: i64 = 10;
const FITS: &str = "document.documentElement.scrollWidth <= innerWidth";
const HAS_ROWS: &str = "document.querySelectorAll('#token-rows tr').length === 3";
const HAS_SPARKS: &str = "[...document.querySelectorAll('.spark svg')].length === 3 && \
    [...document.querySelectorAll('.spark svg')].every((one) => Number(one.dataset.active) >= 5)";

fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// The hash of a block or a transaction, of a number.
fn hash(kind: u8, number: i64) -> String {
    format!("0x{kind:02x}{number:062x}")
}

fn is(state: &str) -> String {
    format!("document.getElementById('tokens-card').dataset.state === '{state}'")
}

fn note(words: &str) -> String {
    format!("document.getElementById('tokens-note').innerText.includes('{words}')")
}

fn swaps_are(state: &str) -> String {
    format!("document.getElementById('swaps-card').dataset.state === '{state}'")
}

fn pool(tokens: [(&str, &str, i64); 2], usd_token: Option<i64>, time: i64) -> Pool {
    let [(token0, symbol0, decimals0), (token1, symbol1, decimals1)] = tokens;
    Pool {
        protocol: PoolProtocol::UniswapV3,
        token0: token0.into(),
        token1: token1.into(),
        fee: Some(3_000),
        symbol0: Some(symbol0.into()),
        symbol1: Some(symbol1.into()),
        decimals0: Some(decimals0),
        decimals1: Some(decimals1),
        usd_token,
        event_time: Timestamp(time),
        received_at: Timestamp(time),
    }
}

fn swap(block: i64, log_index: i64, amounts: [&str; 2], time: i64) -> Result<Swap> {
    let amount = |text: &str| text.parse::<Integer>();
    Ok(Swap {
        tx_hash: hash(0xaa, block),
        log_index: Some(log_index),
        block_number: Some(block),
        block_hash: Some(hash(0xbb, block)),
        status: SwapStatus::Included,
        amount0: amount(amounts[0])?,
        amount1: amount(amounts[1])?,
        block_time: Some(Timestamp(time)),
        received_at: Timestamp(time),
        ..Swap::default()
    })
}

fn head(number: i64, time: i64) -> ChainHead {
    ChainHead {
        block_number: number,
        block_hash: hash(0xbb, number),
        parent_hash: hash(0xbb, number - 1),
        block_time: Timestamp(time),
        received_at: Timestamp(time),
    }
}

/// Writes pools, a swap of each pool in each block, and the blocks' heads, to one partition.
fn write_chain(installation: &Installation) -> Result<()> {
    let codec = installation.codec()?;
    let start = now()? - SINCE_MS;
    let (priced, unpriced) = (PoolKey::new(CHAIN, PRICED), PoolKey::new(CHAIN, UNPRICED));
    let stable = pool([(USDC, "USDC", 6), (WETH, "WETH", 18)], Some(0), start);
    let volatile = pool([(WETH, "WETH", 18), (OSQTH, "oSQTH", 18)], None, start);
    let mut rows: Vec<Row> = Vec::new();
    for (key, facts) in [(&priced, &stable), (&unpriced, &volatile)] {
        rows.push((codec.to_bytes(key), Some(codec.to_bytes(facts))));
    }
    let of_chain = PoolKey::of_chain(CHAIN);
    for at in 0..BLOCKS {
        let (block, time) = (FIRST + at, start + at * BLOCK_MS);
        let one = swap(block, 3, ["2500000000", "-1000000000000000000"], time)?;
        let other = swap(block, 7, ["500000000000000000", "-90000000000000001"], time)?;
        rows.push((codec.to_bytes(&of_chain), Some(codec.to_bytes(&head(block, time)))));
        rows.push((codec.to_bytes(&priced), Some(codec.to_bytes(&one))));
        rows.push((codec.to_bytes(&unpriced), Some(codec.to_bytes(&other))));
    }
    // Two more blocks confirm all of them.
    for at in BLOCKS..BLOCKS + 2 {
        let head = head(FIRST + at, start + SINCE_MS);
        rows.push((codec.to_bytes(&of_chain), Some(codec.to_bytes(&head))));
    }
    installation.write(Topic::Swaps, 0, &rows)
}

/// Writes a swap that is in no block.
fn write_pending(installation: &Installation, number: i64) -> Result<()> {
    let codec = installation.codec()?;
    let pending = Swap {
        tx_hash: hash(0xcc, number),
        status: SwapStatus::Pending,
        amount0: Integer::from(5),
        amount1: Integer::from(-4),
        received_at: Timestamp(now()?),
        ..Swap::default()
    };
    let key = PoolKey::new(CHAIN, PRICED);
    installation.write(Topic::Swaps, 0, &[(codec.to_bytes(&key), Some(codec.to_bytes(&pending)))])
}

/// The states of the view, with a picture of each.
pub(crate) fn are_shown(
    installation: &Installation,
    browser: &mut Browser,
    page: &str,
) -> Result<()> {
    let tokens = format!("{page}#tokens");
    show(browser, &tokens, 1280, "empty")?;
    browser.until(&note("producer run --venue ethereum"))?;
    picture(browser, "tokens-empty")?;

    write_chain(installation)?;
    browser.until(&is("live"))?;
    browser.until(HAS_ROWS)?;
    browser.until(HAS_SPARKS)?;
    is_what_is_served(browser)?;
    works_by_keyboard(browser)?;
    shows_a_transaction(installation, browser)?;
    fails_and_comes_back(browser)?;
    looks_well(browser, &tokens)
}

fn show(browser: &mut Browser, address: &str, width: u32, state: &str) -> Result<()> {
    // Another address that differs behind # only would not load the page again.
    browser.open("about:blank", width, 900)?;
    browser.open(address, width, 900)?;
    browser.until(&is(state))
}

/// Each cell is the text of the interface, in its order, and a volume is that of the chain digit for
/// digit.
fn is_what_is_served(browser: &mut Browser) -> Result<()> {
    let wrong = browser.value(
        "(async () => { let shown, served; \
           for (let look = 0; look < 100; look += 1) { \
           const { tokens } = await (await fetch('/v1/tokens?window=24h')).json(); \
           shown = [...document.querySelectorAll('#token-rows tr')].map((row) => \
             [row.querySelector('button').textContent, row.children[2].textContent, \
              row.children[3].textContent, row.children[4].textContent]); \
           served = tokens.map((row) => [row.symbol, row.volume_usd ?? '–', \
             String(row.swaps), String(row.unpriced_swaps)]); \
           if (JSON.stringify(shown) === JSON.stringify(served)) return ''; \
           await new Promise((done) => setTimeout(done, 50)); } \
           return JSON.stringify({ shown, served }); })()",
    )?;
    ensure!(wrong == "", "the tokens and the interface differ: {wrong}");
    let squeeth = format!(
        "(() => {{ const row = document.querySelector('[data-token=\"{OSQTH}\"]').closest('tr'); \
          return row.children[2].textContent + ' ' + row.children[5].textContent; }})()"
    );
    let volume = browser.value(&squeeth)?;
    ensure!(volume == "– 0.90000000000000001", "{volume}");
    Ok(())
}

/// A window is chosen and a token picked without a pointer, and the focus stays.
fn works_by_keyboard(browser: &mut Browser) -> Result<()> {
    let heads = "[...document.querySelectorAll('#tokens th')].every((head) => head.scope)";
    ensure!(browser.value(heads)? == true, "the table does not say what its heads are of");
    browser.value("document.querySelector('[data-window=\"24h\"]').focus()")?;
    browser.press("Tab")?;
    browser.press("Tab")?;
    browser.until("document.activeElement.matches('#token-rows .choose')")?;
    let here = "document.activeElement.dataset.token";
    let first = browser.value(here)?;
    let first = first.as_str().context("a token has the focus")?.to_owned();
    browser.press("Enter")?;
    browser.until(&format!(
        "document.getElementById('token-facts').innerText.includes('{first}') && \
         document.activeElement.getAttribute('aria-pressed') === 'true'"
    ))?;
    browser.value("document.querySelector('[data-window=\"1h\"]').focus()")?;
    browser.press("Enter")?;
    browser.until("document.getElementById('tokens-card').dataset.window === '1h'")?;
    browser.until("location.hash === '#tokens/1h'")?;
    browser.value("document.querySelector('[data-window=\"24h\"]').click()")?;
    browser.until(HAS_ROWS)
}

/// Looks a hash up as a person would.
fn look_up(browser: &mut Browser, text: &str) -> Result<()> {
    browser.value(&format!(
        "(() => {{ const field = document.getElementById('tx'); field.value = '{text}'; field.focus(); }})()"
    ))?;
    browser.press("Enter")
}

/// A transaction with two swaps, a pending one, one that is not here, and a text that is no hash.
fn shows_a_transaction(installation: &Installation, browser: &mut Browser) -> Result<()> {
    look_up(browser, &hash(0xaa, FIRST))?;
    browser.until(&swaps_are("found"))?;
    let confirmed = "[...document.querySelectorAll('#swap-rows li')].map((row) => \
        row.dataset.status).join() === 'CONFIRMED,CONFIRMED'";
    browser.until(confirmed)?;
    let text = "document.getElementById('swap-rows').innerText.includes('-90000000000000001')";
    ensure!(browser.value(text)? == true, "an amount is not that of the chain");
    picture(browser, "tokens-transaction")?;
    write_pending(installation, 1)?;
    look_up(browser, &hash(0xcc, 1))?;
    browser.until("document.querySelector('#swap-rows li')?.dataset.status === 'PENDING'")?;
    for (text, words) in [(hash(0xdd, 1), "no partition"), ("0x12".into(), "64 hexadecimal")] {
        look_up(browser, &text)?;
        browser.until(&swaps_are("refused"))?;
        browser
            .until(&format!("document.getElementById('tx-note').innerText.includes('{words}')"))?;
    }
    Ok(())
}

/// While the interface does not answer, the last rows stay, and the page says so.
fn fails_and_comes_back(browser: &mut Browser) -> Result<()> {
    browser.value(
        "(() => { window.kept = window.fetch; \
          window.fetch = (path, ...more) => String(path).startsWith('/v1/tokens') \
            ? Promise.reject(new Error('cut off by the test')) : window.kept(path, ...more); })()",
    )?;
    browser.until(&is("failed"))?;
    browser.until(&note("cut off by the test"))?;
    ensure!(browser.value(HAS_ROWS)? == true, "the rows have gone with the answer");
    picture(browser, "tokens-failed")?;
    browser.value("(() => { window.fetch = window.kept; })()")?;
    browser.until(&is("live"))
}

/// In both themes, at the width of a desk and of a phone.
fn looks_well(browser: &mut Browser, tokens: &str) -> Result<()> {
    for theme in ["light", "dark"] {
        browser.prefer(theme)?;
        for (name, width) in [("wide", 1280), ("phone", 360)] {
            show(browser, tokens, width, "live")?;
            browser.until(HAS_ROWS)?;
            browser.until(HAS_SPARKS)?;
            ensure!(browser.value(FITS)? == true, "{name}: the tokens are wider than a window");
            picture(browser, &format!("tokens-{theme}-{name}"))?;
        }
    }
    browser.prefer("light")
}
