//! The options on the page: a live chain with its smile, an expired expiry, none at all, and the width
//! of a phone.
//!
//! The tickers of BTC are records of the test's own, so that each state stays for as long as a picture
//! takes. Those of ETH are a simulated venue's, which move. The processor makes the options of both, and
//! the page shows what the interface serves.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{
    Class, Decimal, Instrument, InstrumentName, InstrumentState, PairKey, Ticker, Timestamp,
};
use tests::support::Installation;
use tests::support::browser::Browser;
use tests::support::venue::Simulated;
use venues::Venue;

use super::picture;

const DAY_MS: i64 = 86_400_000;
/// Deribit's options expire at 08:00 UTC.
const EXPIRY_MS: i64 = 8 * 3_600_000;
/// Five minutes: older than a price may be.
const OLD_MS: i64 = 300_000;
const UNDERLYING: &str = "101234.5";
/// Strikes with the mark IV and the delta of their calls.
const SMILE: [(u32, &str, &str); 9] = [
    (80_000, "58.31", "0.94122"),
    (85_000, "54.7", "0.89"),
    (90_000, "51.44", "0.80931"),
    (95_000, "48.9", "0.69518"),
    (100_000, "47.05", "0.54704"),
    (105_000, "46.21", "0.38877"),
    (110_000, "46.88", "0.25603"),
    (115_000, "48.35", "0.16"),
    (120_000, "50.6", "0.09871"),
];

/// The server's clock and the test's are the same.
fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// An expiry so many days from today.
#[derive(Clone, Copy)]
struct Expiry(i64);

impl Expiry {
    fn in_days(days: i64) -> Result<Self> {
        Ok(Self((now()? / DAY_MS + days) * DAY_MS + EXPIRY_MS))
    }

    /// 2026-12-25.
    fn date(self) -> String {
        Timestamp(self.0).to_string()[..10].to_owned()
    }

    /// The name of an option, as Deribit writes it: BTC-25DEC26-100000-C.
    fn option(self, strike: u32, right: char) -> Result<String> {
        const MONTHS: &str = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC";
        let date = self.date();
        let month = 3 * (date[5..7].parse::<usize>()? - 1);
        let day = date[8..].trim_start_matches('0');
        Ok(format!("BTC-{day}{}{}-{strike}-{right}", &MONTHS[month..month + 3], &date[2..4]))
    }
}

/// A decimal of a constant of this file.
fn decimal(text: &str) -> Result<Option<Decimal>> {
    Ok(Some(text.parse()?))
}

/// A whole ticker of a strike. The lowest call has a bid IV of zero, the highest one has no bid.
fn ticker(at: usize, right: char, mark: &str, time: i64) -> Result<Ticker> {
    let (_, iv, delta) = SMILE[at];
    let call = right == 'C';
    let (first, last) = (call && at == 0, call && at + 1 == SMILE.len());
    let put: Decimal = delta.parse()?;
    let put = put.checked_sub("1".parse()?).context("a delta is below one")?;
    Ok(Ticker {
        mark_price: decimal(mark)?,
        last_price: decimal("0.0301")?,
        bid: if last { None } else { decimal("0.029")? },
        bid_size: if last { None } else { decimal("12.5")? },
        ask: decimal("0.0325")?,
        ask_size: decimal("7")?,
        mark_iv: decimal(iv)?,
        bid_iv: if last { None } else { decimal(if first { "0" } else { "44.5" })? },
        ask_iv: decimal("61.25")?,
        delta: if call { decimal(delta)? } else { Some(put) },
        gamma: decimal("0.00002")?,
        vega: decimal("104.73315")?,
        theta: decimal("-98.1")?,
        rho: decimal("31.2")?,
        open_interest: decimal("1204.5")?,
        underlying_price: decimal(UNDERLYING)?,
        underlying_index: Some("SYN.BTC".into()),
        index_price: decimal("100020.17")?,
        estimated_delivery_price: decimal("100020.17")?,
        volume: decimal("88.1")?,
        state: Some("open".into()),
        event_time: Timestamp(time),
        received_at: Timestamp(time),
        ..Ticker::default()
    })
}

