//! Refusals of reads of tokens, pools and swaps, and the partitions of their answers.

use super::swaps::{POOL, QUIET, TX, USDC, WETH};
use super::world::{Outcome, get, small};

#[tokio::test]
async fn a_refusal_names_what_exists() -> Outcome {
    let routes = small()?.routes();
    let absent = "0x1111111111111111111111111111111111111111";
    let unknown = TX.replace("aa", "cc");
    for (path, status, words) in [
        ("/v1/tokens?chain=10", 404, ["chain 10", "1, 137"]),
        ("/v1/tokens?chain=0", 400, ["chain", "from 1"]),
        ("/v1/tokens?window=1d", 400, ["window", "24h, 1h, 5m"]),
        ("/v1/tokens?volumes=289", 400, ["volumes", "288"]),
        ("/v1/tokens?cursor=x", 400, ["cursor", "next_cursor"]),
        (&format!("/v1/tokens/{absent}"), 404, [absent, &*format!("{WETH} (WETH, chain 1)")]),
        (&format!("/v1/tokens/{WETH}"), 400, ["several chains", "1, 137"]),
        (&format!("/v1/tokens/{WETH}?chain=10"), 404, ["chain 10", "1, 137"]),
        (
            &format!("/v1/tokens/{USDC}?chain=137"),
            404,
            [USDC, &*format!("{WETH} (WETH, chain 137)")],
        ),
        ("/v1/tokens/weth", 400, ["token", "40 hexadecimal digits"]),
        (&format!("/v1/tokens/{WETH}?window=24h&chain=1&from=0"), 400, ["from", "5m or 1h"]),
        (&format!("/v1/tokens/{WETH}?from=2&to=1"), 400, ["from", "after to"]),
        ("/v1/pools?chain=10", 404, ["chain 10", "1, 137"]),
        (&format!("/v1/pools?token={absent}"), 404, [absent, "GET /v1/pools"]),
        ("/v1/pools?token=USDC", 400, ["token", "40 hexadecimal digits"]),
        (
            &format!("/v1/pools/{absent}/candles"),
            404,
            [absent, &*format!("{POOL} (USDC/WETH, chain 1)")],
        ),
        (&format!("/v1/pools/{QUIET}/candles"), 400, ["several chains", "1, 137"]),
        (&format!("/v1/pools/{POOL}/candles?interval=5m"), 400, ["interval", "1m"]),
        (&format!("/v1/swaps/{unknown}"), 404, [&*unknown, "chains 1;"]),
        (&format!("/v1/swaps/{TX}?chain=137"), 404, ["chain 137", "1"]),
        (&format!("/v1/swaps/{WETH}"), 400, ["tx", "64 hexadecimal digits"]),
    ] {
        let answer = get(&routes, path, &[]).await?;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        for word in words {
            assert!(error.contains(word), "{path}: {error}");
        }
        if status == 404 && !path.contains("?token=") {
            assert!(answer.json()["partitions"].is_array(), "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_names_the_partitions_that_it_was_read_from() -> Outcome {
    let routes = small()?.routes();
    let positions =
        |answer: &super::world::Answer| answer.header("positions").unwrap_or_default().to_owned();
    let list = get(&routes, "/v1/tokens?window=5m", &[]).await?;
    assert_eq!(
        (positions(&list), list.header("lag-ms")),
        ("token_5m/0=42,token_5m/1=42".into(), Some("250"))
    );
    let path = format!("/v1/pools/{POOL}/candles");
    // The second read begins with the partition of the first, and names no other.
    for _ in 0..2 {
        let answer = get(&routes, &path, &[]).await?;
        assert!(positions(&answer).contains("pool_1m/0=42"), "{}", positions(&answer));
        assert!(!positions(&answer).contains("pool_1m/1"), "{}", positions(&answer));
    }
    Ok(())
}
