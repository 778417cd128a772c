//! Every venue under every fault, over real sockets: what comes out is what the simulated market
//! made, less exactly what is marked as missing. A channel stands where Kafka is.

mod support;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use producer::config::{ByVenue, Command, Config};
use producer::feed::{Feed, FeedContext, RotationConfig};
use producer::metrics::Metrics;
use producer::plan::budget::RateLimiter;
use rand::SeedableRng;
use rand::rngs::StdRng;
use schemas::Basis;
use simulator::faults::Faults;
use simulator::{ListingChange, SimulatorConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, connect_async};
use venues::pipeline::Output;
use venues::{Follow, Venue};

use support::{Bench, NEVER, PATIENCE, REFUSALS, Setup, gap_marks, ids, serve, simulated, trades};

/// One fault, how long silence may last, and what it must have shown.
struct Case {
    name: &'static str,
    faults: Faults,
    stale_after: Duration,
    /// A cause of reconnecting that must have been counted.
    cause: Option<&'static str>,
    /// Trades are missing, and marked as such.
    gaps: bool,
}

fn cases() -> Vec<Case> {
    let none = Faults::default();
    let short = Duration::from_millis(400);
    let case = |name, faults| Case { name, faults, stale_after: NEVER, cause: None, gaps: false };
    vec![
        case("nothing", none),
        Case {
            cause: Some("lost"),
            ..case("drop", Faults { disconnect_every: Some(200), ..none })
        },
        Case {
            stale_after: short,
            cause: Some("stale"),
            ..case("silence", Faults { silence_every: Some(200), silence: NEVER, ..none })
        },
        Case {
            stale_after: short,
            cause: Some("stale"),
            ..case("half-open socket", Faults { half_open_every: Some(200), ..none })
        },
        case("slow", Faults { slow: Duration::from_millis(1), ..none }),
        case("duplicate", Faults { repeat_every: Some(7), ..none }),
        Case { gaps: true, ..case("gap in ids", Faults { skip_every: Some(50), ..none }) },
        case("malformed", Faults { malformed_every: Some(20), ..none }),
        Case {
            cause: Some("closed"),
            ..case("maintenance", Faults { maintenance_every: Some(200), ..none })
        },
        Case {
            cause: Some("refused"),
            ..case("refused subscription", Faults { refuse_first: 2, ..none })
        },
        Case {
            cause: Some("limited"),
            ..case("429", Faults { limit_first: 2, retry_after: Duration::from_secs(1), ..none })
        },
    ]
}

async fn check(venue: Venue, case: &Case) -> anyhow::Result<()> {
    let (faults, stale_after) = (case.faults, case.stale_after);
    let mut bench = Bench::start(Setup { faults, stale_after, ..Setup::of(venue)? }).await?;
    let outputs = bench.until(|seen| trades(seen) >= 700).await?;
    bench.agree(&outputs)?;
    if let Some(cause) = case.cause {
        // Kraken says that it closes before it does, and is left alone for as long as it wants.
        let announced = venue == Venue::Kraken && case.name == "maintenance";
        let cause = if announced { "limited" } else { cause };
        ensure!(bench.reconnects(cause) > 0, "no reconnect was counted as {cause}");
    } else {
        ensure!(bench.reconnected() == 0, "it had to connect again");
    }
    if case.gaps && venue.adapter().dense_trade_ids {
        ensure!(gap_marks(&outputs) > 3, "{} gaps are marked", gap_marks(&outputs));
        let counted = bench.metrics.sequence_gaps.with_label_values(&[venue.as_str()]).get();
        ensure!(counted > 3, "{counted} gaps are counted");
    }
    let mut letters = 0;
    for output in &outputs {
        if let Output::DeadLetter(letter) = output {
            ensure!((letter.venue, letter.reason) == (venue.as_str(), "not_json"), "{letter:?}");
            ensure!(letter.raw.starts_with('{'), "{letter:?}");
            letters += 1;
        }
    }
    ensure!((letters > 0) == (case.name == "malformed"), "{letters} dead letters");
    bench.stop().await?;
    Ok(())
}

