//! Records, marks and controls of frames.

use super::*;

fn frames(texts: &[&str]) -> (Vec<Output>, Vec<Control>) {
    let mut pipeline = Pipeline::new(Venue::Coinbase, "coinbase-0", Follow::default());
    let mut out = Produced::default();
    let control = texts
        .iter()
        .flat_map(|text| pipeline.frame(text, Timestamp(1_618_677_817_000), &mut out))
        .collect();
    (out.outputs, control)
}

#[test]
fn the_end_of_an_instrument_is_a_mark_of_its_pair() {
    let mut pipeline = Pipeline::new(Venue::Deribit, "deribit-0", Follow::default());
    let state = |state: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"instrument.state.option.BTC","data":{{"timestamp":1553080940000,"state":"{state}","instrument_name":"BTC-22MAR19-4000-C"}}}}}}"#
        )
    };
    let (at, mut out) = (Timestamp(1_553_080_940_500), Produced::default());
    assert_eq!(pipeline.frame(&state("created"), at, &mut out).len(), 1);
    assert!(out.outputs.is_empty(), "{out:?}");
    assert_eq!(pipeline.frame(&state("terminated"), at, &mut out).len(), 1);
    let pair = PairKey::new("BTC-22MAR19-4000-C", "BTC", "deribit");
    let mark = FeedMark::of_pair(PairChange::Ended, "deribit-0", at, at);
    assert_eq!(out.outputs[0], Output::Gap { pair, mark });
    let [_, Output::Instrument { instrument, .. }] = &out.outputs[..] else {
        panic!("{out:?}");
    };
    assert_eq!((instrument.state, instrument.event_time), (InstrumentState::Ended, at));
}

fn trade(id: i64) -> String {
    format!(
        r#"{{"type":"match","trade_id":{id},"side":"buy","size":"1","price":"2","product_id":"BTC-USD","time":"2021-04-17T16:43:30.24{id}Z"}}"#
    )
}

#[test]
fn a_gap_is_marked_before_the_trade_that_proves_it() -> anyhow::Result<()> {
    let (out, _) = frames(&[&trade(1), &trade(4)]);
    let [Output::Event { .. }, Output::Gap { pair, mark }, Output::Event { .. }] = &out[..] else {
        anyhow::bail!("{out:?}");
    };
    assert_eq!(*pair, PairKey::new("BTC", "USD", "coinbase"));
    assert_eq!((mark.first_missing_id, mark.missing), (Some(2), Some(2)));
    assert_eq!(mark.gap_from, Timestamp::parse_rfc3339("2021-04-17T16:43:30.241Z"));
    assert_eq!(mark.gap_until, Timestamp::parse_rfc3339("2021-04-17T16:43:30.245Z"));
    assert_eq!(mark.reason, "BTC-USD: 2 trades missing after id 1");
    Ok(())
}

#[test]
fn heartbeats_tell_the_clock_once_they_are_acknowledged() -> anyhow::Result<()> {
    let beat = r#"{"type":"heartbeat","last_trade_id":0,"product_id":"BTC-USD","sequence":1,"time":"2021-04-17T16:43:30.5Z"}"#;
    let ack = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["BTC-USD"],"account_ids":null}]}"#;
    let (out, control) = frames(&[beat, ack, beat, beat]);
    assert_eq!(control.len(), 1);
    let [Output::Mark { exchange: "coinbase", mark }] = &out[..] else {
        anyhow::bail!("{out:?}");
    };
    assert_eq!(Some(mark.healthy_until), Timestamp::parse_rfc3339("2021-04-17T16:43:30.5Z"));
    assert_eq!((mark.gap_from, mark.feed.as_str()), (None, "coinbase-0"));
    assert_eq!(mark.healthy_from, Some(mark.healthy_until), "nothing is known of before");
    Ok(())
}

