//! `processor query` of tokens, pools and swaps against the routes on a socket.

use super::commands::said;
use super::sockets::{Server, limits};
use super::swaps::{POOL, TX, USDC, WETH};
use super::world::{Outcome, small};

/// The cells of a printed line.
fn cells(line: Option<&str>) -> Vec<&str> {
    line.unwrap_or_default().split_whitespace().collect()
}

#[tokio::test]
async fn tokens_are_printed_by_volume() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["tokens", "--limit", "2", "--window", "1h"]).await?;
    assert_eq!(error, None);
    let expected = format!(
        "\
symbol  token                                       chain  volume usd  volume  swaps  \
        unpriced swaps  pools
WETH    {WETH}    137        1.75       5      1               0      1
WETH    {WETH}      1        0.25       1      1               0      1
"
    );
    assert_eq!(text, expected);
    let (csv, _) = said(&server, &["tokens", "--chain", "1", "--format", "csv"]).await?;
    assert_eq!((csv.lines().count(), csv.starts_with("chain,token,symbol,")), (4, true), "{csv}");
    let (json, _) = said(&server, &["tokens", "--format", "json"]).await?;
    assert!(json.starts_with('{') && json.ends_with("}\n"), "{json}");
    server.stop().await
}

#[tokio::test]
async fn a_token_is_printed_as_buckets_or_as_its_day() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["token", WETH, "--chain", "1", "--limit", "3"]).await?;
    assert_eq!((text.lines().count(), error), (4, None), "{text}");
    assert_eq!(cells(text.lines().nth(1))[..2], ["2023-12-31T23:55:00.000Z", "100"]);
    let day = ["token", USDC, "--window", "24h"];
    let (text, error) = said(&server, &day).await?;
    assert_eq!(error, None);
    let line = cells(text.lines().nth(1));
    assert_eq!(line, ["2024-01-01T00:00:00.000Z", "4", "900", "900", "0", "0"], "{text}");
    let (_, error) = said(&server, &[&day[..], &["--from", "1"]].concat()).await?;
    assert!(error.is_some_and(|error| error.contains("400: from")));
    server.stop().await
}

#[tokio::test]
async fn a_pool_and_a_transaction_are_printed() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["pool", POOL, "--limit", "2"]).await?;
    assert_eq!((text.lines().count(), error), (3, None), "{text}");
    let line = cells(text.lines().nth(2));
    assert_eq!((line[0], line[1], line[7]), ("2024-01-01T00:01:00.000Z", "2", "0.000444"));
    let (text, error) = said(&server, &["swap", TX]).await?;
    assert_eq!(error, None);
    assert_eq!(cells(text.lines().nth(1))[..4], ["1", "3", "REMOVED", POOL], "{text}");
    assert_eq!(cells(text.lines().nth(2))[..4], ["1", "8", "CONFIRMED", POOL], "{text}");
    let (csv, _) = said(&server, &["swap", TX, "--format", "csv"]).await?;
    assert_eq!(csv.lines().count(), 3);
    server.stop().await
}

#[tokio::test]
async fn a_query_that_finds_nothing_says_what_exists() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    for (arguments, words) in [
        (&["tokens", "--chain", "10"][..], ["404: chain 10", "1, 137"]),
        (&["token", "WETH"], ["400: token", "40 hexadecimal digits"]),
        (&["token", WETH], ["400: ", "add chain"]),
        (&["pool", WETH], ["404: ", POOL]),
        (&["swap", POOL], ["400: tx", "64 hexadecimal digits"]),
    ] {
        let (text, error) = said(&server, arguments).await?;
        let error = error.unwrap_or_default();
        assert_eq!(text, "", "{arguments:?}");
        for word in words {
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
    server.stop().await
}
