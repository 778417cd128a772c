//! The channels `quotes` and `book`: the same rules as the others, over stores with partitions of
//! their own.

use schemas::{Book, BookLevel, BookState, Decimal, Proof, TopOfBook};

use super::*;

const QUOTES: &str = r#""channel":"quotes""#;
const BOOK: &str = r#""channel":"book""#;

fn decimal(text: &str) -> Result<Decimal> {
    text.parse().ok().context("a decimal")
}

fn key(base: &str) -> Vec<u8> {
    store_keys::pair_key(&PairKey::new(base, "USD", "here"))
}

/// A top with a bid of size one, and an ask if there is one.
fn top(bid: &str, ask: Option<&str>, state: BookState) -> Result<TopOfBook> {
    let ask = ask.map(decimal).transpose()?;
    Ok(TopOfBook {
        bid: Some(decimal(bid)?),
        bid_size: Some(Decimal::ONE),
        ask,
        ask_size: ask.map(|_| Decimal::ONE),
        max_spread: None,
        sequence: Some(7),
        state,
        event_time: Timestamp(1_000),
        received_at: Timestamp(1_001),
        since: Timestamp(1_000),
        clock: Timestamp(1_000),
        max_spread_day: Timestamp(0),
        mids: vec![decimal("1.5")?],
    })
}

/// A book with `levels` bids and no ask.
fn levels(levels: usize) -> Book {
    let level = BookLevel { price: Decimal::ONE, size: Decimal::ONE };
    Book {
        bids: vec![level; levels],
        asks: Vec::new(),
        sequence: None,
        proof: Proof::Checksum,
        event_time: Timestamp(1_000),
        received_at: Timestamp(1_001),
    }
}

impl World {
    fn quote(&mut self, base: &str, top: &TopOfBook) {
        self.commit(Channel::Quotes, key(base), Codec::offline().to_bytes(top));
    }

    fn book(&mut self, base: &str, book: &Book) {
        self.commit(Channel::Book, key(base), Codec::offline().to_bytes(book));
    }
}

fn rows(frame: &Value) -> &[Value] {
    frame["rows"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn a_quote_is_told_with_its_state_and_an_empty_side_is_null() -> Result<()> {
    let mut world = World::new()?;
    world.quote("BTC", &top("1", Some("2"), BookState::InSync)?);
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 5, QUOTES)?;
    world.quote("BTC", &top("1", None, BookState::InSync)?);
    world.quote("BTC", &top("1.10", None, BookState::OutOfSync)?);
    world.tick()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "update"], "{heard:?}");
    let first = json!({
        "base": "BTC", "quote": "USD", "exchange": "here", "bid": "1", "bid_size": "1",
        "ask": "2", "ask_size": "1", "spread": "1", "mid": "1.5", "microprice": "1.5",
        "imbalance": "0", "max_spread": null, "mid_mean_10": "1.5", "sequence": 7,
        "state": "IN_SYNC", "event_time": "1970-01-01T00:00:01.000Z",
        "received_at": "1970-01-01T00:00:01.001Z",
    });
    // Every field, so that no private one is among them.
    ensure!(rows(&heard[1]) == [first], "{heard:?}");
    let [last] = rows(&heard[2]) else { bail!("conflated: {heard:?}") };
    ensure!(last["state"] == "OUT_OF_SYNC" && last["bid"] == "1.1", "{last}");
    for name in ["ask", "ask_size", "spread", "mid", "microprice"] {
        ensure!(last[name].is_null(), "{name}: {last}");
    }
    Ok(())
}

#[test]
fn a_book_is_told_whole_and_without_a_state() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 5, &format!("{BOOK},\"base\":\"BTC\""))?;
    world.book("BTC", &levels(25));
    world.book("ETH", &levels(1));
    world.tick()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "update"], "{heard:?}");
    let [book] = rows(&heard[2]) else { bail!("one pair was asked for: {heard:?}") };
    let bids = book["bids"].as_array().context("bids")?;
    ensure!(bids.len() == 25 && bids[0] == json!({ "price": "1", "size": "1" }), "{book}");
    ensure!(book["asks"] == json!([]) && book["proof"] == "CHECKSUM", "{book}");
    ensure!(book.get("state").is_none(), "it would be that of another moment: {book}");
    Ok(())
}

