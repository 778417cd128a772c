//! The rules, and what a person sees when one is broken.

use clap::CommandFactory;

use super::*;

fn config(arguments: &str) -> anyhow::Result<Config> {
    let config = Config::try_parse_from(std::iter::once("producer").chain(arguments.split(' ')))?;
    config.validate()?;
    Ok(config)
}

#[test]
fn every_flag_is_well_formed_and_has_help_and_environment() {
    Config::command().debug_assert();
    for command in Config::command().get_subcommands() {
        for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
            assert!(flag.get_help().is_some(), "{flag} has no help");
            let builtin = ["help", "version"].contains(&flag.get_id().as_str());
            assert!(builtin || flag.get_env().is_some(), "{flag} has no environment variable");
        }
    }
}

#[test]
fn a_broken_rule_is_one_line_that_names_the_flag() {
    for (arguments, words) in [
        ("run --venue coinbase --products BTC", "'BTC' is not a product"),
        ("run --venue kraken --products BTCUSD", "'BTCUSD' is not a product such as BTC/USD"),
        ("run --venue deribit", "--venue deribit needs --currency"),
        ("run --venue deribit --currency BTC --products BTC-PERPETUAL", "exclude each other"),
        ("run --venue binance --rotate-after 1s", "--rotate-after must be longer"),
        ("plan --venue kraken --budget-streams 0", "--budget-streams"),
        ("plan --venue kraken --channels book --depth 20", "only of 10, 25, 100, 500, 1000"),
        (
            "plan --venue bitstamp --channels book --depth 20",
            "bitstamp has books of one depth only",
        ),
        ("plan --venue kraken --depth 10", "--depth 10 needs the channel book in --channels"),
        ("plan --venue kraken --book-products BTC/USD", "--book-products needs the channel book"),
        ("plan --venue kraken --rest-url ftp://x", "--rest-url"),
        (
            "run --venue coinbase --interval agg2",
            "--interval agg2: coinbase offers no interval, only deribit: leave it out",
        ),
        (
            "run --venue deribit --currency BTC --channels trades --interval agg2",
            "--interval agg2 needs the channel ticker in --channels",
        ),
        (
            "run --venue deribit --currency BTC --expiries 25DEC26",
            "--expiries 25DEC26 needs --interval 100ms: the other options have agg2; add it, or leave",
        ),
        (
            "run --venue deribit --currency BTC --expiries 2026-12-25 --interval agg2",
            "--expiries 25DEC26 needs --interval 100ms",
        ),
        ("plan --venue kraken --expiries 25DEC26", "--expiries 25DEC26 needs --interval 100ms"),
        ("run --venue coinbase --products BTC-USD --url http://x", "--url http://x must begin"),
        ("run --venue coinbase --products BTC-USD --stale-after 0s", "--stale-after"),
        ("run --venue coinbase --products BTC-USD --backoff-cap 1ms", "--backoff-cap"),
        ("replay f --speed 0", "--speed must be greater"),
        ("replay f --speed 1 --repeat 5%", "--speed cannot keep"),
        ("load --kafka enable.idempotence=false", "--kafka enable.idempotence cannot be changed"),
        ("load --schema-registry-url 127.0.0.1:8081", "--schema-registry-url"),
        ("simulate --venue kraken --products BTCUSD", "'BTCUSD' is not a product of kraken"),
        ("simulate --venue deribit --tickers-every 0s", "--tickers-every"),
        ("simulate --venue deribit --list-every 0s", "--list-every"),
        ("simulate --venue kraken --options 100", "kraken has no options"),
        ("simulate --venue binance --checksum-every 50", "binance sends no checksums"),
        ("simulate --venue kraken --snapshot-answers stale", "only binance and bitstamp are asked"),
        ("simulate --venue kraken --refuse-channels level2", "--refuse-channels: kraken refuses"),
        ("simulate --refuse-channels matches", "'matches' is none of level2, level2_batch"),
        ("simulate --products BTC-USD --faulty-book ETH-USD", "--faulty-book: 'ETH-USD'"),
    ] {
        let error = config(arguments).map(|_| ()).map_err(|error| error.to_string());
        let Err(error) = error else { panic!("{arguments} was taken") };
        assert!(error.contains(words) && !error.contains('\n'), "{arguments}: {error}");
    }
    for arguments in [
        "run",
        "load --keys 0",
        "simulate --levels 0",
        "simulate --levels 5001",
        "simulate --venue deribit --options 20001",
        "simulate --venue binance --snapshot-answers maybe",
        "load --kafka x",
        "load --topic-prefix a/b",
        "replay f --repeat 5",
        "fly",
    ] {
        assert!(config(arguments).is_err(), "{arguments}");
    }
}

#[test]
fn an_unknown_channel_is_named_with_those_that_exist() {
    let error = config("plan --venue kraken --channels trades,candles").map(|_| ());
    let Err(error) = error.map_err(|error| error.to_string()) else { panic!("it was taken") };
    let first = error.lines().next().unwrap_or_default();
    let words = "there is no channel 'candles': name one or more of trades, ticker, book";
    assert!(first.contains("--channels") && first.contains(words), "{error}");
}

