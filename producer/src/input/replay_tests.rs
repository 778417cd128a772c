//! Recorded files through the whole pipeline.

use std::io::Write;

use anyhow::bail;
use schemas::{Basis, InstrumentState};

use super::*;
use crate::test_data;

type Received = Vec<(Timestamp, Output)>;

fn replayed(path: &Path) -> anyhow::Result<(Received, Arc<Metrics>)> {
    let metrics = Arc::new(Metrics::new()?);
    let mut outputs = Vec::new();
    Replay::new(Arc::clone(&metrics)).file(path, &mut |at, output| {
        outputs.push((at, output));
        Ok(())
    })?;
    Ok((outputs, metrics))
}

/// Replays lines that a test wrote itself.
fn replayed_text(name: &str, text: &str) -> anyhow::Result<Vec<Output>> {
    let path = std::env::temp_dir().join(format!("producer-{}-{name}.jsonl", std::process::id()));
    std::fs::File::create(&path)?.write_all(text.as_bytes())?;
    let outputs = replayed(&path);
    std::fs::remove_file(&path)?;
    Ok(outputs?.0.into_iter().map(|(_, output)| output).collect())
}

fn captured(venue: &str, raw: &str) -> String {
    let line = serde_json::json!({"at_us": 1_617_566_592_629_139_i64, "venue": venue, "kind": "frame", "url": null, "raw": raw});
    format!("{line}\n")
}

#[test]
fn a_trade_file_becomes_its_trades_and_nothing_else() -> anyhow::Result<()> {
    let path = test_data::file("hitbtc/trades.jsonl.zst")?;
    let (outputs, _) = replayed(&path)?;
    assert_eq!(outputs.len(), 1_000);
    for (at, output) in outputs {
        let Output::Event { pair, event } = output else { anyhow::bail!("{output:?}") };
        assert_eq!(pair.exchange, "hitbtc");
        assert!(event.trade_id.is_some() && event.size.is_some());
        assert_eq!((event.received_at, at), (event.event_time, event.event_time));
    }
    Ok(())
}

#[test]
fn a_replay_gives_the_same_outputs_every_time() -> anyhow::Result<()> {
    let path = test_data::file("binance/20210404_ws.jsonl.zst")?;
    let (first, _) = replayed(&path)?;
    assert_eq!(first, replayed(&path)?.0);
    let events = first.iter().filter(|(_, output)| matches!(output, Output::Event { .. }));
    assert_eq!(events.count(), 1_910);
    Ok(())
}

#[test]
fn aggregates_are_left_out_where_their_trades_are_recorded() -> anyhow::Result<()> {
    let aggregate = r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT","a":1,"p":"5","q":"3","f":7,"l":8,"T":1617566591314,"m":true}}"#;
    let single = r#"{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":7,"p":"5","q":"1","T":1617566591314,"m":true}}"#;
    let (aggregate, single) = (captured("binance", aggregate), captured("binance", single));
    let both = replayed_text("both", &format!("{aggregate}{single}"))?;
    let [Output::Event { event, .. }] = &both[..] else { anyhow::bail!("{both:?}") };
    assert_eq!(event.trade_id, Some(7));
    let alone = replayed_text("alone", &aggregate)?;
    let [Output::Event { event, .. }] = &alone[..] else { anyhow::bail!("{alone:?}") };
    assert_eq!(event.trade_id, Some(1));
    Ok(())
}

#[test]
fn every_capture_of_a_venue_replays_without_a_dead_letter() -> anyhow::Result<()> {
    for (name, trades, samples) in [
        ("deribit/20210417_ws.jsonl.zst", 0, 92),
        ("coinbase/20210417_ws.jsonl.zst", 107, 107),
        ("binance/20210404_ws.jsonl.zst", 1_910, 0),
    ] {
        let path = test_data::file(name)?;
        let mut replay = Replay::new(Arc::new(Metrics::new()?));
        let (mut prints, mut tickers) = (0, 0);
        replay.file(&path, &mut |_, output| {
            match output {
                Output::Event { event, .. } if event.basis == Basis::Trade => prints += 1,
                Output::Event { .. } => tickers += 1,
                Output::Mark { .. }
                | Output::Quote { .. }
                | Output::Book { .. }
                | Output::BookMark { .. }
                | Output::BookClock { .. }
                | Output::Ticker { .. }
                | Output::Instrument { .. }
                | Output::TickerClock { .. }
                | Output::Swap { .. }
                | Output::Head { .. }
                | Output::Pool { .. } => {}
                lost @ (Output::Gap { .. } | Output::DeadLetter(_)) => bail!("{lost:?}"),
            }
            Ok(())
        })?;
        assert_eq!((prints, tickers), (trades, samples), "{name}");
    }
    Ok(())
}

#[test]
fn a_line_of_no_format_is_a_dead_letter_and_a_venue_without_adapter_an_error() -> anyhow::Result<()>
{
    let good = r#"{"exchange":"x","base":"A","quote":"B","trade_id":"7","price":"1.5","size":"2","event_time_us":1622760680054999}"#;
    let outputs = replayed_text("lines", &format!("nonsense\n{{}}\n\n{good}"))?;
    let [Output::DeadLetter(first), Output::DeadLetter(second), Output::Event { event, .. }] =
        &outputs[..]
    else {
        anyhow::bail!("{outputs:?}")
    };
    assert_eq!((first.reason, second.reason), ("not_json", "missing_field"));
    assert_eq!(event.event_time, Timestamp(1_622_760_680_054));
    let Err(error) = replayed_text("hitbtc", &captured("hitbtc", "{}")) else {
        anyhow::bail!("hitbtc was replayed")
    };
    let text = format!("{error:#}");
    assert!(text.contains("line 1: captures of hitbtc cannot be replayed yet"), "{text}");
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named_before_anything_is_published() {
    let error = check(&["/no/such/file".into()]).map_err(|error| format!("{error:#}"));
    assert_eq!(
        error,
        Err("cannot open /no/such/file: No such file or directory (os error 2)".into())
    );
}

#[test]
fn a_recorded_listing_becomes_facts_and_recorded_frames_become_whole_tickers() -> anyhow::Result<()>
{
    let listing = test_data::file("deribit/20210417_rest_instruments.jsonl.zst")?;
    let (outputs, metrics) = replayed(&listing)?;
    assert_eq!(outputs.len(), 423 + 499);
    for (at, output) in &outputs {
        let Output::Instrument { pair, instrument } = output else { bail!("{output:?}") };
        assert_eq!((instrument.state, instrument.received_at), (InstrumentState::Listed, *at));
        assert!(instrument.contract_size.is_some() && instrument.tick_size.is_some(), "{pair}");
        assert_eq!(pair.base.split('-').next(), Some(&*instrument.currency));
    }
    let listed = metrics.tickers.instruments.with_label_values(&["deribit", "LISTED"]).get();
    assert_eq!(listed, 423 + 499);
    let frames = test_data::file("deribit/20210417_ws.jsonl.zst")?;
    let (outputs, metrics) = replayed(&frames)?;
    let is_ticker = |(_, output): &&(_, Output)| matches!(output, Output::Ticker { .. });
    let tickers = outputs.iter().filter(is_ticker).count();
    let raw = metrics.received.with_label_values(&["deribit", "ticker"]).get();
    assert!(tickers == 92 && raw == 92, "{tickers} of {raw} frames");
    let read = metrics.tickers.read.with_label_values(&["deribit", "option"]).get();
    assert_eq!(read, raw, "all of them are of options");
    Ok(())
}
