//! The channel `index`: patterns without an exchange, snapshots, conflation, deletions.

use schemas::{Index, IndexKey, IndexMember};

use super::*;

const INDEX: &str = r#""channel":"index""#;

fn key(base: &str, quote: &str) -> Vec<u8> {
    store_keys::body(&IndexKey::new(base, quote))
}

impl World {
    fn index(&mut self, base: &str, quote: &str, price: &str) -> Result<()> {
        let price = price.parse().ok().context("a price")?;
        let member =
            IndexMember { exchange: "here".into(), price, used: true, ..IndexMember::default() };
        let rule = Index::LOWER_MEDIAN.into();
        let members = vec![member];
        let index = Index { price: Some(price), used: 1, rule, members, ..Index::default() };
        self.commit(Channel::Index, key(base, quote), Codec::offline().to_bytes(&index));
        Ok(())
    }
}

fn rows(frame: &Value) -> &[Value] {
    frame["rows"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Pair and price of each row.
fn indexes(frame: &Value) -> Vec<(String, &str)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let pair = |row: &Value| format!("{}-{}", text(row, "base"), text(row, "quote"));
    let mut found: Vec<_> =
        rows(frame).iter().map(|row| (pair(row), row["price"].as_str().unwrap_or("-"))).collect();
    found.sort_unstable();
    found
}

fn named<'a>(pairs: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
    pairs.iter().map(|(pair, price)| ((*pair).to_owned(), *price)).collect()
}

#[test]
fn a_subscription_gets_the_pairs_of_its_base_and_quote() -> Result<()> {
    let mut world = World::new()?;
    for (base, quote, price) in [("BTC", "USD", "1"), ("BTC", "EUR", "2"), ("BTCX", "USD", "3")] {
        world.index(base, quote, price)?;
    }
    let mut client = world.join(1, QUEUE);
    let all: &[_] = &[("BTC-EUR", "2"), ("BTC-USD", "1"), ("BTCX-USD", "3")];
    for (id, parts, expected) in [
        (1, "", all),
        (2, r#","base":"BTC","quote":"*""#, &all[..2]),
        (3, r#","quote":"USD""#, &all[1..]),
        (4, r#","base":"BTC","quote":"USD""#, &all[1..2]),
        (5, r#","base":"USD""#, &[]),
    ] {
        world.subscribe(1, id, &format!("{INDEX}{parts}"))?;
        let heard = client.all()?;
        ensure!(kinds(&heard) == ["subscribed", "snapshot"], "{heard:?}");
        ensure!(indexes(&heard[1]) == named(expected), "{parts}: {heard:?}");
    }
    world.index("BTC", "USD", "8")?;
    world.index("BTC", "USD", "9")?;
    world.tick()?;
    let heard = client.all()?;
    let mut told: Vec<_> = heard.iter().filter_map(|frame| frame["id"].as_i64()).collect();
    told.sort_unstable();
    ensure!(told == [1, 2, 3, 4], "{heard:?}");
    for update in &heard {
        ensure!(indexes(update) == named(&[("BTC-USD", "9")]), "conflated: {update}");
    }
    Ok(())
}

#[test]
fn a_row_is_that_of_the_read_and_names_no_exchange_of_its_pair() -> Result<()> {
    let mut world = World::new()?;
    world.index("BTC", "USD", "1.50")?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, &format!(r#"{INDEX},"base":"BTC""#))?;
    let heard = client.all()?;
    let subscribed = json!({
        "type": "subscribed", "id": 1, "sequence": 0, "channel": "index", "interval": null,
        "base": "BTC", "quote": "*",
    });
    ensure!(heard[0] == subscribed, "{}", heard[0]);
    let row = json!({
        "base": "BTC", "quote": "USD", "price": "1.5", "used": 1, "spread_across_venues": null,
        "rule": "lower_median", "as_of": "1970-01-01T00:00:00.000Z",
        "event_time": "1970-01-01T00:00:00.000Z",
        "members": [{
            "exchange": "here", "price": "1.5", "event_time": "1970-01-01T00:00:00.000Z",
            "age_ms": 0, "used": true, "unused_because": null,
        }],
    });
    ensure!(rows(&heard[1]) == [row], "{heard:?}");
    world.stores[Channel::Index.index()].commit(std::iter::once((&key("BTC", "USD")[..], None)));
    let told = world.hub.queries.changes().clone();
    let gone = vec![(key("BTC", "USD"), None)];
    told.publish_changes(Channel::Index.store(), 0, Some(Offset(9)), gone);
    world.tick()?;
    let deleted = json!({ "base": "BTC", "quote": "USD", "deleted": true });
    let heard = client.all()?;
    ensure!(rows(&heard[0]) == [deleted], "{heard:?}");
    Ok(())
}

#[test]
fn a_client_of_the_index_resumes_with_what_it_missed() -> Result<()> {
    let mut world = World::new()?;
    let mut first = world.join(1, QUEUE);
    world.subscribe(1, 1, INDEX)?;
    world.index("BTC", "USD", "1")?;
    world.tick()?;
    let heard = first.all()?;
    let token = heard.last().and_then(|update| update["resume"].as_str()).context("a token")?;
    world.index("BTC", "EUR", "2")?;
    world.index("ETH", "EUR", "3")?;
    world.tick()?;
    let mut again = world.join(2, QUEUE);
    world.subscribe(2, 1, &format!(r#"{INDEX},"quote":"EUR","base":"ETH","resume":"{token}""#))?;
    let told = again.all()?;
    ensure!(kinds(&told) == ["subscribed", "resumed"], "{told:?}");
    ensure!(indexes(&told[1]) == named(&[("ETH-EUR", "3")]), "{told:?}");
    Ok(())
}

#[test]
fn a_snapshot_of_every_pair_is_cut_where_it_would_not_fit_a_client() -> Result<()> {
    let mut world = World::new()?;
    for pair in 0..=Channel::Index.max_rows() {
        world.index(&format!("B{pair}"), "USD", "1")?;
    }
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, INDEX)?;
    let heard = client.all()?;
    let count: usize = heard[1..].iter().map(|part| rows(part).len()).sum();
    ensure!(count == Channel::Index.max_rows(), "{count}");
    Ok(())
}
