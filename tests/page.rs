//! The page in a browser, with the real stack behind: prices digit for digit, a chart, the feeds and
//! the processor, at the width of a desk and of a phone, while all is well and while it is not.
//!
//! It needs Chromium, which `make test` installs. What it has seen is in `target/page`, for a person to
//! look at.

#[path = "page/books.rs"]
mod books;
#[path = "page/index.rs"]
mod index;
#[path = "page/options.rs"]
mod options;
#[path = "page/tokens.rs"]
mod tokens;

use anyhow::{Context as _, Result, ensure};
use tests::support::Installation;
use tests::support::browser::{Browser, installed};
use tests::support::installation::{IMPATIENT, Member};
use tests::support::stack::root;
use tests::support::venue::Simulated;
use venues::Venue;

/// Every sub-topology.
const ALL: [&str; 2] = ["--topologies", "prices,quotes,options,swaps,index"];
/// No row without text, and as many candles as the chart says.
const HAS_PRICES: &str = "document.querySelectorAll('#rows tr').length >= 3 && \
    [...document.querySelectorAll('#rows td:nth-child(3)')].every((cell) => /^[0-9.]+$/.test(cell.textContent))";
const HAS_CHART: &str = "Number(document.getElementById('chart').dataset.candles) > 0 && \
    document.querySelectorAll('#chart canvas').length > 0";
const IS_LIVE: &str = "document.getElementById('connection').dataset.state === 'live'";

fn picture(browser: &mut Browser, name: &str) -> Result<()> {
    let folder = root().join("target/page");
    std::fs::create_dir_all(&folder)?;
    browser.picture(&folder.join(format!("{name}.png")))
}

fn page(member: &mut Member) -> Result<String> {
    Ok(format!("http://{}/", member.address()?))
}

fn banner(words: &str) -> String {
    format!("document.getElementById('banner').textContent.includes('{words}')")
}

/// Each price on the page is one that the interface gives.
fn shows_what_is_served(browser: &mut Browser) -> Result<()> {
    let wrong = browser.value(
        "(async () => { const wrong = []; \
         for (const row of [...document.querySelectorAll('#rows tr')].slice(0, 3)) { \
           const [pair, exchange, price] = [...row.children].map((cell) => cell.textContent); \
           const [base, quote] = pair.split('-'); let same = false; const seen = new Set(); \
           for (let look = 0; look < 40 && !same; look += 1) { \
             const answer = await fetch(`/v1/latest?${new URLSearchParams({ base, quote, exchange })}`); \
             seen.add((await answer.json()).price); \
             await new Promise((done) => setTimeout(done, 50)); \
             same = seen.has(row.children[2].textContent); } \
           if (!same) wrong.push(`${pair}@${exchange} ${price}`); } \
         return wrong.join(); })()",
    )?;
    ensure!(wrong == "", "the page and the interface differ: {wrong}");
    Ok(())
}

#[test]
fn the_page_shows_live_prices_and_says_when_they_are_not() -> Result<()> {
    let program = installed().context(
        "no Chromium on this machine: make test installs it, or set CHROMIUM to where one is",
    )?;
    let installation = Installation::new("page")?;
    // Patient: while it stands still, its group waits for it.
    let patient = [&["--session-timeout", "3m"], &ALL[..]].concat();
    let (mut member, mut view) = installation.member_and_view(&patient, &[])?;
    let mut browser = Browser::start(&program, installation.folder())?;

    // Nothing yet.
    browser.open(&page(&mut view)?, 1280, 900)?;
    browser.until("document.getElementById('empty').innerText.includes('Waiting')")?;
    browser.until(IS_LIVE)?;
    picture(&mut browser, "empty")?;

    // A venue with faults, so that there are gaps.
    let products = ["BTC-USD", "ETH-USD", "SOL-EUR", "DOGE-USD"];
    let rate = ["--rate", "40"];
    let venue = Simulated::start(&installation, Venue::Coinbase, &products, 1, &rate)?;
    let feed = venue.follow(&installation, &["--channels", "trades,ticker,book"])?;
    is_live_at_every_width(&mut browser, &page(&mut view)?)?;
    shows_what_is_served(&mut browser)?;
    works_by_keyboard(&mut browser)?;
    books::are_shown(&installation, &mut browser, &page(&mut view)?)?;
    index::is_shown(&installation, &mut browser, &page(&mut view)?)?;
    options::are_shown(&installation, &mut browser, &page(&mut view)?)?;
    options::move_with_their_venue(&installation, &mut browser, &page(&mut view)?)?;
    tokens::are_shown(&installation, &mut browser, &page(&mut view)?)?;

    // A member shows its own work.
    browser.open(&page(&mut member)?, 1280, 900)?;
    browser.until(HAS_PRICES)?;
    browser.until("document.getElementById('processor').innerText.includes(' ms')")?;
    picture(&mut browser, "member")?;

    rebalances(&installation, &mut browser, &mut member)?;

    // The feed dies: the page says so, and the prices stay.
    drop(feed);
    drop(venue);
    browser.open(&page(&mut view)?, 1280, 900)?;
    browser.until(HAS_PRICES)?;
    browser.until(&banner("No sign from coinbase"))?;
    picture(&mut browser, "feed-dead")?;

    // The view goes away and comes back, and the page with it.
    let address = view.address()?;
    view.stop()?;
    browser.until(&banner("Not connected"))?;
    ensure!(browser.value(HAS_PRICES)? == true, "the prices have gone with the connection");
    picture(&mut browser, "not-connected")?;
    let view = installation.ready_view("view", &["--listen", &address])?;
    browser.until(IS_LIVE)?;

    nothing_was_refused(&browser)?;
    drop(browser);
    installation.finish_with([member, view])
}

