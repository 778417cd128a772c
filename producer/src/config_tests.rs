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
        ("plan --venue kraken --rest-url ftp://x", "--rest-url"),
        ("run --venue coinbase --products BTC-USD --url http://x", "--url http://x must begin"),
        ("run --venue coinbase --products BTC-USD --stale-after 0s", "--stale-after"),
        ("run --venue coinbase --products BTC-USD --backoff-cap 1ms", "--backoff-cap"),
        ("replay f --speed 0", "--speed must be greater"),
        ("replay f --speed 1 --repeat 5%", "--speed cannot keep"),
        ("load --kafka enable.idempotence=false", "--kafka enable.idempotence cannot be changed"),
        ("load --schema-registry-url 127.0.0.1:8081", "--schema-registry-url"),
        ("simulate --venue kraken --products BTCUSD", "'BTCUSD' is not a product of kraken"),
        ("simulate --venue deribit --tickers-every 0s", "--tickers-every"),
        ("simulate --venue binance --checksum-every 50", "binance sends no checksums"),
    ] {
        let error = config(arguments).map(|_| ()).map_err(|error| error.to_string());
        let Err(error) = error else { panic!("{arguments} was taken") };
        assert!(error.contains(words) && !error.contains('\n'), "{arguments}: {error}");
    }
    for arguments in [
        "run",
        "load --keys 0",
        "load --kafka x",
        "load --topic-prefix a/b",
        "replay f --repeat 5",
        "fly",
    ] {
        assert!(config(arguments).is_err(), "{arguments}");
    }
}

#[test]
fn the_usual_invocations_are_taken() -> anyhow::Result<()> {
    for arguments in [
        "run --venue coinbase --products BTC-USD,ETH-USD",
        "run --venue coinbase --products BTC-USD --url ws://127.0.0.1:9201 --metrics 127.0.0.1:0",
        "run --venue binance",
        "run --venue kraken --products * --rotate-after 1h",
        "run --venue deribit --currency BTC,ETH --budget-connections 4",
        "plan --venue deribit --currency BTC,ETH --listing f",
        "simulate --venue coinbase --listen 127.0.0.1:9201 --disconnect-every 100 --skip-every 7",
        "simulate --venue kraken --checksum-every 50 --checksum-for 10",
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