#[test]
fn a_client_of_quotes_resumes_with_what_it_missed_and_not_in_another_channel() -> Result<()> {
    let mut world = World::new()?;
    let mut first = world.join(1, QUEUE);
    world.subscribe(1, 1, QUOTES)?;
    world.quote("BTC", &top("1", None, BookState::InSync)?);
    world.tick()?;
    let heard = first.all()?;
    let token = heard.last().and_then(|update| update["resume"].as_str()).context("a token")?;
    world.quote("ETH", &top("2", None, BookState::InSync)?);
    world.tick()?;
    let mut again = world.join(2, QUEUE);
    world.subscribe(2, 1, &format!("{QUOTES},\"resume\":\"{token}\""))?;
    let told = again.all()?;
    ensure!(kinds(&told) == ["subscribed", "resumed"], "{told:?}");
    let [missed] = rows(&told[1]) else { bail!("{told:?}") };
    ensure!(missed["base"] == "ETH", "{missed}");
    world.subscribe(2, 2, &format!("{BOOK},\"resume\":\"{token}\""))?;
    ensure!(kinds(&again.all()?) == ["subscribed", "gone", "snapshot"]);
    Ok(())
}

#[test]
fn books_have_partitions_of_their_own() -> Result<()> {
    let mut world = World::new()?;
    // A member without the prices and the quotes of this partition.
    let store = Arc::new(Committed::new(Box::new(MemoryStore::default())));
    world.hub.queries.add(Channel::Book.store(), 7, Arc::clone(&store));
    let commit = |world: &World, base: &str, offset: i64| {
        let (key, value) = (key(base), Codec::offline().to_bytes(&levels(2)));
        store.commit(std::iter::once((&key[..], Some(&value[..]))));
        let told = world.hub.queries.changes();
        told.publish_changes(
            Channel::Book.store(),
            7,
            Some(Offset(offset)),
            vec![(key, Some(value))],
        );
    };
    commit(&world, "BTC", 1);
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, BOOK)?;
    commit(&world, "ETH", 2);
    world.tick()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "update"], "{heard:?}");
    ensure!(
        rows(&heard[1])[0]["base"] == "BTC" && rows(&heard[2])[0]["base"] == "ETH",
        "{heard:?}"
    );
    let token = heard[1]["resume"].as_str().context("a token")?;
    world.subscribe(1, 2, &format!("{BOOK},\"resume\":\"{token}\""))?;
    let told = client.all()?;
    ensure!(kinds(&told) == ["subscribed", "resumed"], "{told:?}");
    ensure!(rows(&told[1])[0]["base"] == "ETH", "{told:?}");
    Ok(())
}

#[test]
fn a_snapshot_of_books_is_within_what_may_wait_for_a_client() -> Result<()> {
    let mut world = World::new()?;
    let full = levels(25);
    for pair in 0..1_005 {
        world.book(&format!("B{pair}"), &full);
    }
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, BOOK)?;
    let heard = client.all()?;
    let told: usize = heard.iter().map(|frame| rows(frame).len()).sum();
    ensure!(told == 1_000, "{told} rows");
    Ok(())
}

#[test]
fn a_pair_that_leaves_is_deleted_in_both_channels() -> Result<()> {
    for (channel, asked) in [(Channel::Quotes, QUOTES), (Channel::Book, BOOK)] {
        let mut world = World::new()?;
        let mut client = world.join(1, QUEUE);
        world.subscribe(1, 1, asked)?;
        let told = world.hub.queries.changes().clone();
        told.publish_changes(channel.store(), 0, Some(Offset(1)), vec![(key("BTC"), None)]);
        world.tick()?;
        let heard = client.all()?;
        ensure!(rows(heard.last().context("an update")?)[0]["deleted"] == true, "{heard:?}");
    }
    Ok(())
}
