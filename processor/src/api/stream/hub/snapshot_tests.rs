//! The hub while snapshots are read beside its turns, and while it is short of time or memory.

use super::*;

#[test]
fn a_snapshot_is_read_beside_the_ticks_and_nothing_is_missing_in_between() -> Result<()> {
    let mut world = World::new()?;
    world.price("BTC", "1", 1)?;
    let mut listener = world.join(1, QUEUE);
    world.subscribe(1, 1, LATEST)?;
    listener.all()?;
    let mut client = world.join(2, QUEUE);
    world.ask(2, 7, LATEST)?;
    let job = world.job().context("a job")?;
    world.price("ETH", "5", 1)?;
    world.end_tick();
    ensure!(kinds(&listener.all()?) == ["update"], "others get updates meanwhile");
    let done = job.run(&world.hub.budget);
    // It was read before this is said.
    world.price("BTC", "2", 2)?;
    world.end_tick();
    world.price("SOL", "3", 2)?;
    ensure!(client.all()?.is_empty(), "it hears nothing before the beginning");
    world.done(done)?;
    world.tick()?;

    let heard = client.all()?;
    let of = kinds(&heard);
    ensure!(of == ["subscribed", "snapshot", "snapshot", "update"], "{heard:?}");
    let told: Vec<_> = heard[1..3].iter().flat_map(prices).collect();
    ensure!(told.contains(&("BTC", "1")), "it was read before: {told:?}");
    ensure!(prices(&heard[2]) == [("BTC", "2"), ("ETH", "5")], "the newer row is later: {told:?}");
    ensure!(prices(&heard[3]) == [("SOL", "3")], "{heard:?}");
    let sequence = heard[0]["sequence"].as_u64().context("a sequence")?;
    ensure!(heard[2]["sequence"] == sequence && heard[3]["sequence"] == sequence + 1, "{heard:?}");

    // Its token stands for all of it, and for nothing later.
    ensure!(heard[1]["resume"].is_null(), "not before all is said: {heard:?}");
    let token = heard[2]["resume"].as_str().context("a token")?;
    let mut again = world.join(3, QUEUE);
    world.subscribe(3, 1, &format!("{LATEST},\"resume\":\"{token}\""))?;
    let heard = again.all()?;
    ensure!(kinds(&heard) == ["subscribed", "resumed"], "{heard:?}");
    ensure!(prices(&heard[1]) == [("SOL", "3")], "{heard:?}");
    Ok(())
}

#[test]
fn a_token_of_a_heartbeat_is_given_to_nobody_who_waits() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.ask(1, 1, LATEST)?;
    let job = world.job().context("a job")?;
    world.due_heartbeat()?;
    world.end_tick();
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["heartbeat"] && heard[0]["channels"] == json!([]), "{heard:?}");
    let done = job.run(&world.hub.budget);
    world.done(done)?;
    world.due_heartbeat()?;
    world.end_tick();
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot", "heartbeat"], "{heard:?}");
    ensure!(heard[2]["channels"][0]["resume"].is_string(), "{heard:?}");
    Ok(())
}

#[test]
fn what_was_read_of_a_partition_that_moved_meanwhile_is_read_again() -> Result<()> {
    let mut world = World::new()?;
    world.price("BTC", "1", 1)?;
    let mut client = world.join(1, QUEUE);
    world.ask(1, 1, LATEST)?;
    let job = world.job().context("a job")?;
    let done = job.run(&world.hub.budget);
    let other = Arc::new(Committed::new(Box::new(MemoryStore::default())));
    world.hub.queries.add(Channel::Latest.store(), 0, other);
    world.end_tick();
    world.done(done)?;
    ensure!(client.all()?.is_empty(), "what is here no more was told");
    world.scan()?;
    let heard = client.all()?;
    ensure!(kinds(&heard) == ["subscribed", "snapshot"], "{heard:?}");
    ensure!(prices(&heard[1]).is_empty(), "{heard:?}");
    Ok(())
}