#[test]
fn an_unknown_interval_or_expiry_is_named_with_those_that_exist() {
    for (flags, flag, words) in [
        ("--interval 1s", "--interval", "there is no interval '1s': name one of agg2, 100ms"),
        ("--interval raw", "--interval", "there is no interval 'raw': name one of agg2, 100ms"),
        (
            "--interval 100ms --expiries 25DEC26,christmas",
            "--expiries",
            "'christmas' is no expiry: name days as 25DEC26 or 2026-12-25, separated by commas",
        ),
        ("--interval 100ms --expiries 2026-02-30", "--expiries", "'2026-02-30' is no expiry"),
    ] {
        let error = config(&format!("run --venue deribit --currency BTC {flags}")).map(|_| ());
        let Err(error) = error.map_err(|error| error.to_string()) else { panic!("{flags}") };
        let first = error.lines().next().unwrap_or_default();
        assert!(first.contains(flag) && first.contains(words), "{flags}: {error}");
    }
}

#[test]
fn options_of_whole_currencies_have_agg2_and_named_ones_100ms_unless_chosen() -> anyhow::Result<()>
{
    use venues::TickerInterval::{Agg2, Ms100};
    for (flags, interval, of_option) in [
        ("--currency BTC", Agg2, Agg2),
        ("--products *  --currency BTC", Agg2, Agg2),
        ("--products BTC-PERPETUAL", Ms100, Ms100),
        ("--products BTC-PERPETUAL --interval agg2", Agg2, Agg2),
        ("--currency BTC --interval 100ms", Ms100, Ms100),
        ("--currency BTC --interval 100ms --expiries 2026-12-25", Agg2, Ms100),
        ("--products BTC-PERPETUAL --interval 100ms --expiries 25DEC26", Agg2, Ms100),
    ] {
        let flags = flags.replace("  ", " ");
        let config = config(&format!("run --venue deribit {flags}"))?;
        let Command::Run(run) = &config.command else { panic!("{config:?}") };
        let ByVenue::Market(run) = &**run else { panic!("{run:?}") };
        let followed = run.follow.followed();
        assert_eq!(followed.interval("BTC-26DEC26-50000-C"), interval, "{flags}");
        assert_eq!(followed.interval("BTC-25DEC26-50000-C"), of_option, "{flags}");
        assert!(run.sink().follows_tickers && !run.sink().follows_books);
    }
    for flags in ["--venue deribit --currency BTC --channels trades,book", "--venue kraken"] {
        let config = config(&format!("run {flags}"))?;
        let Command::Run(run) = &config.command else { panic!("{config:?}") };
        let ByVenue::Market(run) = &**run else { panic!("{run:?}") };
        assert!(!run.sink().follows_tickers, "{flags}: option_tickers is not written");
    }
    Ok(())
}

#[test]
fn the_facts_are_those_of_the_currencies_of_everything_that_is_followed() -> anyhow::Result<()> {
    for (flags, currencies) in [
        ("--currency ETH,BTC", &["BTC", "ETH"][..]),
        ("--products ETH-PERPETUAL,BTC-25DEC26-50000-C,ETH_BTC", &["BTC", "ETH"]),
        ("--products BTC_USDC-PERPETUAL", &["BTC", "USDC"]),
    ] {
        let config = config(&format!("run --venue deribit {flags}"))?;
        let Command::Run(run) = &config.command else { panic!("{config:?}") };
        let ByVenue::Market(run) = &**run else { panic!("{run:?}") };
        assert_eq!(run.follow.currencies(), currencies, "{flags}");
    }
    Ok(())
}

#[test]
fn the_usual_invocations_are_taken() -> anyhow::Result<()> {
    for arguments in [
        "run --venue coinbase --products BTC-USD,ETH-USD",
        "run --venue coinbase --products BTC-USD --url ws://127.0.0.1:9201 --metrics 127.0.0.1:0",
        "run --venue binance",
        "run --venue kraken --products * --rotate-after 1h",
        "run --venue deribit --currency BTC,ETH --budget-connections 4",
        "run --venue deribit --currency BTC --interval 100ms --expiries 25DEC26,2027-01-29",
        "plan --venue deribit --currency BTC,ETH --listing f",
        "plan --venue deribit --currency BTC --channels ticker,book --book-products BTC-27DEC24-*",
        "run --venue coinbase --products BTC-USD,ETH-USD,LTC-USD --channels book",
        "run --venue binance --products BTCUSDT --channels trades,ticker,book --depth 100",
        "simulate --venue coinbase --listen 127.0.0.1:9201 --disconnect-every 100 --skip-every 7",
        "simulate --venue kraken --checksum-every 50 --checksum-for 10",
        "simulate --venue binance --snapshot-answers stale,429,half --slow-snapshot 2s",
        "simulate --refuse-channels level2,level2_batch --levels 100 --cross-book-every 9",
        "simulate --venue deribit --options 1500 --currencies BTC --expire-every 30s --list-every 1m",
        "simulate --venue deribit --tickers-every 100ms --limit-first 3 --retry-after 2s",
        "replay a b --shuffle-within 5m --repeat 5% --seed 3",
        "replay a --speed 1",
        "price-events --kafka linger.ms=0 --kafka socket.keepalive.enable=true",
        "load --events 1000000 --keys 5000 --rate 0 --seed 1",
    ] {
        config(arguments)?;
    }
    Ok(())
}

#[test]
fn secrets_are_not_shown() -> anyhow::Result<()> {
    let config = config("load --kafka sasl.password=hunter2 --kafka linger.ms=7")?;
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && shown.contains("linger.ms=7"), "{shown}");
    Ok(())
}
