//! The channel `options`: patterns by currency, expiry and instrument, and the bound of a snapshot.

use schemas::OptionState;
use schemas::instrument::{CLOSED, InstrumentName};

use super::*;

const CALL: &str = "BTC-25DEC26-100000-C";
const PUT: &str = "BTC-25DEC26-100000-P";
const LATER: &str = "BTC-26MAR27-100000-C";
const ETHER: &str = "ETH-25DEC26-4000-C";

fn key(name: &str) -> Vec<u8> {
    store_keys::pair_key(&PairKey::new(name, "BTC", "deribit"))
}

fn option(name: &str, bid: Option<&str>) -> Result<OptionState> {
    let named = InstrumentName::parse(name).and_then(|name| OptionState::named(&name));
    Ok(OptionState {
        bid: bid.map(str::parse).transpose()?,
        event_time: Timestamp(1_000),
        ..named.context("the name of an option")?
    })
}

impl World {
    fn option(&mut self, name: &str, bid: Option<&str>) -> Result<()> {
        let option = option(name, bid)?;
        self.commit(Channel::Options, key(name), Codec::offline().to_bytes(&option));
        Ok(())
    }
}

fn rows(frame: &Value) -> &[Value] {
    frame["rows"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn names(frame: &Value) -> Vec<&str> {
    let mut names: Vec<_> = rows(frame).iter().filter_map(|row| row["base"].as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_subscription_gets_the_options_of_its_currency_expiry_and_name() -> Result<()> {
    let mut world = World::new()?;
    for name in [CALL, PUT, LATER, ETHER] {
        world.option(name, Some("0.1"))?;
    }
    let mut client = world.join(1, QUEUE);
    let asked = [
        (1, r#""currency":"BTC""#, vec![CALL, PUT, LATER]),
        (2, r#""currency":"BTC","expiry":"2026-12-25""#, vec![CALL, PUT]),
        (3, r#""expiry":"25DEC26","currency":"*""#, vec![CALL, PUT, ETHER]),
        (4, &format!(r#""instrument":"{CALL}""#), vec![CALL]),
        (5, &format!(r#""instrument":"{CALL}","currency":"ETH""#), vec![]),
        (6, r#""exchange":"elsewhere""#, vec![]),
    ];
    for (id, parts, expected) in &asked {
        world.subscribe(1, *id, &format!("\"channel\":\"options\",{parts}"))?;
        let heard = client.all()?;
        ensure!(kinds(&heard) == ["subscribed", "snapshot"], "{heard:?}");
        ensure!(names(&heard[1]) == *expected, "{parts}: {heard:?}");
    }
    for name in [CALL, PUT, LATER, ETHER] {
        world.option(name, Some("0.2"))?;
    }
    world.tick()?;
    let heard = client.all()?;
    for (id, parts, expected) in &asked {
        let told: Vec<_> = heard.iter().filter(|frame| frame["id"] == *id).collect();
        ensure!(told.len() == usize::from(!expected.is_empty()), "{parts}: {told:?}");
        for update in told {
            ensure!(names(update) == *expected, "{parts}: {update}");
            ensure!(rows(update).iter().all(|row| row["bid"] == "0.2"), "{update}");
        }
    }
    Ok(())
}

#[test]
fn the_answer_to_a_subscription_says_its_parts_by_their_names() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"options","currency":"BTC","expiry":"25dec26""#)?;
    let heard = client.all()?;
    let expected = json!({
        "type": "subscribed", "id": 1, "sequence": 0, "channel": "options", "interval": null,
        "exchange": "*", "currency": "BTC", "expiry": "2026-12-25", "instrument": "*", "quote": "*",
    });
    ensure!(heard[0] == expected, "{}", heard[0]);
    Ok(())
}

#[test]
fn an_option_that_closes_is_told_and_its_deletion_reaches_the_same_subscribers() -> Result<()> {
    let mut world = World::new()?;
    world.option(CALL, None)?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"options","currency":"BTC","expiry":"25DEC26""#)?;
    ensure!(rows(&client.all()?[1])[0]["bid"].is_null(), "an empty side is null");
    let closed = OptionState { state: CLOSED.into(), ..option(CALL, None)? };
    world.commit(Channel::Options, key(CALL), Codec::offline().to_bytes(&closed));
    world.tick()?;
    ensure!(rows(&client.all()?[0])[0]["state"] == CLOSED);
    let told = world.hub.queries.changes().clone();
    let gone = vec![(key(CALL), None), (key(LATER), None)];
    told.publish_changes(Channel::Options.store(), 0, Some(Offset(9)), gone);
    world.tick()?;
    let heard = client.all()?;
    let deleted = json!({
        "exchange": "deribit", "base": CALL, "quote": "BTC", "deleted": true,
    });
    ensure!(rows(&heard[0]) == [deleted], "{heard:?}");
    Ok(())
}

#[test]
fn a_client_of_options_resumes_with_what_it_missed() -> Result<()> {
    let mut world = World::new()?;
    let mut first = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"options""#)?;
    world.option(CALL, Some("1"))?;
    world.tick()?;
    let heard = first.all()?;
    let token = heard.last().and_then(|update| update["resume"].as_str()).context("a token")?;
    world.option(ETHER, Some("2"))?;
    world.option(PUT, Some("2"))?;
    world.tick()?;
    let mut again = world.join(2, QUEUE);
    let asked = format!(r#""channel":"options","currency":"BTC","resume":"{token}""#);
    world.subscribe(2, 1, &asked)?;
    let told = again.all()?;
    ensure!(kinds(&told) == ["subscribed", "resumed"], "{told:?}");
    ensure!(names(&told[1]) == [PUT], "{told:?}");
    Ok(())
}

#[test]
fn a_snapshot_of_options_is_within_what_may_wait_for_a_client() -> Result<()> {
    let mut world = World::new()?;
    let full = Codec::offline().to_bytes(&option(CALL, Some("0.1"))?);
    for strike in 1..=5_005 {
        world.commit(Channel::Options, key(&format!("BTC-25DEC26-{strike}-C")), full.clone());
    }
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, r#""channel":"options","currency":"BTC""#)?;
    let told: usize = client.all()?.iter().map(|frame| rows(frame).len()).sum();
    ensure!(told == 5_000, "{told} rows");
    Ok(())
}
