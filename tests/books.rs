//! Order books from a simulated venue to every reader, through kills of the member and the producer:
//! REST, WebSocket, command line and `PostgreSQL` have the same exact values, and spreads are those of
//! a fold of `quotes` by other means.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{Book, FeedMark, PairChange, PairKey, Status};
use serde_json::{Value, json};
use tests::support::books::{Books, Spreads};
use tests::support::connect::Sinks;
use tests::support::installation::{IMPATIENT, Member};
use tests::support::socket::Socket;
use tests::support::spreads::{Minute, minutes};
use tests::support::venue::{Follower, Simulated};
use tests::support::{Installation, settles, soon};
use venues::Venue;

const PRODUCTS: [&str; 3] = ["BTC-USD", "ETH-USD", "LTC-USD"];
/// Members that are given up in seconds and compute books.
const MEMBER: [&str; 6] =
    [IMPATIENT[0], IMPATIENT[1], IMPATIENT[2], IMPATIENT[3], "--topologies", "prices,quotes"];
const CHANNELS: [&str; 2] = ["--channels", "trades,ticker,book"];
/// The topics whose tables are compared.
const SUNK: [Topic; 4] = [Topic::TopOfBook, Topic::Spreads1m, Topic::Spreads1h, Topic::Spreads1d];
/// Spreads of one minute, in milliseconds.
const MINUTE: i64 = 60_000;

/// The newest values of one output topic of `quotes`.
fn outputs(installation: &Installation, topic: Topic) -> Result<Books> {
    let (codec, mut books) = (installation.codec()?, Books::default());
    for record in installation.read(topic)? {
        books.add(&codec, topic, &record)?;
    }
    Ok(books)
}

/// The minutes of the topic.
fn spreads(installation: &Installation) -> Result<Spreads> {
    let mut books = outputs(installation, Topic::Spreads1m)?;
    Ok(books.spreads.remove(&Topic::Spreads1m).unwrap_or_default())
}

/// The newest book of each pair.
fn newest_books(installation: &Installation) -> Result<BTreeMap<PairKey, Book>> {
    let codec = installation.codec()?;
    let records = installation.read(Topic::Books)?;
    let decoded = records.iter().map(|record| {
        let value = record.value.as_deref().context("a tombstone")?;
        Ok((codec.decode(&record.key)?, codec.decode(value)?))
    });
    decoded.collect()
}

/// Every pair has a quote that is newer than a time.
fn are_quoted_after(installation: &Installation, time: i64) -> Result<i64> {
    let newest = || -> Result<Option<i64>> {
        let tops = outputs(installation, Topic::TopOfBook)?.tops;
        let times = tops.values().map(|(_, top)| top.event_time.0);
        Ok(times.min().filter(|_| tops.len() == PRODUCTS.len()))
    };
    soon("quotes of each pair", || Ok(newest()?.is_some_and(|newest| newest > time)))?;
    newest()?.context("the quotes have gone")
}

/// The venue, its producer and a member, killed in turn; returns the time in which nobody followed.
fn runs_and_is_killed(
    installation: &Installation,
    venue: &Simulated,
) -> Result<(Member, Follower, (i64, i64))> {
    let mut member = installation.ready_member("one", &MEMBER)?;
    let mut feed = venue.follow(installation, &CHANNELS)?;
    let first = are_quoted_after(installation, 0)?;
    member.process.kill()?;
    let member = installation.ready_member("one", &MEMBER)?;
    let before = are_quoted_after(installation, first)?;
    feed.process.kill()?;
    let feed = venue.follow(installation, &CHANNELS)?;
    let after = are_quoted_after(installation, before + 1_000)?;
    Ok((member, feed, (before, after)))
}

