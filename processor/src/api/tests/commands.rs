//! `processor query` of books against the routes on a socket: the output of each format.

use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use clap::Parser as _;

use super::sockets::{Server, limits};
use super::world::{Outcome, open, small};
use crate::cli;
use crate::config::{Cli, Command, Query};

/// A timeout that no passing test reaches.
const BOUND: Duration = Duration::from_mins(1);

/// The query of these arguments, at a server.
fn query(server: &Server, arguments: &[&str]) -> Outcome<Query> {
    let url = format!("http://{}", server.address);
    let all = [&["processor", "query"], arguments, &["--url", &url]].concat();
    match Cli::try_parse_from(all)?.command {
        Command::Query(query) => Ok(query),
        other => Err(format!("{other:?} is no query").into()),
    }
}

/// The output of a query, or its error.
pub(super) async fn said(server: &Server, arguments: &[&str]) -> Outcome<(String, Option<String>)> {
    let query = query(server, arguments)?;
    let run = move || {
        let mut out = Vec::new();
        let error = cli::run(&query, &mut out).err().map(|error| format!("{error:#}"));
        (String::from_utf8_lossy(&out).into_owned(), error)
    };
    Ok(tokio::task::spawn_blocking(run).await?)
}

#[tokio::test]
async fn quotes_and_a_book_are_printed_as_tables() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["quotes", "BTC-USD@coinbase", "BTC-USD@kraken"]).await?;
    assert_eq!(error, None);
    let expected = "\
base  quote  exchange  bid  bid size  ask  ask size  spread  state    event time
BTC   USD    coinbase  100         3  101         1       1  IN_SYNC  2024-01-01T00:02:00.000Z
BTC   USD    kraken     98         2    -         -       -  IN_SYNC  2024-01-01T00:02:00.000Z
";
    assert_eq!(text, expected);
    let (text, error) = said(&server, &["book", "BTC-USD@coinbase", "--depth", "2"]).await?;
    assert_eq!(error, None);
    let expected = "\
BTC-USD@coinbase  IN_SYNC  2024-01-01T00:02:00.000Z

measure                                     value  size
highest bid                                   100     3
lowest ask                                    101     1
spread                                          1     -
largest spread of the day                       3     -
mean of the last ten mids  101.166666666666666667     -

bid size   bid  ask  ask size
       3   100  101         1
    1.25  99.5  102         4
";
    assert_eq!(text, expected);
    let (csv, _) =
        said(&server, &["book", "BTC-USD@coinbase", "--depth", "1", "--format", "csv"]).await?;
    assert_eq!(csv, "side,level,price,size,state\nbid,1,100,3,IN_SYNC\nask,1,101,1,IN_SYNC\n");
    let (json, _) = said(&server, &["book", "BTC-USD@coinbase", "--format", "json"]).await?;
    assert!(json.starts_with('{') && json.ends_with("}\n"), "{json}");
    server.stop().await
}

#[tokio::test]
async fn an_unknown_pair_is_an_error_with_the_servers_reason() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    for arguments in
        [&["book", "X-USD@y"][..], &["book", "X-USD@y", "--watch"], &["spreads", "X-USD@y"]]
    {
        let (text, error) = said(&server, arguments).await?;
        assert_eq!(text, "", "{arguments:?}");
        assert!(
            error.as_ref().is_some_and(|e| e.contains("404: X-USD@y")),
            "{arguments:?}: {error:?}"
        );
    }
    let (_, error) = said(&server, &["quotes", "BTC-USD@coinbase", "X-USD@y"]).await?;
    assert_eq!(error.as_deref(), Some("not found: X-USD@y"));
    for bad in [
        ["book", "BTC-USD@coinbase", "--depth", "26"],
        ["spreads", "BTC-USD@coinbase", "--interval", "5m"],
    ] {
        let error = query(&server, &bad).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            error.contains("possible values: 1m, 1h, 1d") || error.contains("1..=25"),
            "{error}"
        );
    }
    server.stop().await
}

