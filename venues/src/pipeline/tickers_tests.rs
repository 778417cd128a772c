//! Whole tickers become records beside their price samples, and the clock is told in their topic.

use super::*;
use crate::channel::Channels;
use crate::recording::Recording;
use crate::test_data;

const ACK: &str = r#"{"jsonrpc":"2.0","id":2,"result":["ticker.BTC-25DEC26-100000-C.agg2"],"usIn":1618677848901782,"usOut":1618677848902689,"usDiff":907,"testnet":false}"#;
const TICKER: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-25DEC26-100000-C.agg2","data":{"instrument_name":"BTC-25DEC26-100000-C","timestamp":1618677850000,"mark_price":0.0841,"last_price":0.1,"mark_iv":1e-19}}}"#;
const AT: Timestamp = Timestamp(1_618_677_850_100);

fn clock(second: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"result":{{"version":"1.2.26"}},"usOut":16186778{second}902689}}"#
    )
}

fn pipeline(channels: &str) -> anyhow::Result<Pipeline> {
    let follow = Follow { channels: channels.parse::<Channels>()?, ..Follow::default() };
    Ok(Pipeline::new(Venue::Deribit, "deribit-0", follow))
}

fn produced(mut pipeline: Pipeline, texts: &[&str]) -> Produced {
    let mut out = Produced::default();
    for text in texts {
        pipeline.frame(text, AT, &mut out);
    }
    out
}

#[test]
fn a_ticker_is_a_record_before_its_price_sample() -> anyhow::Result<()> {
    let out = produced(pipeline("ticker")?, &[TICKER]);
    let [Output::Ticker { pair, ticker }, Output::Event { pair: of_sample, event }] =
        &out.outputs[..]
    else {
        anyhow::bail!("{out:?}")
    };
    assert_eq!((pair, pair.base.as_str()), (of_sample, "BTC-25DEC26-100000-C"));
    assert_eq!((ticker.mark_price, ticker.last_price), (Some(event.price), Some("0.1".parse()?)));
    let counts = [
        Count::NullField(NullField::OutOfRange),
        Count::Ticker(Class::Option),
        Count::Received("ticker"),
        Count::Event(Basis::Ticker, Class::Option, AT),
    ];
    assert_eq!(out.counts, counts);
    assert!(out.outputs.iter().all(|output| output.received_at() == Some(AT)));
    Ok(())
}

#[test]
fn a_ticker_that_is_not_followed_is_left_out() -> anyhow::Result<()> {
    let out = produced(pipeline("trades")?, &[ACK, TICKER, &clock(52)]);
    let is_mark = |output: &Output| matches!(output, Output::Mark { .. });
    assert!(out.outputs.iter().all(is_mark), "{out:?}");
    assert!(out.counts.contains(&Count::Ignored(Ignored::UnusedType)));
    assert!(!out.counts.contains(&Count::Ticker(Class::Option)));
    Ok(())
}

/// The clocks of a feed in their order: whether each is of tickers, and its mark.
fn clocks(out: Produced) -> Vec<(bool, FeedMark)> {
    let clock = |output| match output {
        Output::Mark { mark, .. } => Some((false, mark)),
        Output::TickerClock { exchange: "deribit", mark } => Some((true, mark)),
        _ => None,
    };
    out.outputs.into_iter().filter_map(clock).collect()
}

#[test]
fn the_clock_is_told_to_tickers_once_there_are_some() -> anyhow::Result<()> {
    let texts = [ACK, &clock(50), TICKER, &clock(52)];
    let told = clocks(produced(pipeline("trades,ticker")?, &texts));
    let of_tickers: Vec<_> = told.iter().map(|(is_of_tickers, _)| *is_of_tickers).collect();
    assert_eq!(of_tickers, [false, false, true, false], "the first ticker came after the second");
    assert_eq!(told[2].1, told[3].1, "both topics have the same clock");
    let several = clocks(produced(pipeline("ticker")?.one_of_several(), &texts));
    let (_, mark) = several.iter().find(|(is_of_tickers, _)| *is_of_tickers).unwrap();
    assert_eq!(mark.part, Some(Part::Connection));
    Ok(())
}

#[test]
fn a_recording_gives_every_ticker_once() -> anyhow::Result<()> {
    let (mut recording, mut out) = (Recording::new(false), Produced::default());
    for line in test_data::lines("deribit/20210417_ws.jsonl.zst")? {
        recording.line(&line, &mut out)?;
    }
    let tickers = out.outputs.iter().filter(|output| matches!(output, Output::Ticker { .. }));
    assert_eq!(tickers.count(), 92);
    let counted = out.counts.iter().filter(|count| **count == Count::Ticker(Class::Option));
    assert_eq!(counted.count(), 92);
    Ok(())
}
