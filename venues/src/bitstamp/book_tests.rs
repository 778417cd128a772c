//! Bitstamp's books: recorded updates on recorded snapshots.

use super::*;
use crate::Venue;
use crate::book::replay::{Replay, capture, name};

const CAPTURE: &str = "bitstamp/20220105_book_ws.jsonl.zst";

#[test]
fn recorded_updates_continue_their_snapshots() -> anyhow::Result<()> {
    let mut replay = Replay::new(Venue::Bitstamp);
    let (mut snapshots, mut trades, mut at_a_level) = (0, 0, 0);
    for line in &capture(CAPTURE)? {
        match line.kind.as_str() {
            "http" if line.url.contains("/order_book/") => {
                let product = line.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                replay.snapshot(&name(&protocol::pair(product)?), &line.raw)?;
                snapshots += 1;
            }
            "frame" => {
                replay.frame(&line.raw)?;
            }
            _ => {}
        }
    }
    eprintln!("{snapshots} {} {} {:?}", replay.frames, replay.quotes, replay.resyncs);
    Ok(())
}