#[test]
fn every_reader_has_the_same_exact_books_after_kills() -> Result<()> {
    let installation = Installation::new("books")?;
    let venue = Simulated::start(&installation, Venue::Coinbase, &PRODUCTS, 7, &["--rate", "40"])?;
    let (mut member, mut feed, away) = runs_and_is_killed(&installation, &venue)?;
    let sinks = Sinks::register(&installation, &SUNK, &[])?;
    // Until the minute after the restart has closed.
    soon("the minute of the restart to close", || {
        let spreads = spreads(&installation)?;
        let closed = spreads.iter().filter(|(key, (_, spread))| {
            spread.status != Status::Open && key.open_time.0 > away.1 - MINUTE
        });
        Ok(closed.count() >= PRODUCTS.len())
    })?;
    feed.stop()?;
    installation.caught_up(&mut [&mut member])?;
    installation.caught_up_with(Topic::Quotes, &mut [&mut member])?;

    spreads_are_those_of_the_fold(&installation, away)?;
    let (mut actual, _) = installation.actual_and_expected()?;
    ensure!(actual.dead_letters.is_empty(), "{:?}", actual.dead_letters);
    sinks.tables_equal(&mut actual)?;
    drop(sinks);
    readers_agree(&installation, &mut member, &actual.books)?;
    installation.finish_with([member])
}

/// Each minute is the fold's, digit for digit, and the minutes of the time away are marked.
fn spreads_are_those_of_the_fold(installation: &Installation, away: (i64, i64)) -> Result<()> {
    let expected = minutes(&installation.codec()?, &installation.read(Topic::Quotes)?)?;
    let actual = spreads(installation)?;
    ensure!(actual.keys().eq(expected.keys()), "other minutes than those of the fold: {actual:?}");
    let (mut closed, mut marked) = (0, 0);
    for (key, (_, spread)) in &actual {
        let wanted = expected.get(key).context("a minute of the fold")?;
        let found = Minute::of(spread);
        let wanted =
            Minute { means: wanted.means.filter(|_| found.means.is_some()), ..wanted.clone() };
        ensure!(found == wanted, "{key}:\n{found:?} is not\n{wanted:?}");
        if spread.status == Status::Open {
            continue;
        }
        closed += 1;
        let (start, end) = (key.open_time.0, key.open_time.0 + MINUTE);
        // Event times are the venue's, marks are ours: a second apart at most here.
        if start < away.1 - 1_000 && end > away.0 + 1_000 {
            marked += 1;
            let is_whole = !spread.gap && spread.coverage_ms >= Some(MINUTE);
            ensure!(
                !is_whole,
                "{key} is not marked, and nobody followed from {away:?}: {spread:?}"
            );
        }
    }
    ensure!(
        closed >= PRODUCTS.len() && marked >= PRODUCTS.len(),
        "{closed} closed, {marked} marked"
    );
    Ok(())
}

/// The fields that every reader shows of a quote, as the topic has them.
fn expected_quote(pair: &PairKey, books: &Books) -> Result<Value> {
    let (_, top) = books.tops.get(pair).with_context(|| format!("no top of {pair}"))?;
    let decimal = |value: Option<schemas::Decimal>| value.map(|value| value.to_string());
    Ok(json!({
        "base": pair.base, "quote": pair.quote, "exchange": pair.exchange,
        "bid": decimal(top.bid), "bid_size": decimal(top.bid_size),
        "ask": decimal(top.ask), "ask_size": decimal(top.ask_size),
        "spread": decimal(top.spread()), "mid": decimal(top.mid()),
        "microprice": decimal(top.microprice()), "imbalance": decimal(top.imbalance()),
        "max_spread": decimal(top.max_spread), "mid_mean_10": decimal(top.mid_mean_10()),
        "sequence": top.sequence, "state": top.state.as_str(),
        "event_time": top.event_time.to_string(), "received_at": top.received_at.to_string(),
    }))
}

fn expected_levels(side: &[schemas::BookLevel], depth: usize) -> Value {
    let levels = side.iter().take(depth);
    levels.map(|l| json!({ "price": l.price.to_string(), "size": l.size.to_string() })).collect()
}

fn asked(member: &mut Member, route: &str, pair: &PairKey, more: &str) -> Result<Value> {
    let url = format!(
        "http://{}/v1/{route}?base={}&quote={}&exchange={}{more}",
        member.address()?,
        pair.base,
        pair.quote,
        pair.exchange
    );
    Ok(reqwest::blocking::get(url)?.error_for_status()?.json()?)
}

/// REST, WebSocket and the command line have what the topics have.
fn readers_agree(installation: &Installation, member: &mut Member, books: &Books) -> Result<()> {
    let levels = newest_books(installation)?;
    ensure!(levels.len() == PRODUCTS.len(), "books of {:?}", levels.keys());
    for (pair, book) in &levels {
        settles("the newest values over REST", || serves(member, pair, books, book))?;
    }
    hears_quotes_and_books(member, books, &levels)?;
    says_quotes(installation, member, books, levels.keys())
}