#[tokio::test]
async fn a_chain_is_printed_with_calls_to_the_left_and_puts_to_the_right() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["chain", "BTC", "2024-01-26", "--quote", "BTC"]).await?;
    assert_eq!(error, None);
    let expected = "\
BTC options in BTC at deribit, expiry 2024-01-26T08:00:00.000Z, underlying 42100.125 (BTC-26JAN24), \
        newest 2024-01-01T00:03:00.000Z

call oi  call iv  call delta  call bid  call mark  call ask  strike  put bid  put mark  put ask  \
        put delta  put iv  put oi
      -        -           -         -          -         -    9000    0.052    0.0525    0.053      \
        -0.25   61.25  1200.5
 1200.5    61.25       -0.25     0.052     0.0525     0.053   40000    0.052    0.0525    0.053      \
        -0.25   61.25  1200.5
 1200.5    61.25       -0.25     0.052     0.0525     0.053   45000        -         -        -          \
        -       -       -
";
    assert_eq!(text, expected);
    let (text, _) = said(&server, &["chain", "BTC", "29DEC23"]).await?;
    assert!(text.contains("expiry 2023-12-29T08:00:00.000Z CLOSED"), "{text}");
    // Each market has a table of its own.
    let (text, _) = said(&server, &["chain", "BTC", "26JAN24", "--strike-from", "40000"]).await?;
    let strikes = |line: &&str| line.contains("40000") || line.contains("45000");
    assert_eq!(text.lines().filter(strikes).count(), 3, "{text}");
    assert!(text.contains("\n\nBTC options in USDC at deribit"), "{text}");
    let (csv, _) = said(&server, &["chain", "BTC", "26JAN24", "--format", "csv"]).await?;
    assert!(csv.starts_with("exchange,currency,quote,expiry_time,strike,call_base,"), "{csv}");
    let (json, _) = said(&server, &["chain", "BTC", "26JAN24", "--format", "json"]).await?;
    assert!(json.starts_with('{') && json.ends_with("}\n"), "{json}");
    server.stop().await
}

#[tokio::test]
async fn an_option_and_a_surface_are_printed() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["option", "BTC-26JAN24-40000-C"]).await?;
    assert_eq!(error, None);
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}  ")));
        line.and_then(|line| line.rsplit("  ").next()).unwrap_or_default().trim().to_owned()
    };
    let fields = ["strike", "right", "mark price", "bid iv", "last price"].map(value);
    assert_eq!(fields, ["40000", "CALL", "0.0525", "0", "-"], "{text}");
    let (text, error) = said(&server, &["surface", "BTC", "--quote", "USDC"]).await?;
    assert_eq!(error, None);
    let expected = "\
quote  exchange      expiry  strike  right  mark iv  bid iv  ask iv  delta  open interest   age ms
USDC   deribit   2024-01-26   40000  CALL     61.25       0    62.5  -0.25         1200.5  3540000
";
    assert_eq!(text, expected);
    let (csv, _) =
        said(&server, &["surface", "BTC", "--expiry", "26JAN24", "--format", "csv"]).await?;
    assert_eq!(
        (csv.lines().count(), csv.starts_with("exchange,quote,expiry_time,base,")),
        (6, true)
    );
    server.stop().await
}

