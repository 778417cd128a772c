//! Any sequence of frames, snapshots and losses: no quote lies in a gap, and each loss has one.

use proptest::prelude::*;
use schemas::{PairKey, Timestamp};

use super::super::{Output, Produced};
use super::tests::{START, at, pipeline, snapshot, update};
use crate::venue::Venue;

/// Anything that may happen to the books of two pairs of a venue.
#[derive(Clone, Debug)]
enum Step {
    Frame { pair: usize, kind: u8, id: i64, jump: i64, price: u8, size: u8 },
    Fetched { pair: usize, id: i64 },
    Disconnected,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..2usize, 0..8u8, 0..3i64, -2..4i64, 1..12u8, 0..3u8).prop_map(
            |(pair, kind, id, jump, price, size)| Step::Frame { pair, kind, id, jump, price, size }
        ),
        3 => (0..2usize, -2..3i64).prop_map(|(pair, id)| Step::Fetched { pair, id }),
        1 => Just(Step::Disconnected),
    ]
}

/// The text of a frame. Kind 0 is a snapshot where they are sent, kind 1 is malformed.
fn text(venue: Venue, step: &Step, ids: &mut [i64; 2], now: i64) -> String {
    let Step::Frame { pair, kind, id, jump, price, size } = *step else { return String::new() };
    let base = ["BTC", "ETH"][pair];
    let (side, time) = (["buy", "sell"][usize::from(price > 6)], now + jump * 40);
    let after = ids[pair] + id / 2;
    let last = after + 1;
    ids[pair] = last;
    let size = if kind == 1 { "x".to_owned() } else { size.to_string() };
    let level = if venue == Venue::Deribit {
        format!(r#"["change",{price},"{size}"]"#)
    } else {
        format!(r#"["{price}","{size}"]"#)
    };
    let (bids, asks) = if side == "buy" { (level.as_str(), "") } else { ("", level.as_str()) };
    match venue {
        Venue::Coinbase if kind == 0 => snapshot(base, "5", "7"),
        Venue::Coinbase => update(base, time.max(0), side, &price.to_string(), &size),
        Venue::Deribit => {
            let kind = if kind == 0 { "snapshot" } else { "change" };
            format!(
                r#"{{"method":"subscription","params":{{"channel":"book.{base}-PERPETUAL.100ms","data":{{"type":"{kind}","timestamp":{},"instrument_name":"{base}-PERPETUAL","prev_change_id":{after},"change_id":{last},"bids":[{bids}],"asks":[{asks}]}}}}}}"#,
                START + time
            )
        }
        Venue::Bitstamp => format!(
            r#"{{"event":"data","channel":"diff_order_book_{}usd","data":{{"microtimestamp":"{}","bids":[{bids}],"asks":[{asks}]}}}}"#,
            base.to_lowercase(),
            (START + time) * 1000
        ),
        _ => format!(
            r#"{{"e":"depthUpdate","E":{},"s":"{base}USDT","U":{},"u":{last},"b":[{bids}],"a":[{asks}]}}"#,
            START + time,
            after + 1
        ),
    }
}

fn play(venue: Venue, steps: &[Step]) -> Vec<Output> {
    let (mut pipeline, mut out) = (pipeline(venue), Produced::default());
    let (mut ids, mut now) = ([10, 10], 0);
    for step in steps {
        now += 70;
        match step {
            Step::Frame { .. } => {
                let text = text(venue, step, &mut ids, now);
                pipeline.frame(&text, at(now), &mut out);
            }
            Step::Fetched { pair, id } => {
                let body = format!(
                    r#"{{"lastUpdateId":{},"microtimestamp":"{}","bids":[["5","1"]],"asks":[["7","1"]]}}"#,
                    ids[*pair] + id,
                    (START + now + id * 50) * 1000
                );
                let quote = if venue == Venue::Binance { "USDT" } else { "USD" };
                let pair = PairKey::new(["BTC", "ETH"][*pair], quote, venue.as_str());
                pipeline.snapshot(&pair, &body, at(now), &mut out);
            }
            Step::Disconnected => pipeline.disconnected(at(now), &mut out),
        }
    }
    pipeline.finish(&mut out);
    out.outputs
}

/// Checks the outputs of one pair.
fn check(outputs: &[&Output]) -> Result<(), TestCaseError> {
    let (mut is_lost, mut quotes, mut gaps) = (false, Vec::new(), Vec::new());
    let mut book_at: Option<Timestamp> = None;
    let mut is_again = true;
    // The last levels come when the input ends.
    let last = outputs.iter().rposition(|output| matches!(output, Output::Book { .. }));
    for (place, output) in outputs.iter().enumerate() {
        match output {
            Output::Quote { quote, .. } => {
                prop_assert!(!is_lost, "a quote out of sync");
                prop_assert!(quote.spread().is_none_or(|spread| !spread.is_negative()));
                quotes.push(quote.event_time);
            }
            Output::Book { book, .. } => {
                prop_assert!(!is_lost, "levels out of sync");
                let next = book_at.map(|at| at.0 + 1_000);
                let is_paced = next.is_none_or(|next| book.received_at.0 >= next);
                prop_assert!(is_again || is_paced || last == Some(place));
                (book_at, is_again) = (Some(book.received_at), false);
            }
            Output::BookMark { mark, .. } => match mark.gap_from.zip(mark.gap_until) {
                None => {
                    prop_assert!(!is_lost, "a second mark of one loss");
                    is_lost = true;
                }
                Some(gap) => {
                    prop_assert!(is_lost && gap.0 < gap.1, "{gap:?}");
                    (is_lost, is_again) = (false, true);
                    gaps.push(gap);
                }
            },
            _ => {}
        }
    }
    prop_assert!(!is_lost, "a loss without a gap");
    for (from, until) in gaps {
        let inside = quotes.iter().find(|time| **time > from && **time < until);
        prop_assert!(inside.is_none(), "{inside:?} in {from:?} to {until:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_quote_lies_in_a_gap_whatever_arrives(steps in prop::collection::vec(step(), 0..80)) {
        for venue in [Venue::Coinbase, Venue::Binance, Venue::Deribit, Venue::Bitstamp] {
            let outputs = play(venue, &steps);
            prop_assert_eq!(&outputs, &play(venue, &steps), "the same again");
            for base in ["BTC", "ETH"] {
                let of_pair = |output: &&Output| matches!(output,
                    Output::Quote { pair, .. } | Output::Book { pair, .. } | Output::BookMark { pair, .. }
                    if pair.base.starts_with(base));
                check(&outputs.iter().filter(of_pair).collect::<Vec<_>>())?;
            }
        }
    }
}