/// A member comes while another one does not answer: the group moves partitions for as long. What is
/// here is shown, and that it may be older.
fn rebalances(
    installation: &Installation,
    browser: &mut Browser,
    member: &mut Member,
) -> Result<()> {
    member.process.signal("STOP")?;
    let mut second =
        installation.member("two", &[&IMPATIENT[..], &ALL, &["--standby"]].concat())?;
    browser.open(&page(&mut second)?, 1280, 900)?;
    browser.until(HAS_PRICES)?;
    browser.until(HAS_CHART)?;
    browser.until(&banner("its group is moving partitions"))?;
    picture(browser, "rebalance")?;
    member.process.signal("CONT")?;
    browser.until("document.getElementById('banner').hidden")?;
    browser.until(IS_LIVE)?;
    second.stop()?;
    Ok(())
}

/// In both themes, at the width of a desk and of a phone.
fn is_live_at_every_width(browser: &mut Browser, page: &str) -> Result<()> {
    for theme in ["light", "dark"] {
        browser.prefer(theme)?;
        for (name, width, height) in [("wide", 1280, 900), ("phone", 360, 780)] {
            browser.open(page, width, height)?;
            for state in [IS_LIVE, HAS_PRICES, HAS_CHART] {
                browser.until(state)?;
            }
            browser.until("document.querySelector('.state.live') !== null")?;
            let fits = "document.documentElement.scrollWidth <= innerWidth";
            ensure!(browser.value(fits)? == true, "{name}: it is wider than its window");
            picture(browser, &format!("live-{theme}-{name}"))?;
        }
    }
    Ok(())
}

/// The page keeps to its own policy, and no script has failed.
fn nothing_was_refused(browser: &Browser) -> Result<()> {
    let refused = "Refused to|Content Security Policy|Uncaught";
    let complaints: Vec<_> = browser
        .complaints
        .iter()
        .filter(|text| refused.split('|').any(|word| text.contains(word)))
        .collect();
    ensure!(complaints.is_empty(), "the browser complains: {complaints:?}");
    Ok(())
}

/// Everything can be reached and used without a mouse, and is named.
fn works_by_keyboard(browser: &mut Browser) -> Result<()> {
    let unnamed = browser.value(
        "[...document.querySelectorAll('button, input, select, a, [role=region], [role=img]')].filter((node) => \
         !(node.innerText || node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || \
           node.labels?.[0]?.innerText || node.title)).map((node) => node.outerHTML).join()",
    )?;
    ensure!(unnamed == "", "without a name: {unnamed}");
    tabs_through(browser)?;
    browser.value(
        "(() => { const search = document.getElementById('search'); search.value = 'eth'; \
          search.dispatchEvent(new Event('input')); })()",
    )?;
    browser.until("document.querySelectorAll('#rows tr').length === 1")?;
    browser
        .value("document.querySelector('#rows button').focus(), document.activeElement.click()")?;
    browser.until("document.getElementById('last').innerText.includes('ETH-USD')")?;
    browser.until(HAS_CHART)?;
    browser.value("document.querySelector('[data-interval=\"1h\"]').click()")?;
    browser.until(HAS_CHART)?;
    let sorted = "document.querySelector('[data-sort=price]').click(), \
        document.querySelector('th[aria-sort]').innerText.startsWith('Price')";
    ensure!(browser.value(sorted)? == true, "the table is not sorted by price");
    Ok(())
}

/// What `Tab` reaches of the page, in its order, and what `Enter` does there.
fn tabs_through(browser: &mut Browser) -> Result<()> {
    browser.value("document.activeElement.blur(), scrollTo(0, 0)")?;
    let mut reached = Vec::new();
    // More stops than the page has before its first pair.
    for _ in 0..20 {
        browser.press("Tab")?;
        let here = browser.value(
            "(() => { const node = document.activeElement; \
              return node.id || node.dataset.sort || node.className || node.tagName; })()",
        )?;
        reached.push(here.as_str().unwrap_or_default().to_owned());
        if here == "choose" {
            break;
        }
    }
    let order =
        ["skip", "to-markets", "to-options", "to-tokens", "theme", "search", "exchange", "scroll"];
    let columns = ["pair", "exchange", "price", "age"];
    let wide = reached.iter().any(|stop| stop == "volume").then_some("volume");
    let wanted = order.into_iter().chain(columns).chain(wide).chain(["choose"]);
    ensure!(reached.iter().eq(wanted), "Tab reaches {reached:?}");
    let outlined = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
    ensure!(browser.value(outlined)? == true, "one does not see where one is");
    browser.press("Tab")?;
    browser.press("Enter")?;
    browser.until("document.activeElement.getAttribute('aria-current') === 'true'")?;
    browser.until(
        "document.getElementById('announce').textContent === \
         'Candles of ' + document.activeElement.getAttribute('aria-label')",
    )?;
    // Sorted the other way round, the row moves and keeps the focus.
    browser.value(
        "window.was = document.activeElement, \
         window.place = [...document.querySelectorAll('#rows button')].indexOf(was), \
         document.querySelector('[data-sort=pair]').click()",
    )?;
    browser.until("[...document.querySelectorAll('#rows button')].indexOf(was) !== place")?;
    ensure!(browser.value("document.activeElement === was")? == true, "the focus is lost");
    browser.value("document.querySelector('[data-sort=pair]').click()")?;
    Ok(())
}
