//! What each venue is asked, what is read of its answers, and that a trade that was fetched is the
//! one that its feed would have brought.

use proptest::prelude::*;
use schemas::TakerSide;

use super::*;
use crate::venue::Venue;

const AT: Timestamp = Timestamp(1_723_161_254_087);

fn lost(venue: Venue, first: i64, last: i64, since: Timestamp) -> MissingTrades {
    let pair = venue.pair(venue.adapter().example).unwrap();
    MissingTrades { pair, first, last, since }
}

/// The venues that have a history.
fn venues() -> impl Iterator<Item = Venue> {
    Venue::ALL.into_iter().filter(|venue| venue.adapter().history.is_some())
}

fn history(venue: Venue) -> &'static TradeHistory {
    venue.adapter().history.as_ref().unwrap()
}

fn parse(venue: Venue, missing: &MissingTrades, cursor: i64, text: &str) -> Result<HistoryAnswer> {
    (history(venue).parse)(missing, cursor, text, AT)
}

/// The address of the page at a cursor; of the first page without one.
fn url(venue: Venue, endpoint: &str, missing: &MissingTrades, cursor: Option<i64>) -> String {
    let history = history(venue);
    let cursor = cursor.unwrap_or_else(|| (history.first_cursor)(missing));
    (history.request)(missing, cursor).url(endpoint)
}

