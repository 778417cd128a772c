//! The interface of a view against the document that it serves: Schemathesis makes requests of the
//! document, valid and not, and no answer is undocumented or a fault.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use schemas::{Book, BookLevel, FeedMark, MarketEvent, PairKey, Proof, Quote, Timestamp};
use tests::support::Installation;
use tests::support::installation::IMPATIENT;
use tests::support::stack::root;

/// 2024-01-01T00:00:00Z.
const EPOCH: i64 = 1_704_067_200_000;
const MINUTE: i64 = 60_000;

/// Hours of two pairs with quiet minutes, and a feed that lost something.
fn write(installation: &Installation) -> Result<()> {
    let codec = installation.codec()?;
    let mut records = Vec::new();
    for base in ["BTC", "ETH"] {
        let key = codec.to_bytes(&PairKey::new(base, "USD", "coinbase"));
        for minute in (0..300).filter(|minute| minute % 7 != 3) {
            let (price, time) = (format!("{}.5", 100 + minute % 11), EPOCH + minute * MINUTE);
            let event = MarketEvent::trade(price.parse()?, "0.25".parse()?, Timestamp(time));
            records.push((key.clone(), Some(codec.to_bytes(&event))));
        }
    }
    let mark = FeedMark::healthy("1", Timestamp(EPOCH + 310 * MINUTE), Timestamp(EPOCH));
    records.push((codec.to_bytes(&PairKey::feed("coinbase")), Some(codec.to_bytes(&mark))));
    installation.write(Topic::Events, 0, &records)?;
    write_books(installation)
}

/// A quote each ten seconds of an hour, now and then without an ask, and a book.
fn write_books(installation: &Installation) -> Result<()> {
    let codec = installation.codec()?;
    let key = codec.to_bytes(&PairKey::new("BTC", "USD", "coinbase"));
    let level = |price: String| -> Result<_> {
        Ok(BookLevel { price: price.parse()?, size: "0.5".parse()? })
    };
    let mut records = Vec::new();
    for second in (0..3_600).step_by(10) {
        let (bid, ask) = (level(format!("{}.25", 100 + second % 7))?, level("107.5".into())?);
        let ask = (second % 100 != 50).then_some(ask);
        let quote = Quote {
            bid: Some(bid.price),
            bid_size: Some(bid.size),
            ask: ask.map(|level| level.price),
            ask_size: ask.map(|level| level.size),
            ..Quote::empty(Proof::Sequence, Timestamp(EPOCH + second * 1_000))
        };
        records.push((key.clone(), Some(codec.to_bytes(&quote))));
    }
    installation.write(Topic::Quotes, 0, &records)?;
    let book = Book {
        bids: vec![level("100".into())?, level("99.5".into())?],
        asks: vec![level("107.5".into())?],
        sequence: Some(7),
        proof: Proof::Sequence,
        event_time: Timestamp(EPOCH),
        received_at: Timestamp(EPOCH),
    };
    installation.write(Topic::Books, 0, &[(key, Some(codec.to_bytes(&book)))])
}

#[test]
fn no_answer_is_undocumented_or_a_fault() -> Result<()> {
    let installation = Installation::new("contract")?;
    write(&installation)?;
    let mut member = installation
        .member("one", &[&IMPATIENT[..], &["--topologies", "prices,quotes"]].concat())?;
    installation.caught_up(&mut [&mut member])?;
    installation.caught_up_with(Topic::Quotes, &mut [&mut member])?;
    // One place, which the script takes; no rate, which it would exceed.
    let mut view =
        installation.ready_view("view", &["--stream-max-clients", "1", "--rate", "0"])?;
    let url = format!("http://{}", view.address()?);
    let script = root().join("infra/schemathesis.sh");
    let held = Command::new(script).arg(&url).output().context("infra/schemathesis.sh")?;
    let said = String::from_utf8_lossy(&held.stdout);
    ensure!(held.status.success(), "{said}\n{}", String::from_utf8_lossy(&held.stderr));
    // Something was asked for, and in both runs.
    let cases = said.lines().filter(|line| line.contains(" generated")).collect::<Vec<_>>();
    ensure!(cases.len() == 2, "{said}");
    eprintln!("schemathesis: {}", cases.join(";"));
    view.process.alive()?;
    let faults = view.process.lines("a read failed")?;
    ensure!(faults.is_empty(), "{faults:?}");
    installation.finish_with([member, view])
}