/// REST has the quote, the levels and the spreads of a pair as the topics have them.
fn serves(member: &mut Member, pair: &PairKey, books: &Books, book: &Book) -> Result<()> {
    let (found, quote) = (asked(member, "quotes", pair, "")?, expected_quote(pair, books)?);
    ensure!(found == quote, "{found} is not {quote}");
    let found = asked(member, "book", pair, "&depth=5")?;
    ensure!(found["bids"] == expected_levels(&book.bids, 5), "{found} is not {book:?}");
    ensure!(found["asks"] == expected_levels(&book.asks, 5), "{found} is not {book:?}");
    ensure!(found["state"] == quote["state"], "{found}");
    let found = asked(member, "spreads", pair, "")?["spreads"].clone();
    let of_pair = books.spreads.get(&Topic::Spreads1m).into_iter().flatten();
    let expected = of_pair.filter(|(key, _)| key.pair == *pair).map(|(key, (_, spread))| {
        (key.open_time.to_string(), spread.spread_mean().map(|mean| mean.to_string()))
    });
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let rows = found.as_array().context("spreads")?.iter();
    let rows =
        rows.map(|row| (text(row, "open_time").unwrap_or_default(), text(row, "spread_mean")));
    ensure!(rows.eq(expected), "{found} is not what the topic has");
    Ok(())
}

/// The snapshots of the channels `quotes` and `book` are what the topics have.
fn hears_quotes_and_books(
    member: &mut Member,
    books: &Books,
    levels: &BTreeMap<PairKey, Book>,
) -> Result<()> {
    let mut socket = Socket::open(&format!("ws://{}/v1/stream", member.address()?))?;
    for (id, channel) in [(1, "quotes"), (2, "book")] {
        socket.say(&json!({ "op": "subscribe", "id": id, "channel": channel }))?;
        let snapshot = socket.typed("snapshot")?;
        ensure!(snapshot["id"] == id, "{snapshot}");
        let rows = snapshot["rows"].as_array().context("rows")?;
        ensure!(rows.len() == PRODUCTS.len(), "{snapshot}");
        for row in rows {
            let part = |name: &str| row[name].as_str().unwrap_or_default();
            let pair = PairKey::new(part("base"), part("quote"), part("exchange"));
            if channel == "quotes" {
                let expected = expected_quote(&pair, books)?;
                ensure!(*row == expected, "{row} is not {expected}");
            } else {
                let book = levels.get(&pair).with_context(|| format!("no book of {pair}"))?;
                ensure!(row["bids"] == expected_levels(&book.bids, 25), "{row} is not {book:?}");
                ensure!(row["asks"] == expected_levels(&book.asks, 25), "{row} is not {book:?}");
            }
        }
    }
    Ok(())
}

/// `processor query quotes` prints what the topic has.
fn says_quotes<'a>(
    installation: &Installation,
    member: &mut Member,
    books: &Books,
    pairs: impl Iterator<Item = &'a PairKey>,
) -> Result<()> {
    let url = format!("http://{}", member.address()?);
    for pair in pairs {
        let name = pair.to_string();
        let query = ["query", "quotes", &name, "--format", "json", "--url", &url];
        let said = installation.command("processor", &query)?.finish()?.out;
        let answer: Value = serde_json::from_str(&said)?;
        let expected = expected_quote(pair, books)?;
        ensure!(answer["found"] == json!([expected]), "{answer} is not {expected}");
        let query = ["query", "book", &name, "--depth", "3", "--url", &url];
        let said = installation.command("processor", &query)?.finish()?.out;
        for name in ["bid", "ask", "spread", "max_spread", "mid_mean_10"] {
            let value = expected[name].as_str().unwrap_or("-");
            ensure!(said.contains(value), "{name} {value} is not in\n{said}");
        }
    }
    Ok(())
}