fn key(name: &str) -> PairKey {
    PairKey::new(name, "BTC", "deribit")
}

/// Writes a ticker of each option of an expiry. That of the lowest put is old.
fn write_expiry(installation: &Installation, expiry: Expiry, time: i64) -> Result<()> {
    let codec = installation.codec()?;
    let mut records = Vec::new();
    for (at, (strike, ..)) in SMILE.into_iter().enumerate() {
        for right in ['C', 'P'] {
            let name = expiry.option(strike, right)?;
            let age = if at == 0 && right == 'P' { OLD_MS } else { 0 };
            let ticker = ticker(at, right, "0.0307", time - age)?;
            records.push((codec.to_bytes(&key(&name)), Some(codec.to_bytes(&ticker))));
        }
    }
    installation.write(Topic::OptionTickers, 0, &records)
}

/// Writes one ticker of the option at the money.
fn write_one(installation: &Installation, name: &str, mark: &str, time: i64) -> Result<()> {
    let codec = installation.codec()?;
    let right = if name.ends_with('C') { 'C' } else { 'P' };
    let ticker = ticker(SMILE.len() / 2, right, mark, time)?;
    let record = (codec.to_bytes(&key(name)), Some(codec.to_bytes(&ticker)));
    installation.write(Topic::OptionTickers, 0, &[record])
}

/// Ends each option of an expiry at a time.
fn end(installation: &Installation, expiry: Expiry, time: i64) -> Result<()> {
    let codec = installation.codec()?;
    let mut records = Vec::new();
    for (strike, ..) in SMILE {
        for right in ['C', 'P'] {
            let name = expiry.option(strike, right)?;
            let facts = InstrumentName::parse(&name).context("a name of this test")?;
            let ended = Instrument {
                class: Class::Option,
                currency: facts.currency,
                settlement_currency: Some("BTC".into()),
                expiry_time: facts.expiry_time,
                strike: facts.strike,
                right: facts.right,
                contract_size: decimal("1")?,
                tick_size: decimal("0.0001")?,
                state: InstrumentState::Ended,
                event_time: Timestamp(time),
                received_at: Timestamp(time),
            };
            records.push((codec.to_bytes(&key(&name)), Some(codec.to_bytes(&ended))));
        }
    }
    installation.write(Topic::OptionTickers, 0, &records)
}

/// The state of the view, as the pill and the style sheet have it.
fn is(state: &str) -> String {
    format!("document.getElementById('options-head').dataset.state === '{state}'")
}

fn note(words: &str) -> String {
    format!("document.getElementById('options-note').innerText.includes('{words}')")
}

/// A strike for each line, one of them at the money, and the underlying between two strikes.
fn has_chain() -> String {
    format!(
        "document.querySelectorAll('#chain-rows th[scope=row]').length === {} && \
         document.querySelector('.at-the-money th').textContent.startsWith('100000') && \
         document.querySelector('.forward').textContent === 'underlying {UNDERLYING}' && \
         document.querySelector('.forward').previousElementSibling.matches('.at-the-money')",
        SMILE.len()
    )
}

const HAS_SMILE: &str = "Number(document.getElementById('smile').dataset.points) >= 8 && \
    document.querySelectorAll('#smile canvas').length > 0";
const HAS_MARKS: &str = "document.querySelectorAll('.pick').length > 8 && \
    [...document.querySelectorAll('.pick')].every((one) => /^[0-9.]+$/.test(one.lastChild.textContent))";
/// The chain changes within a few seconds.
const MOVES: &str = "(() => { const now = document.getElementById('chain-rows').innerText; \
    const moved = window.chain0 !== undefined && window.chain0 !== now; \
    window.chain0 ??= now; return moved; })()";
const FITS: &str = "document.documentElement.scrollWidth <= innerWidth";