/// What is read of a page with the ids from 7 to 9 wanted, a test's usual case.
fn page(venue: Venue, text: &str) -> Result<Page, String> {
    match parse(venue, &lost(venue, 7, 9, AT), 10, text) {
        Ok(HistoryAnswer::Page(page)) => Ok(page),
        Ok(reply) => Err(format!("{reply:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn ids(page: &Page) -> Vec<i64> {
    page.trades.iter().filter_map(|event| event.trade_id).collect()
}

#[test]
fn a_mark_says_which_ids_are_to_be_fetched() {
    let pair = PairKey::new("BTC", "USD", "coinbase");
    let mut mark = FeedMark::healthy("coinbase-0", Timestamp(1), Timestamp(1));
    assert_eq!(MissingTrades::of(&pair, &mark), None);
    mark.gap_from = Some(Timestamp(5));
    for (count, last) in [(3, Some(9)), (1, Some(7)), (0, None), (i64::MIN, None)] {
        (mark.first_missing_id, mark.missing) = (Some(7), Some(count));
        assert_eq!(MissingTrades::of(&pair, &mark).map(|lost| lost.last), last);
    }
}

#[test]
fn a_pair_is_asked_for_by_the_venues_name() {
    let since = Timestamp(1_688_669_597_827);
    let asked = |venue: Venue| {
        let lost = lost(venue, 7, 9, since);
        url(venue, "http://h/", &lost, None)
    };
    assert_eq!(asked(Venue::Coinbase), "http://h/products/BTC-USD/trades?limit=1000&after=10");
    let binance = "http://h/api/v3/historicalTrades?symbol=BTCUSDT&fromId=7&limit=1000";
    assert_eq!(asked(Venue::Binance), binance);
    // From a second before the trade before.
    let kraken = "http://h/0/public/Trades?pair=XBTUSD&since=1688669596827000000&count=1000";
    assert_eq!(asked(Venue::Kraken), kraken);
    let deribit = "http://h/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL\
                   &start_seq=7&end_seq=9&count=1000&sorting=asc";
    assert_eq!(asked(Venue::Deribit), deribit);
    let doge = MissingTrades {
        pair: PairKey::new("DOGE", "BTC", "kraken"),
        ..lost(Venue::Kraken, 1, 1, since)
    };
    assert!(url(Venue::Kraken, "http://h", &doge, Some(0)).contains("pair=XDGXBT&since=0"));
}

#[test]
fn coinbase_says_the_makers_side_and_pages_backwards() -> anyhow::Result<()> {
    let text = r#"[{"time":"2021-04-17T16:43:30.244075Z","trade_id":9,"price":"61837.63000000","size":"0.02000000","side":"sell"},
        {"time":"2021-04-17T16:43:30Z","trade_id":8,"size":"0.5","price":"61837","side":"buy"}]"#;
    let read = page(Venue::Coinbase, text).map_err(anyhow::Error::msg)?;
    assert_eq!((ids(&read), read.next), (vec![9, 8], Some(8)));
    let sides: Vec<_> = read.trades.iter().map(|event| event.taker_side).collect();
    assert_eq!(sides, [Some(TakerSide::Buy), Some(TakerSide::Sell)]);
    assert_eq!(read.trades[0].price, "61837.63".parse()?);
    assert_eq!(read.trades[0].event_time, Timestamp(1_618_677_810_244));
    assert_eq!((read.trades[1].size, read.trades[1].received_at), (Some("0.5".parse()?), AT));
    let last = text.replace("\"trade_id\":8", "\"trade_id\":6");
    let read = page(Venue::Coinbase, &last).map_err(anyhow::Error::msg)?;
    assert_eq!((ids(&read), read.next), (vec![9], None));
    Ok(())
}

#[test]
fn binance_pages_forwards_by_id() -> anyhow::Result<()> {
    let trade = |id: i64| {
        format!(
            r#"{{"id":{id},"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}}"#
        )
    };
    let text = format!("[{},{}]", trade(7), trade(8));
    let read = page(Venue::Binance, &text).map_err(anyhow::Error::msg)?;
    assert_eq!((ids(&read), read.next), (vec![7, 8], Some(9)));
    let event = &read.trades[0];
    assert_eq!((event.price, event.size), ("4.000001".parse()?, Some("12".parse()?)));
    assert_eq!(event.taker_side, Some(TakerSide::Sell));
    assert_eq!(event.event_time, Timestamp(1_499_865_549_590));
    let read = page(Venue::Binance, &format!("[{},{}]", trade(9), trade(10)));
    assert_eq!(read.map(|page| (ids(&page), page.next)), Ok((vec![9], None)));
    let refusal = page(Venue::Binance, r#"{"code":-1121,"msg":"Invalid symbol."}"#);
    assert_eq!(refusal, Err(r#"Refused("-1121 Invalid symbol.")"#.into()));
    Ok(())
}

#[test]
fn kraken_pages_forwards_by_time_and_is_told_by_ids() -> anyhow::Result<()> {
    let text = r#"{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",6],["30243.30000","0.00376960",1688669598.2804112,"s","l","",7]],"last":"1688669598280411200"}}"#;
    let read = page(Venue::Kraken, text).map_err(anyhow::Error::msg)?;
    // What shares the last time comes again.
    assert_eq!((ids(&read), read.next), (vec![7], Some(1_688_669_598_280_411_199)));
    let event = &read.trades[0];
    assert_eq!((event.price, event.size), ("30243.3".parse()?, Some("0.0037696".parse()?)));
    assert_eq!(event.taker_side, Some(TakerSide::Sell));
    assert_eq!(event.event_time, Timestamp(1_688_669_598_280));
    // Answers of before 2023 have no ids.
    let old = text.replace(",6]", "]");
    assert_eq!(page(Venue::Kraken, &old), Err("field trade_id is missing".into()));
    Ok(())
}

#[test]
fn kraken_says_with_200_that_it_is_to_be_left_alone() {
    let said = |error: &str| {
        let text = format!(r#"{{"error":["{error}"]}}"#);
        parse(Venue::Kraken, &lost(Venue::Kraken, 7, 9, AT), 0, &text)
    };
    let wait = |error: &str| match said(error) {
        Ok(HistoryAnswer::RetryAfter { wait, .. }) => Some(wait.as_secs()),
        _ => None,
    };
    assert_eq!(wait("EAPI:Rate limit exceeded"), Some(5));
    assert_eq!(wait("EService:Unavailable"), Some(5));
    assert_eq!(wait("EService:Throttled: 1723161314"), Some(59));
    assert_eq!(wait("EService:Throttled: 1"), Some(5), "it is past");
    assert_eq!(wait("EService:Throttled: 9223372036854775807"), Some(5), "it is no time");
    assert_eq!(wait("WGeneral:Danger"), None, "a warning");
    let unknown = "EQuery:Unknown asset pair";
    assert_eq!(said(unknown), Ok(HistoryAnswer::Refused(unknown.into())));
}

#[test]
fn deribit_pages_forwards_by_number_and_amounts_become_coins() -> anyhow::Result<()> {
    let text = r#"{"jsonrpc":"2.0","result":{"trades":[{"trade_seq":8,"trade_id":"137488100","timestamp":1616321732986,"tick_direction":0,"price":50000.0,"mark_price":50001.0,"instrument_name":"BTC-PERPETUAL","index_price":50000.1,"direction":"buy","amount":10.0}],"has_more":true},"usIn":1,"usOut":2,"usDiff":1,"testnet":false}"#;
    let read = page(Venue::Deribit, text).map_err(anyhow::Error::msg)?;
    assert_eq!((ids(&read), read.next), (vec![8], Some(9)));
    assert_eq!(read.trades[0].size, Some("0.0002".parse()?));
    let other = text.replace("BTC-PERPETUAL", "ETH-PERPETUAL");
    let read = page(Venue::Deribit, &other).map_err(anyhow::Error::msg)?;
    assert_eq!((ids(&read), read.next), (Vec::new(), None), "of another instrument");
    let error = |code: i64| {
        let text = format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"words"}}}}"#);
        parse(Venue::Deribit, &lost(Venue::Deribit, 7, 9, AT), 0, &text)
    };
    let wait = Duration::from_secs(1);
    assert_eq!(error(10_028), Ok(HistoryAnswer::RetryAfter { reason: "10028 words".into(), wait }));
    assert_eq!(error(-32_602), Ok(HistoryAnswer::Refused("-32602 words".into())));
    Ok(())
}

#[test]
fn what_is_no_answer_is_named() {
    assert_eq!(page(Venue::Coinbase, r#"[{"trade_id":1}]"#), Err("field time is missing".into()));
    assert_eq!(page(Venue::Binance, r#"[{"id":1}]"#), Err("field price is missing".into()));
    let row = r#"{"error":[],"result":{"X":[[1,2,"x"]],"last":"1"}}"#;
    assert_eq!(page(Venue::Kraken, row), Err("field side is missing".into()));
    let item = r#"{"result":{"trades":[{"trade_seq":1}]}}"#;
    assert_eq!(page(Venue::Deribit, item), Err("field instrument_name is missing".into()));
    for venue in venues() {
        for text in ["", "<html>", "7", r#"{"result":7}"#] {
            assert!(page(venue, text).is_err(), "{venue}: {text}");
        }
    }
    assert_eq!(page(Venue::Coinbase, "[]"), Ok(Page::default()));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String, cursor: i64, first: i64, span in 0i64..2_000) {
        for venue in venues() {
            let wanted = lost(venue, first, first.saturating_add(span), Timestamp(cursor));
            let _ = url(venue, &text, &wanted, None);
            let _ = parse(venue, &wanted, cursor, &text);
        }
    }

    #[test]
    fn damaged_answers_never_panic(at in 0usize..300, junk in "[ -~]{0,6}") {
        for (venue, text) in [
            (Venue::Coinbase, r#"[{"time":"2021-04-17T16:43:30Z","trade_id":8,"size":"0.5","price":"61837","side":"buy"}]"#),
            (Venue::Binance, r#"[{"id":7,"price":"4.00000100","qty":"12.00000000","time":1499865549590,"isBuyerMaker":true}]"#),
            (Venue::Kraken, r#"{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",6]],"last":"1688669598280411200"}}"#),
            (Venue::Deribit, r#"{"result":{"trades":[{"trade_seq":8,"timestamp":1616321732986,"price":50000.0,"instrument_name":"BTC-PERPETUAL","direction":"buy","amount":10.0}]}}"#),
        ] {
            let mut text = text.to_owned();
            let from = at.min(text.len());
            let to = (from + junk.len()).min(text.len());
            text.replace_range(from..to, &junk);
            let _ = parse(venue, &lost(venue, 7, 9, AT), 7, &text);
        }
    }
}