#[test]
fn a_connections_clock_is_told_once_its_subscriptions_stand() {
    let mut pipeline = Pipeline::new(Venue::Kraken, "kraken-0", Follow::default());
    let pong = |second: u8| {
        format!(r#"{{"method":"pong","time_out":"2023-09-25T09:04:{second}.742648Z"}}"#)
    };
    let ack =
        r#"{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}"#;
    let mut out = Produced::default();
    for text in [pong(30), ack.to_owned(), pong(31), pong(31), pong(33)] {
        pipeline.frame(&text, Timestamp(1), &mut out);
    }
    pipeline.disconnected(Timestamp(1), &mut out);
    pipeline.frame(&pong(40), Timestamp(1), &mut out);
    let told = out.outputs.iter().filter_map(|output| match output {
        Output::Mark { mark, .. } => Some(mark.healthy_until),
        _ => None,
    });
    let expected = ["2023-09-25T09:04:30.742Z", "2023-09-25T09:04:32.742Z"];
    assert!(told.eq(expected.iter().filter_map(|time| Timestamp::parse_rfc3339(time))));
}

#[test]
fn what_cannot_be_read_is_kept_as_it_came() -> anyhow::Result<()> {
    let (out, _) = frames(&["{\"type\":\"mat"]);
    let [Output::DeadLetter(letter)] = &out[..] else { anyhow::bail!("{out:?}") };
    assert_eq!((letter.reason, letter.raw.as_str()), ("not_json", "{\"type\":\"mat"));
    Ok(())
}

fn coinbase(several: bool) -> Pipeline {
    let pipeline = Pipeline::new(Venue::Coinbase, "coinbase-1", Follow::default());
    if several { pipeline.one_of_several() } else { pipeline }
}

fn beat(second: u8) -> String {
    format!(
        r#"{{"type":"heartbeat","last_trade_id":0,"product_id":"BTC-USD","sequence":1,"time":"2021-04-17T16:43:{second}Z"}}"#
    )
}

/// Feed, part, from and until of each mark, through a loss of the connection.
fn marks(pipeline: &mut Pipeline) -> Vec<(Option<PairKey>, FeedMark)> {
    let ack = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["BTC-USD"],"account_ids":null}]}"#;
    let mut out = Produced::default();
    let mut read = |pipeline: &mut Pipeline, texts: &[String]| {
        for text in texts {
            pipeline.frame(text, Timestamp(1_618_677_817_000), &mut out);
        }
    };
    read(pipeline, &[ack.into(), beat(10), beat(20), trade(1), trade(2)]);
    pipeline.disconnected(Timestamp(1), &mut Produced::default());
    read(pipeline, &[ack.into(), beat(40), trade(3), beat(50)]);
    out.outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Mark { mark, .. } => Some((None, mark)),
            Output::Gap { pair, mark } => Some((Some(pair), mark)),
            _ => None,
        })
        .collect()
}

#[test]
fn one_of_several_tells_its_own_clock_and_once_whom_it_carries() -> anyhow::Result<()> {
    let at = |second| Timestamp::parse_rfc3339(&format!("2021-04-17T16:43:{second}Z"));
    let found = marks(&mut coinbase(true));
    let (carried, clocks): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(pair, _)| pair.is_some());
    let [(Some(pair), mark)] = &carried[..] else { anyhow::bail!("{carried:?}") };
    assert_eq!(*pair, PairKey::new("BTC", "USD", "coinbase"));
    assert_eq!((mark.part, mark.healthy_from), (Some(Part::Trades), at(10)));
    assert_eq!((mark.feed.as_str(), mark.gap_from), ("coinbase-1", None));
    assert!(clocks.iter().all(|(_, mark)| mark.part == Some(Part::Connection)));
    let stretches = clocks.iter().map(|(_, mark)| (mark.healthy_from, mark.healthy_until));
    let until = |second| at(second).unwrap();
    let expected = [(10, 10), (10, 20), (40, 40), (40, 50)];
    assert!(stretches.eq(expected.map(|(from, to)| (at(from), until(to)))), "{clocks:?}");
    Ok(())
}

#[test]
fn a_sole_connection_speaks_for_all_of_its_exchange() {
    let found = marks(&mut coinbase(false));
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|(pair, mark)| pair.is_none() && mark.part.is_none()));
}