async fn matrix(venue: Venue) -> anyhow::Result<()> {
    for case in cases() {
        if venue == Venue::Kraken && case.name == "maintenance" {
            // Its wait of five seconds is tested by itself.
            continue;
        }
        let result = check(venue, &case).await;
        result.map_err(|error| error.context(format!("{venue}, {}", case.name)))?;
    }
    Ok(())
}

#[tokio::test]
async fn coinbase_gives_what_was_traded_less_what_is_marked_under_every_fault() -> anyhow::Result<()>
{
    matrix(Venue::Coinbase).await
}

#[tokio::test]
async fn binance_gives_what_was_traded_less_what_is_marked_under_every_fault() -> anyhow::Result<()>
{
    matrix(Venue::Binance).await
}

#[tokio::test]
async fn kraken_gives_what_was_traded_less_what_is_marked_under_every_fault() -> anyhow::Result<()>
{
    matrix(Venue::Kraken).await
}

#[tokio::test]
async fn deribit_gives_what_was_traded_less_what_is_marked_under_every_fault() -> anyhow::Result<()>
{
    matrix(Venue::Deribit).await
}

#[tokio::test]
async fn bitstamp_gives_what_was_traded_less_what_is_marked_under_every_fault() -> anyhow::Result<()>
{
    matrix(Venue::Bitstamp).await
}

#[tokio::test]
async fn a_venue_in_maintenance_is_left_alone_for_as_long_as_it_says() -> anyhow::Result<()> {
    let case = Case {
        name: "maintenance",
        faults: Faults { maintenance_every: Some(400), ..Faults::default() },
        stale_after: NEVER,
        cause: Some("limited"),
        gaps: false,
    };
    check(Venue::Kraken, &case).await
}