/// The states of the view, with a picture of each.
pub(crate) fn are_shown(
    installation: &Installation,
    browser: &mut Browser,
    page: &str,
) -> Result<()> {
    // The processor takes no ticker of an option that has expired: this expiry ends before its time.
    let (open, ended) = (Expiry::in_days(25)?, Expiry::in_days(31)?);
    let options = format!("{page}#options");
    show(browser, &options, 1280, "empty")?;
    browser.until(&note("producer run --venue deribit"))?;
    picture(browser, "options-empty")?;

    write_expiry(installation, ended, now()?)?;
    end(installation, ended, now()?)?;
    write_expiry(installation, open, now()?)?;
    is_live(installation, browser, &options, open)?;
    works_by_keyboard(browser)?;

    let past = format!("{options}/BTC/{}", ended.date());
    show(browser, &past, 1280, "expired")?;
    browser.until(&note("An expired expiry"))?;
    browser.until("document.querySelectorAll('#chain td.closed').length > 90")?;
    picture(browser, "options-expired")?;

    show(browser, &format!("{options}/DOGE"), 1280, "missing")?;
    browser.until(&note("DOGE"))?;
    looks_well(installation, browser, &options, open)
}

/// A simulated venue's whole currency: each option has a mark, and the chain moves.
pub(crate) fn move_with_their_venue(
    installation: &Installation,
    browser: &mut Browser,
    page: &str,
) -> Result<()> {
    let market = ["--options", "480", "--currencies", "ETH"];
    let venue = Simulated::start(installation, Venue::Deribit, &[], 3, &market)?;
    let _feed = venue.follow(installation, &["--currency", "ETH"])?;
    // The currency comes while the page is open.
    browser.open("about:blank", 1280, 900)?;
    browser.open(&format!("{page}#options/ETH"), 1280, 900)?;
    for state in [&is("live"), HAS_MARKS, HAS_SMILE, MOVES] {
        browser.until(state)?;
    }
    picture(browser, "options-simulated")
}

/// Opens the page at an address, and waits for a state of the view.
fn show(browser: &mut Browser, address: &str, width: u32, state: &str) -> Result<()> {
    // Another address that differs behind # only would not load the page again.
    browser.open("about:blank", width, 900)?;
    browser.open(address, width, 900)?;
    browser.until(&is(state))
}

/// The next expiry is chosen, its values are those of the interface, and they change as they come.
fn is_live(
    installation: &Installation,
    browser: &mut Browser,
    options: &str,
    open: Expiry,
) -> Result<()> {
    show(browser, options, 1280, "live")?;
    browser.until(&has_chain())?;
    browser.until(HAS_SMILE)?;
    let chosen = format!("document.getElementById('expiry').value === '{}'", open.date());
    ensure!(browser.value(&chosen)? == true, "the next expiry is not the one that is chosen");
    is_what_is_served(browser, open)?;
    let mark = format!(
        "document.querySelector('[data-base=\"{}\"]').lastChild.textContent",
        open.option(100_000, 'C')?
    );
    ensure!(browser.value(&mark)? == "0.0307");
    write_one(installation, &open.option(100_000, 'C')?, "0.0311", now()?)?;
    browser.until(&format!("{mark} === '0.0311'"))
}

