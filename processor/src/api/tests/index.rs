//! Reads of the consolidated price: members, pages, formats and refusals.

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_ipc::reader::StreamReader;
use schemas::topic::Topic;
use schemas::{Decimal, Index, IndexKey, IndexMember, Timestamp};
use serde_json::Value;

use super::world::{NOW, Outcome, World, get, small};
use crate::store_keys;

const CSV: [(&str, &str); 1] = [("accept", "text/csv")];

fn put(world: &World, partition: usize, (base, quote): (&str, &str), prices: &[&str]) -> Outcome {
    let exchanges = ["binance", "coinbase", "kraken"];
    let member = |(exchange, price): (&str, &&str)| -> Outcome<IndexMember> {
        let is_stale = exchange == "kraken";
        Ok(IndexMember {
            exchange: exchange.into(),
            price: price.parse()?,
            event_time: Timestamp(NOW.0 - if is_stale { 70_000 } else { 500 }),
            age_ms: if is_stale { 70_000 } else { 500 },
            used: !is_stale,
            unused_because: is_stale.then(|| Index::STALE.into()),
        })
    };
    let members = exchanges.into_iter().zip(prices).map(member).collect::<Outcome<Vec<_>>>()?;
    let index = Index {
        price: members.first().map(|one| one.price),
        used: i64::try_from(members.iter().filter(|one| one.used).count())?,
        spread_across_venues: Some(Decimal::ONE),
        rule: Index::LOWER_MEDIAN.into(),
        members,
        as_of: NOW,
        event_time: Timestamp(NOW.0 - 500),
    };
    let key = store_keys::body(&IndexKey::new(base, quote));
    world.put_in(partition, Topic::Index, &key, &index);
    Ok(())
}

/// Three pairs in two partitions.
pub(super) fn fill(world: &World) -> Outcome {
    put(world, 0, ("BTC", "USD"), &["100", "101", "90"])?;
    put(world, 1, ("BTC", "EUR"), &["95"])?;
    put(world, 1, ("BTCX", "USD"), &["1"])
}

fn names(page: &Value) -> Vec<String> {
    let rows = page["indexes"].as_array().cloned().unwrap_or_default();
    let name = |row: &Value| format!("{}-{}", row["base"], row["quote"]).replace('"', "");
    rows.iter().map(name).collect()
}

#[tokio::test]
async fn a_pair_has_one_price_and_its_members_with_the_reason_why_one_does_not_count() -> Outcome {
    let world = small()?;
    let page = get(&world.routes(), "/v1/index?base=BTC&quote=USD", &[]).await?.json();
    assert_eq!(names(&page), ["BTC-USD"]);
    let row = &page["indexes"][0];
    assert_eq!((&row["price"], &row["used"]), (&"100".into(), &2.into()));
    assert_eq!((&row["rule"], &row["spread_across_venues"]), (&"lower_median".into(), &"1".into()));
    assert_eq!(row["members"][2]["exchange"], "kraken");
    assert_eq!(row["members"][2]["unused_because"], "stale");
    assert_eq!(row["members"][0]["unused_because"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn pairs_come_in_order_over_partitions_and_pages() -> Outcome {
    let world = small()?;
    let service = world.routes();
    let all = get(&service, "/v1/index", &[]).await?.json();
    assert_eq!(names(&all), ["BTC-EUR", "BTC-USD", "BTCX-USD"]);
    let one = get(&service, "/v1/index?base=BTC", &[]).await?.json();
    assert_eq!(names(&one), ["BTC-EUR", "BTC-USD"], "a base is not a prefix");
    let first = get(&service, "/v1/index?limit=2", &[]).await?.json();
    assert_eq!(names(&first), ["BTC-EUR", "BTC-USD"]);
    let cursor = first["next_cursor"].as_str().ok_or("a next page")?;
    let rest = get(&service, &format!("/v1/index?limit=2&cursor={cursor}"), &[]).await?.json();
    assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["BTCX-USD".into()], &Value::Null));
    Ok(())
}

#[tokio::test]
async fn csv_has_a_line_for_each_member() -> Outcome {
    let world = small()?;
    let text = get(&world.routes(), "/v1/index?base=BTC&quote=USD", &CSV).await?.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("base,quote,price,spread_across_venues,as_of,exchange"), "{text}");
    assert!(lines[3].starts_with("BTC,USD,100,1,") && lines[3].ends_with(",stale"), "{text}");
    Ok(())
}

#[tokio::test]
async fn arrow_has_the_fields_and_exact_values_of_csv() -> Outcome {
    let world = small()?;
    let headers = [("accept", "application/vnd.apache.arrow.stream")];
    let answer = get(&world.routes(), "/v1/index?base=BTC&quote=USD", &headers).await?;
    assert_eq!(answer.header("content-type"), Some("application/vnd.apache.arrow.stream"));
    let batch = StreamReader::try_new(&answer.body[..], None)?.next().ok_or("no batch")??;
    let csv = get(&world.routes(), "/v1/index?base=BTC&quote=USD", &CSV).await?.text();
    let names: Vec<String> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(csv.lines().next(), Some(names.join(",").as_str()));
    assert_eq!(batch.num_rows(), 3);
    let column = |name: &str| batch.column_by_name(name).ok_or(format!("no {name}"));
    let prices = column("member_price")?.as_primitive::<Decimal128Type>();
    let expected = ["100", "101", "90"].map(|price| price.parse::<Decimal>().map(Decimal::units));
    assert_eq!(prices.iter().flatten().collect::<Vec<_>>(), expected.map(Result::unwrap));
    let used: Vec<_> = column("used")?.as_boolean().iter().collect();
    assert_eq!(used, [Some(true), Some(true), Some(false)]);
    let reasons: Vec<_> = column("unused_because")?.as_string::<i32>().iter().collect();
    assert_eq!(reasons, [None, None, Some("stale")]);
    Ok(())
}

#[tokio::test]
async fn a_pair_that_is_not_here_is_refused_with_the_way_to_those_that_are() -> Outcome {
    let mut world = small()?;
    let absent = get(&world.routes(), "/v1/index?base=NONE", &[]).await?;
    assert_eq!(absent.status, 404);
    assert!(absent.text().contains("NONE-*"), "it is named");
    world.forget(Topic::Index);
    let nowhere = get(&world.routes(), "/v1/index", &[]).await?;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.text().contains("--topologies"), "the way out is named");
    Ok(())
}