#[test]
fn who_asks_for_much_waits_behind_who_asks_for_little() -> Result<()> {
    let mut world = World::new()?;
    for pair in 0..50 {
        world.price(&pair.to_string(), "1", 1)?;
    }
    let mut greedy = world.join(1, 2 * QUEUE);
    for id in 0..u32::try_from(MAX_SUBSCRIPTIONS)? {
        world.ask(1, id, &format!("{LATEST},\"exchange\":\"{id}\""))?;
    }
    let first = world.job().context("a job")?;
    ensure!(world.job().is_some(), "one is read and one waits");
    ensure!(world.job().is_none(), "no more is taken on than can be read");
    let mut modest = world.join(2, QUEUE);
    world.ask(2, 1, LATEST)?;
    let done = first.run(&world.hub.budget);
    world.done(done)?;
    let next = world.job().context("a job")?;
    let done = next.run(&world.hub.budget);
    world.done(done)?;
    ensure!(kinds(&modest.all()?) == ["subscribed", "snapshot"]);
    ensure!(greedy.all()?.len() == 2, "one of its own");
    ensure!(world.hub.metrics.scanned.get() == 100);
    Ok(())
}

#[test]
fn a_client_whose_questions_looked_at_too_many_rows_waits_for_time_to_pass() -> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, LATEST)?;
    world.hub.scans.charge(1, usize::MAX / 2);
    world.ask(1, 2, LATEST)?;
    ensure!(world.job().is_none(), "it owes too much");
    world.hub.scans.charge(1, 0);
    world.scan()?;
    ensure!(kinds(&client.all()?).len() == 4);
    world.hub.scans.charge(1, 1_000_000);
    world.ask(1, 3, LATEST)?;
    ensure!(world.job().is_none());
    world.end_tick();
    ensure!(world.job().is_some(), "some of it is forgiven each tick");
    Ok(())
}

#[test]
fn a_tick_without_time_leaves_the_rest_to_the_next_one_and_its_token_does_not_claim_it()
-> Result<()> {
    let mut world = World::new()?;
    let mut client = world.join(1, QUEUE);
    world.subscribe(1, 1, LATEST)?;
    client.all()?;
    world.hub.patience = Duration::ZERO;
    for pair in 0..LOOK + 10 {
        world.price(&format!("{pair:03}"), "1", 1)?;
    }
    world.end_tick();
    let heard = client.all()?;
    ensure!(heard.len() == 1 && prices(&heard[0]).len() == LOOK, "{heard:?}");
    ensure!(world.hub.metrics.backlog.get() == 10);
    ensure!(world.hub.changes.offsets(Channel::Latest).is_empty(), "an offset claims the rest");
    let token = heard[0]["resume"].as_str().context("a token")?.to_owned();
    // A key that changes again keeps its place, with its newest value.
    world.price("000", "2", 2)?;
    world.price(&format!("{LOOK:03}"), "2", 2)?;
    world.end_tick();
    let heard = client.all()?;
    ensure!(prices(&heard[0]).len() == 11, "{heard:?}");
    ensure!(prices(&heard[0]).iter().filter(|(_, price)| *price == "2").count() == 2);
    ensure!(world.hub.changes.offsets(Channel::Latest).len() == 1);
    let mut again = world.join(2, QUEUE);
    world.subscribe(2, 1, &format!("{LATEST},\"resume\":\"{token}\""))?;
    ensure!(prices(&again.all()?[1]).len() == 11);
    Ok(())
}

#[test]
fn beyond_the_memory_of_readers_the_slowest_is_sent_away() -> Result<()> {
    let mut world = World::with_memory(20_000)?;
    let (mut slow, mut quick) = (world.join(1, QUEUE), world.join(2, QUEUE));
    world.subscribe(1, 1, LATEST)?;
    world.subscribe(2, 1, LATEST)?;
    for time in 1.. {
        ensure!(time < 1_000, "nobody was sent away");
        world.price("BTC", &time.to_string(), time)?;
        world.tick()?;
        quick.all()?;
        if let Ok(end) = slow.end.try_recv() {
            ensure!(end == CloseReason::Memory && world.hub.budget.held() > 19_000, "{end:?}");
            break;
        }
    }
    drop(slow);
    ensure!(world.hub.budget.held() == 0, "{}", world.hub.budget.held());
    world.price("BTC", "7", 9_999)?;
    world.tick()?;
    ensure!(quick.end.try_recv().is_err() && kinds(&quick.all()?) == ["update"]);
    ensure!(world.hub.metrics.dropped.with_label_values(&["memory"]).get() == 1);
    Ok(())
}