/// Each cell of the chain is the text of the interface, and a dash where that has null.
fn is_what_is_served(browser: &mut Browser, open: Expiry) -> Result<()> {
    let wrong = browser.value(&format!(
        "(async () => {{ \
           const asked = '/v1/options?layout=chain&currency=BTC&expiry={}'; \
           const names = ['bid', 'ask', 'mark_price', 'mark_iv', 'delta', 'open_interest']; \
           const order = ['open_interest', 'delta', 'mark_iv', 'mark_price', 'bid', 'ask']; \
           let shown, served; \
           for (let look = 0; look < 100; look += 1) {{ \
           const {{ chain }} = await (await fetch(asked)).json(); \
           const lines = [...document.querySelectorAll('#chain-rows tr:not(.forward)')]; \
           shown = lines.map((line) => [...line.children].map((cell) => cell.matches('th') \
             ? cell.firstChild.textContent : (cell.querySelector('button')?.lastChild ?? cell).textContent)); \
           served = chain.map(({{ strike, call, put }}) => [ \
             ...order.map((name) => call?.[name] ?? '–'), strike, \
             ...names.map((name) => put?.[name] ?? '–')]); \
           if (JSON.stringify(shown) === JSON.stringify(served)) return ''; \
           await new Promise((done) => setTimeout(done, 50)); }} \
           return JSON.stringify({{ shown, served }}); }})()",
        open.date()
    ))?;
    ensure!(wrong == "", "the chain and the interface differ: {wrong}");
    let dashes = "[...document.querySelectorAll('#chain-rows tr:last-child td.call')] \
        .filter((cell) => cell.textContent === '–').length";
    ensure!(browser.value(dashes)? == 1, "the only value that is missing is the bid");
    let inside = "[...document.querySelectorAll('#chain-rows tr:not(.forward)')].every((line) => { \
        const below = Number(line.querySelector('th').firstChild.textContent) < 101234.5; \
        return line.querySelector('td.call').matches('.itm') === below && \
          line.querySelector('td.put').matches('.itm') !== below; })";
    ensure!(browser.value(inside)? == true, "other options than those in the money are shaded");
    let old = "[...document.querySelectorAll('#chain td.old')].every((cell) => \
        cell.matches('tr:first-child td.put')) && document.querySelectorAll('#chain td.old').length";
    ensure!(browser.value(old)? == 6, "the put that is old is not the one that is marked");
    Ok(())
}

/// One mark price is a stop of Tab, arrows move from it, and Enter shows every value of an option.
fn works_by_keyboard(browser: &mut Browser) -> Result<()> {
    let heads = "[...document.querySelectorAll('#chain th')].every((head) => head.scope) && \
        document.getElementById('chain-caption').textContent.includes('prices in BTC')";
    ensure!(browser.value(heads)? == true, "the table does not say what its heads are of");
    let stops = "document.querySelectorAll('#chain button[tabindex=\"0\"]').length";
    ensure!(browser.value(stops)? == 1, "the chain has more than one stop");
    browser.value("document.getElementById('chain-scroll').focus()")?;
    browser.press("Tab")?;
    let here = "document.activeElement.dataset.base";
    browser.until(&format!("{here}.endsWith('-100000-C')"))?;
    browser.press("ArrowDown")?;
    browser.press("ArrowRight")?;
    browser.until(&format!("{here}.endsWith('-105000-P')"))?;
    browser.press("Enter")?;
    browser.until(
        "document.getElementById('option-title').textContent === \
         document.activeElement.dataset.base && \
         document.getElementById('option-facts').innerText.includes('104.73315') && \
         document.activeElement.getAttribute('aria-pressed') === 'true'",
    )?;
    // An update draws the chain again: the focus stays.
    browser.value("document.querySelector('[data-smile=both]').click()")?;
    browser.until(HAS_SMILE)?;
    ensure!(browser.value(&format!("{here}.endsWith('-105000-P')"))? == true, "the focus is lost");
    Ok(())
}

/// In both themes, at the width of a desk and of a phone.
fn looks_well(
    installation: &Installation,
    browser: &mut Browser,
    options: &str,
    open: Expiry,
) -> Result<()> {
    for theme in ["light", "dark"] {
        browser.prefer(theme)?;
        for (name, width) in [("wide", 1280), ("phone", 360)] {
            write_one(installation, &open.option(100_000, 'C')?, "0.0311", now()?)?;
            show(browser, options, width, "live")?;
            browser.until(&has_chain())?;
            browser.until(HAS_SMILE)?;
            ensure!(browser.value(FITS)? == true, "{name}: the options are wider than a window");
            picture(browser, &format!("options-{theme}-{name}"))?;
        }
    }
    // One side on a phone has every column.
    browser.value("document.querySelector('[data-sides=put]').click()")?;
    browser.until("document.querySelectorAll('#chain-rows tr:first-child td.put').length === 6")?;
    ensure!(browser.value(FITS)? == true, "the puts are wider than a phone");
    browser.prefer("light")
}