#[tokio::test]
async fn a_query_of_options_that_finds_none_says_what_exists() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    for (arguments, words) in [
        (&["chain", "DOGE", "26JAN24"][..], ["404: currency DOGE", "BTC, ETH, XRP"]),
        (&["chain", "BTC", "27JAN24"], ["404: expiry 2024-01-27", "2023-12-29, 2024-01-26"]),
        (&["chain", "BTC", "soon"], ["400: expiry", "2026-12-25 or as 25DEC26"]),
        (&["option", "BTC-26JAN24-40001-C"], ["404: BTC-26JAN24-40001-C", "BTC-26JAN24-40000-C"]),
        (&["option", "a/b"], ["404: a/b", "GET /v1/options lists"]),
        (&["surface", "DOGE"], ["404: currency DOGE", "BTC, ETH, XRP"]),
    ] {
        let (text, error) = said(&server, arguments).await?;
        let error = error.unwrap_or_default();
        assert_eq!(text, "", "{arguments:?}");
        for word in words {
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
    let (text, error) =
        said(&server, &["chain", "BTC", "26JAN24", "--strike-from", "1000000"]).await?;
    assert_eq!((text.contains("--strike-to"), error), (true, None), "{text}");
    server.stop().await
}

/// A reader that closes the pipe after some lines, and tells of each.
struct Lines {
    left: usize,
    line: String,
    told: Sender<String>,
}

impl Lines {
    fn new(left: usize, told: Sender<String>) -> Self {
        Self { left, line: String::new(), told }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.push_str(&String::from_utf8_lossy(bytes));
        while let Some(end) = self.line.find('\n') {
            let rest = self.line.split_off(end + 1);
            let line = std::mem::replace(&mut self.line, rest);
            if self.left == 0 || self.told.send(line).is_err() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.left -= 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.left == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// The first lines of `--watch`.
async fn watched(server: &Server, arguments: &[&str], lines: usize) -> Outcome<String> {
    let arguments = [&["book", "BTC-USD@coinbase", "--watch"], arguments].concat();
    let query = query(server, &arguments)?;
    let (told, heard) = channel();
    let run = move || cli::run(&query, &mut Lines::new(lines, told));
    let error = tokio::task::spawn_blocking(run).await?.err().ok_or("it has no end")?;
    let io = error.downcast_ref::<io::Error>().ok_or_else(|| format!("{error:#}"))?;
    assert_eq!(io.kind(), io::ErrorKind::BrokenPipe);
    Ok(heard.iter().collect())
}

#[tokio::test]
async fn a_watch_prints_a_line_for_each_change_until_its_reader_is_gone() -> Outcome {
    let (routes, hub) = small()?.streaming(&open(), 10)?;
    let server = Server::start(routes, limits(), None).await?;
    let line = "2024-01-01T00:02:00.000Z IN_SYNC bid 100 x 3 ask 101 x 1 spread 1 largest 3 \
        mean10 101.166666666666666667\n";
    assert_eq!(watched(&server, &[], 1).await?, line);
    let csv = watched(&server, &["--format", "csv"], 2).await?;
    assert!(csv.starts_with("event_time,state,bid,bid_size,"), "{csv}");
    assert!(csv.contains("\n2024-01-01T00:02:00.000Z,IN_SYNC,100,3,101,1,1,100.5,"), "{csv}");
    let json = watched(&server, &["--format", "json"], 2).await?;
    for channel in ["quotes", "book"] {
        assert!(json.contains(&format!("\"channel\":\"{channel}\"")), "{json}");
    }
    drop(hub);
    server.stop().await
}

#[tokio::test]
async fn a_watch_begins_again_after_its_server() -> Outcome {
    let world = small()?;
    let (routes, hub) = world.streaming(&open(), 10)?;
    let server = Server::start(routes, limits(), None).await?;
    let query = query(&server, &["book", "BTC-USD@coinbase", "--watch"])?;
    let (told, heard) = channel();
    // A thread of its own: the runtime of a test that fails does not wait for it.
    let watch = std::thread::spawn(move || cli::run(&query, &mut Lines::new(2, told)));
    let first = tokio::task::spawn_blocking(move || (heard.recv_timeout(BOUND), heard)).await?;
    assert!(first.0.is_ok_and(|line| line.contains("bid 100 ")));
    let address = server.address;
    drop(hub);
    server.stop().await?;
    // Another server at the same address, which knows a newer quote.
    super::books::move_bid(&world, "99.75")?;
    let (routes, hub) = world.streaming(&open(), 10)?;
    let again = Server::start_at(address, routes, limits(), None).await?;
    let heard = first.1;
    let line = tokio::task::spawn_blocking(move || heard.recv_timeout(BOUND)).await??;
    assert!(line.contains("bid 99.75 "), "{line}");
    let ended = tokio::task::spawn_blocking(move || watch.join()).await?;
    let error = ended.map_err(|_| "it panicked")?.err().ok_or("it has no end")?;
    assert!(error.downcast_ref::<io::Error>().is_some(), "{error:#}");
    drop(hub);
    again.stop().await
}
