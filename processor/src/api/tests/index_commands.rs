//! `processor query index` against the route on a socket.

use super::commands::said;
use super::sockets::{Server, limits};
use super::world::{Outcome, small};

#[tokio::test]
async fn the_pairs_of_a_base_are_printed_with_their_members() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    let (text, error) = said(&server, &["index", "BTC"]).await?;
    assert_eq!(error, None);
    let expected = "\
BTC-EUR 95, 1 of 1 exchanges used, spread 1, as of 2024-01-01T01:00:00.000Z

exchange  price  age ms  used  unused because  event time
binance      95     500  true               -  2024-01-01T00:59:59.500Z

BTC-USD 100, 2 of 3 exchanges used, spread 1, as of 2024-01-01T01:00:00.000Z

exchange  price  age ms  used   unused because  event time
binance     100     500  true   -               2024-01-01T00:59:59.500Z
coinbase    101     500  true   -               2024-01-01T00:59:59.500Z
kraken       90   70000  false  stale           2024-01-01T00:58:50.000Z
";
    assert_eq!(text, expected);
    let (one, _) = said(&server, &["index", "BTC", "USD"]).await?;
    assert_eq!(Some(one.as_str()), expected.split_once("500Z\n\n").map(|(_, one)| one));
    let (csv, _) = said(&server, &["index", "BTC", "USD", "--format", "csv"]).await?;
    assert_eq!((csv.lines().count(), csv.starts_with("base,quote,price,")), (4, true), "{csv}");
    let (json, _) = said(&server, &["index", "BTC", "--format", "json"]).await?;
    assert!(json.starts_with('{') && json.ends_with("}\n"), "{json}");
    server.stop().await
}

#[tokio::test]
async fn a_base_that_is_not_here_is_an_error_that_names_it() -> Outcome {
    let server = Server::start(small()?.routes(), limits(), None).await?;
    for (arguments, word) in
        [(&["index", "NONE"][..], "404: index NONE-*"), (&["index", "BTC", "JPY"], "BTC-JPY")]
    {
        let (text, error) = said(&server, arguments).await?;
        assert_eq!(text, "", "{arguments:?}");
        assert!(error.is_some_and(|error| error.contains(word)), "{arguments:?}");
    }
    server.stop().await
}