#[tokio::test]
async fn a_trade_that_comes_late_is_marked_and_then_comes() -> anyhow::Result<()> {
    for venue in Venue::ALL.into_iter().filter(|venue| venue.adapter().dense_trade_ids) {
        let faults = Faults { reorder_every: Some(40), ..Faults::default() };
        let mut bench = Bench::start(Setup { faults, ..Setup::of(venue)? }).await?;
        let outputs = bench.until(|seen| trades(seen) >= 700).await?;
        // Whoever hears 12 before 11 cannot know that 11 will come: the mark is honest, and the
        // trade that fills it is there.
        ensure!(gap_marks(&outputs) > 3, "{venue}: nothing was out of order");
        for (base, ids) in ids(&outputs) {
            let (first, last) = (ids.iter().min(), ids.iter().max());
            let (Some(first), Some(last)) = (first, last) else { continue };
            let missing = (*first..=*last).filter(|id| !ids.contains(id)).count();
            ensure!(missing <= 1, "{venue} {base}: {missing} never came");
        }
        bench.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_is_replaced_without_a_gap_and_without_a_repetition() -> anyhow::Result<()> {
    for venue in Venue::ALL {
        let rotation = RotationConfig {
            after: Some(Duration::from_millis(900)),
            overlap: Duration::from_millis(300),
        };
        let mut bench = Bench::start(Setup { rotation, ..Setup::of(venue)? }).await?;
        let rotations = bench.metrics.rotations.with_label_values(&[venue.as_str()]);
        let outputs = bench.until(|seen| rotations.get() >= 3 && trades(seen) >= 700).await?;
        bench.agree(&outputs)?;
        ensure!(bench.reconnected() == 0 && gap_marks(&outputs) == 0, "{venue} had a gap");
        let repeated = bench.metrics.repeated.with_label_values(&[venue.as_str()]).get();
        ensure!(repeated > 0, "{venue}: the connections did not overlap");
        // A snapshot of a new subscription repeats what was long before, which its ids tell.
        if ![Venue::Kraken, Venue::Coinbase].contains(&venue) {
            for (base, ids) in ids(&outputs) {
                let broken: Vec<_> = ids.windows(2).filter(|two| two[1] != two[0] + 1).collect();
                ensure!(broken.is_empty(), "{venue} {base}: {broken:?}");
            }
        }
        bench.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn too_many_refusals_open_the_breaker() -> anyhow::Result<()> {
    let faults = Faults { refuse_first: 1_000, ..Faults::default() };
    let mut bench = Bench::start(Setup { faults, ..Setup::of(Venue::Binance)? }).await?;
    let open = bench.metrics.breakers.with_label_values(&["binance"]);
    bench.until(|_| open.get() == 1).await?;
    ensure!(bench.reconnects("refused") == u64::from(REFUSALS));
    bench.stop().await?;
    Ok(())
}

/// All of a currency, before its option is listed.
fn currency(option: &str) -> anyhow::Result<Setup> {
    let mut setup = Setup::of(Venue::Deribit)?;
    setup.products = vec!["BTC-PERPETUAL".into(), option.into()];
    let deribit = Venue::Deribit.adapter();
    let of_currencies = deribit.listing.currency_streams.context("it lists by currency")?;
    setup.connection.streams = of_currencies(&["BTC".into()], Follow::default());
    let of_listed = deribit.subscriptions.streams_of_listed;
    setup.connection.streams.extend(of_listed("BTC-PERPETUAL", Follow::default()));
    setup.connection.grows = true;
    Ok(setup)
}

#[tokio::test]
async fn what_is_listed_is_taken_up_and_what_ends_is_let_go() -> anyhow::Result<()> {
    let new = "BTC-22NOV26-40000-C";
    let mut bench = Bench::start(currency(new)?).await?;
    bench.until(|seen| trades(seen) >= 50).await?;
    let instruments = bench.metrics.instruments.with_label_values(&["deribit"]);
    bench.simulator.announce(ListingChange::Listed(new.into()));
    bench.until(|_| instruments.get() == 1).await?;
    let sample = |output: &Output| matches!(output, Output::Event { pair, event } if pair.base == new && event.basis == Basis::Ticker);
    bench.until(|seen| seen.iter().any(sample)).await?;
    bench.simulator.announce(ListingChange::Ended(new.into()));
    bench.until(|_| instruments.get() == 0).await?;
    bench.stop().await?;
    Ok(())
}

/// A second connection, of another currency, that has room for one instrument more.
fn with_room_for_one(options: [&str; 2]) -> anyhow::Result<Setup> {
    let mut setup = Setup::of(Venue::Deribit)?;
    setup.products = vec!["ETH-PERPETUAL".into()];
    setup.products.extend(options.map(str::to_owned));
    let of_listed = Venue::Deribit.adapter().subscriptions.streams_of_listed;
    setup.connection.name = "deribit-1".into();
    setup.connection.streams = of_listed("ETH-PERPETUAL", Follow::default());
    let more = of_listed(options[0], Follow::default()).len();
    setup.max_streams = setup.connection.streams.len() + more;
    Ok(setup)
}

/// Waits for a price of an instrument at one feed, while the other one is read as well.
async fn ticker_of(name: &str, at: &mut Bench, other: &mut Bench) -> anyhow::Result<()> {
    let came = Cell::new(false);
    let is_of = |output: &Output| matches!(output, Output::Event { pair, event } if pair.base == name && event.basis == Basis::Ticker);
    let until_it_came = at.until(|seen| {
        came.set(came.get() || seen.last().is_some_and(is_of));
        came.get()
    });
    tokio::try_join!(until_it_came, other.until(|_| came.get()))?;
    Ok(())
}

#[tokio::test]
async fn what_is_listed_goes_to_a_connection_with_room_and_an_end_makes_room() -> anyhow::Result<()>
{
    let options = ["BTC-22NOV26-40000-C", "BTC-22NOV26-50000-C"];
    let mut full = currency(options[0])?;
    full.max_streams = full.connection.streams.len();
    let mut full = Bench::start(full).await?;
    let mut roomy = Bench::beside(&full, with_room_for_one(options)?).await?;
    full.until(|seen| trades(seen) >= 50).await?;
    roomy.until(|seen| !seen.is_empty()).await?;
    full.simulator.announce(ListingChange::Listed(options[0].into()));
    ticker_of(options[0], &mut roomy, &mut full).await?;
    let without_room = full.metrics.tickers.without_room.with_label_values(&["deribit"]);
    full.simulator.announce(ListingChange::Listed(options[1].into()));
    full.until(|_| without_room.get() == 1).await?;
    full.simulator.announce(ListingChange::Ended(options[0].into()));
    full.simulator.announce(ListingChange::Listed(options[1].into()));
    ticker_of(options[1], &mut roomy, &mut full).await?;
    ensure!(without_room.get() == 1, "the end has made room");
    roomy.stop().await?;
    full.stop().await?;
    Ok(())
}

#[tokio::test]
async fn one_connection_that_fails_disturbs_no_other() -> anyhow::Result<()> {
    let faults = Faults { disconnect_every: Some(300), ..Faults::default() };
    let mut bad = Bench::start(Setup { faults, ..Setup::of(Venue::Coinbase)? }).await?;
    let mut good = Bench::beside(&bad, Setup::of(Venue::Coinbase)?).await?;
    let (outputs, others) = tokio::join!(
        good.until(|seen| trades(seen) >= 1_500),
        bad.until(|seen| trades(seen) >= 1_000),
    );
    let outputs = outputs?;
    bad.agree(&others?)?;
    good.agree(&outputs)?;
    ensure!(gap_marks(&outputs) == 0, "the good one lost trades");
    ensure!(good.reconnected() > 0, "the bad one was not cut");
    good.stop().await?;
    bad.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_a_venue_lists_is_planned_within_its_budget() -> anyhow::Result<()> {
    for (venue, instruments, connections) in [
        (Venue::Coinbase, 50, 1),
        (Venue::Binance, 19, 1),
        (Venue::Kraken, 20, 1),
        (Venue::Deribit, 1_498, 4),
        (Venue::Bitstamp, 20, 1),
    ] {
        let (url, _, serving) = serve(&SimulatorConfig::of(simulated(venue)?)).await?;
        let mut arguments = vec!["producer", "plan", "--venue", venue.as_str(), "--url", &url];
        if venue == Venue::Deribit {
            arguments.extend(["--currency", "BTC,ETH"]);
        }
        let config = Config::try_parse_from(arguments)?;
        let Command::Plan(follow) = config.command else { bail!("not a plan") };
        let ByVenue::Market(follow) = *follow else { bail!("not a plan of a market") };
        follow.validate()?;
        let (plan, _) = follow.plan().await?;
        serving.abort();
        ensure!(plan.instruments() == instruments, "{plan}");
        ensure!(plan.connections.len() == connections, "{plan}");
    }
    Ok(())
}

#[tokio::test]
async fn deribit_turns_the_thirty_third_connection_away() -> anyhow::Result<()> {
    let (url, _, _) = serve(&SimulatorConfig::of(simulated(Venue::Deribit)?)).await?;
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for number in 0..33 {
        match timeout(PATIENCE, connect_async(&url)).await? {
            Ok((socket, _)) => open.push(socket),
            Err(Error::Http(answer)) if answer.status() == 429 => refused.push(number),
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(refused == [32], "{refused:?} were turned away");
    Ok(())
}

#[tokio::test]
async fn a_ping_comes_back_with_what_it_bore() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (sender, _outputs) = mpsc::channel(64);
    let (_shutdown, watching) = watch::channel(false);
    let limiter = RateLimiter::new(Venue::Binance.adapter().limits);
    let context = FeedContext::new(Arc::new(Metrics::new()?), sender, watching, limiter);
    let config = Setup::of(Venue::Binance)?.feed(format!("ws://{}", listener.local_addr()?))?;
    let feed = tokio::spawn(Feed::new(config, context, StdRng::seed_from_u64(1)).run());
    let (socket, _) = timeout(PATIENCE, listener.accept()).await??;
    let mut socket = accept_async(socket).await?;
    socket.send(Message::Ping("1723161255342".into())).await?;
    loop {
        let message = timeout(PATIENCE, socket.next()).await?.context("it hung up")??;
        if let Message::Pong(payload) = message {
            ensure!(payload.as_ref() == b"1723161255342", "{payload:?}");
            break;
        }
    }
    feed.abort();
    Ok(())
}