#[test]
fn a_book_that_never_comes_is_out_of_sync_for_every_reader_and_a_pair_can_be_ended() -> Result<()> {
    let installation = Installation::new("never")?;
    let never = ["--rate", "40", "--slow-snapshot", "30m"];
    let venue = Simulated::start(&installation, Venue::Coinbase, &PRODUCTS, 9, &never)?;
    let mut member = installation.ready_member("one", &MEMBER)?;
    let mut feed = venue.follow(&installation, &CHANNELS)?;
    let exchanges = format!("http://{}/v1/exchanges", member.address()?);
    soon("the book to be counted", || {
        let answer: Value = reqwest::blocking::get(&exchanges)?.error_for_status()?.json()?;
        let row = &answer["exchanges"][0];
        let named = row["out_of_sync"][0]["base"] == "BTC";
        Ok(row["books"] == PRODUCTS.len() && row["books_out_of_sync"] == 1 && named)
    })?;
    let never = PairKey::new("BTC", "USD", "coinbase");
    let row = asked(&mut member, "quotes", &never, "")?;
    ensure!(row["bid"].is_null() && row["ask"].is_null(), "{row}");
    ensure!(row["state"] == "OUT_OF_SYNC", "{row}");
    ends(&installation, &mut member, "ETH-USD@coinbase")?;
    feed.stop()?;
    installation.caught_up_with(Topic::Quotes, &mut [&mut member])?;
    let (actual, _) = installation.actual_and_expected()?;
    ensure!(actual.dead_letters.is_empty(), "{:?}", actual.dead_letters);
    installation.finish_with([member])
}

/// `processor pairs end` writes a mark to `events` and one to `quotes`.
fn ends(installation: &Installation, member: &mut Member, pair: &str) -> Result<()> {
    let url = format!("http://{}", member.address()?);
    let end = ["pairs", "end", pair, "--url", &url, "--yes"];
    let command = [&end[..], &installation.addresses()].concat();
    let said = installation.command("processor", &command)?.finish()?.out;
    for topic in [Topic::Events, Topic::Quotes] {
        let topic = installation.topic(topic);
        ensure!(said.contains(&format!("written to {topic}: 1\n")), "{said}");
    }
    let codec = installation.codec()?;
    for topic in [Topic::Events, Topic::Quotes] {
        let records = installation.read(topic)?;
        let ended = records.iter().find_map(|record| {
            let value = record.value.as_deref()?;
            let key: PairKey = codec.decode(&record.key).ok()?;
            let mark = codec.decode::<FeedMark>(value).ok()?;
            (mark.change == Some(PairChange::Ended)).then_some(key)
        });
        let ended = ended.with_context(|| format!("no end in {}", topic.base_name()))?;
        ensure!(ended.to_string() == pair, "{ended} has ended");
    }
    Ok(())
}

#[test]
fn a_watch_shows_each_change_of_a_book_and_its_loss() -> Result<()> {
    let installation = Installation::new("watch")?;
    // Each crossed book is a loss of sync of the first product. Its snapshot is slow: the loss would
    // otherwise end within the commit in which it began.
    let faults = ["--rate", "40", "--cross-book-every", "150", "--slow-snapshot", "2s"];
    let venue = Simulated::start(&installation, Venue::Coinbase, &PRODUCTS, 8, &faults)?;
    let mut member = installation.ready_member("one", &MEMBER)?;
    // The line of the README.
    let mut feed = venue.follow(&installation, &["--channels", "book"])?;
    are_quoted_after(&installation, 0)?;
    let url = format!("http://{}", member.address()?);
    let query = ["query", "book", "BTC-USD@coinbase", "--watch", "--url", &url];
    let mut watch = installation.command("processor", &query)?;
    soon("a line of each state", || {
        watch.alive()?;
        let said = watch.output()?;
        let is_line = |line: &str| {
            ["bid ", "ask ", "spread ", "largest ", "mean10 "]
                .iter()
                .all(|word| line.contains(word))
        };
        ensure!(said.lines().all(is_line), "{said}");
        Ok([" IN_SYNC ", " OUT_OF_SYNC "].iter().all(|state| said.contains(state)))
    })?;
    drop(watch);
    // Other books of the connection have never been out of sync.
    let codec = installation.codec()?;
    for record in installation.read(Topic::Quotes)? {
        let key: PairKey = codec.decode(&record.key)?;
        let value = record.value.as_deref().context("a tombstone")?;
        let is_mark = codec.kind(value)? == Some(schemas::Kind::FeedMark);
        ensure!(!is_mark || key.base.is_empty() || key.base == "BTC", "{key} has a mark");
    }
    feed.stop()?;
    installation.finish_with([member])
}
