//! Coinbase's trades over REST: what to ask, and what the answer means.
//!
//! ```text
//! → GET /products/BTC-USD/trades?limit=1000&after=157062508
//! ← [{"time":"2021-04-17T16:43:30.244075Z","trade_id":157062507,"price":"61837.63000000",
//!     "size":"0.02000000","side":"sell"}, …]
//! ```
//!
//! Newest first, at most 1,000, with ids below `after`. The side is the *maker's*, as in `match`.

use std::borrow::Cow;

use schemas::{MarketEvent, PairKey, TakerSide, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::{Malformed, decimal, integer, scalar};

/// Where it is.
pub const REST_URL: &str = "https://api.exchange.coinbase.com";

/// The most that the venue gives at once.
const PAGE: u32 = 1000;

#[derive(Deserialize)]
struct Print<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    trade_id: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    side: Option<Cow<'a, str>>,
}

/// The trades of a pair before an id.
pub fn url(rest_url: &str, pair: &PairKey, after: i64) -> String {
    let base = rest_url.trim_end_matches('/');
    format!("{base}/products/{}-{}/trades?limit={PAGE}&after={after}", pair.base, pair.quote)
}

/// The trades of an answer, in its order.
pub fn trades(text: &str, received_at: Timestamp) -> Result<Vec<MarketEvent>, Malformed> {
    let trades: Vec<Print<'_>> =
        serde_json::from_str(text).map_err(|error| Malformed::NotJson(error.to_string()))?;
    trades.iter().map(|one| trade(one, received_at)).collect()
}

fn trade(trade: &Print<'_>, received_at: Timestamp) -> Result<MarketEvent, Malformed> {
    let time = trade.time.as_deref().ok_or(Malformed::MissingField("time"))?;
    let time = Timestamp::parse_rfc3339(time).ok_or(Malformed::BadField("time"))?;
    let price = decimal("price", scalar(trade.price))?;
    let size = decimal("size", scalar(trade.size))?;
    let taker_side = match trade.side.as_deref() {
        Some("buy") => TakerSide::Sell,
        Some("sell") => TakerSide::Buy,
        Some(_) => return Err(Malformed::BadField("side")),
        None => return Err(Malformed::MissingField("side")),
    };
    Ok(MarketEvent {
        trade_id: Some(integer("trade_id", scalar(trade.trade_id))?),
        taker_side: Some(taker_side),
        received_at,
        ..MarketEvent::trade(price, size, time)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_becomes_trades_whose_takers_took_the_other_side() -> anyhow::Result<()> {
        let text = r#"[{"time":"2021-04-17T16:43:30.244075Z","trade_id":157062507,"price":"61837.63000000","size":"0.02000000","side":"sell"},
            {"time":"2021-04-17T16:43:30Z","trade_id":157062506,"size":"0.5","price":"61837","side":"buy"}]"#;
        let read = trades(text, Timestamp(9))?;
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].trade_id, read[0].taker_side),
            (Some(157_062_507), Some(TakerSide::Buy))
        );
        assert_eq!(
            (read[0].price, read[0].event_time),
            ("61837.63".parse()?, Timestamp(1_618_677_810_244))
        );
        assert_eq!((read[1].size, read[1].received_at), (Some("0.5".parse()?), Timestamp(9)));
        Ok(())
    }

    #[test]
    fn what_is_no_trade_is_named() {
        let words = |text: &str| trades(text, Timestamp(9)).map_err(|error| error.to_string());
        assert_eq!(words(r#"[{"trade_id":1}]"#), Err("field time is missing".into()));
        assert!(words(r#"{"message":"NotFound"}"#).is_err_and(|text| text.contains("not a JSON")));
        assert_eq!(words("[]"), Ok(Vec::new()));
    }

    #[test]
    fn the_pair_is_asked_for_by_the_venues_name() {
        let asked = url("http://127.0.0.1:1/", &PairKey::new("BTC", "USD", "coinbase"), 8);
        assert_eq!(asked, "http://127.0.0.1:1/products/BTC-USD/trades?limit=1000&after=8");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = trades(&text, Timestamp(9));
        }
    }
}
