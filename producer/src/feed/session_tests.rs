//! A conversation step by step, at times that the test says.

use super::*;
use venues::Message;

const TIMEOUTS: Timeouts =
    Timeouts { stale_after: Duration::from_secs(9), quiet_after: Duration::from_mins(5) };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn session(venue: Venue, products: &[&str]) -> Session {
    let products: Vec<String> = products.iter().map(|&name| name.to_owned()).collect();
    following(venue, &products, Follow::default())
}

fn following(venue: Venue, products: &[String], follow: Follow) -> Session {
    let streams = venue.streams(products, follow);
    let mut session = Session::new(venue, &streams, follow, TIMEOUTS, seconds(0));
    assert_eq!(session.due(seconds(0)), Some(Due::Ping));
    session
}

fn streams(venue: Venue, product: &str) -> Vec<String> {
    venue.streams(&[product.to_owned()], Follow::default())
}

fn expected(venue: Venue, streams: &[String]) -> Vec<Subscription> {
    (venue.adapter().subscriptions.expected)(streams, Follow::default())
}

/// Sends everything that waits, without delay.
fn send_all(session: &mut Session, now: Duration) -> Vec<String> {
    let mut sent = Vec::new();
    while session.wants_slot() {
        session.take_slot(now);
        match session.due(now) {
            Some(Due::Send(text)) => sent.push(text),
            other => panic!("{other:?}"),
        }
    }
    sent
}

#[test]
fn it_is_complete_when_everything_is_granted_and_not_before() {
    let mut session = session(Venue::Binance, &["BTCUSDT"]);
    assert_eq!(send_all(&mut session, seconds(0)).len(), 2);
    let mut granted = expected(Venue::Binance, &streams(Venue::Binance, "BTCUSDT"));
    let last = granted.split_off(1);
    assert_eq!(session.accept(Control::Subscribed(granted), seconds(0)), Outcome::Go);
    assert!(!session.is_complete());
    assert_eq!(session.accept(Control::Subscribed(last), seconds(0)), Outcome::Complete);
    assert!(session.is_complete());
    assert_eq!(session.granted(), 2);
}

#[test]
fn what_is_not_granted_in_time_is_named() {
    let mut session = session(Venue::Deribit, &["BTC-PERPETUAL", "BTC-1JAN21"]);
    send_all(&mut session, seconds(0));
    let one = expected(Venue::Deribit, &streams(Venue::Deribit, "BTC-PERPETUAL"));
    session.accept(Control::Subscribed(one), seconds(1));
    session.frame(true, seconds(8));
    let mut due = Vec::new();
    while let Some(next) = session.due(seconds(10)) {
        due.push(next);
    }
    let missing = expected(Venue::Deribit, &streams(Venue::Deribit, "BTC-1JAN21"));
    assert_eq!(due[0], Due::Unanswered(missing));
    assert!(session.is_complete() && session.granted() == 2);
}

#[test]
fn what_is_rejected_by_name_is_not_waited_for() -> anyhow::Result<()> {
    let mut session = session(Venue::Kraken, &["BTC/USD", "FOO/USD"]);
    send_all(&mut session, seconds(0));
    let granted = expected(Venue::Kraken, &streams(Venue::Kraken, "BTC/USD"));
    assert_eq!(session.accept(Control::Subscribed(granted), seconds(0)), Outcome::Go);
    let pair = Some(Venue::Kraken.pair("FOO/USD")?);
    let rejected = Control::Rejected { reason: "no FOO".into(), pair };
    assert_eq!(session.accept(rejected, seconds(0)), Outcome::Rejected("no FOO".into()));
    assert!(session.is_complete());
    Ok(())
}

#[test]
fn what_was_asked_too_fast_is_asked_again_after_the_wait() {
    let mut session = session(Venue::Deribit, &["BTC-PERPETUAL"]);
    let sent = send_all(&mut session, seconds(0));
    let refused = Control::RetryAfter { id: Some(2), reason: "10028".into(), wait: seconds(1) };
    assert_eq!(session.accept(refused, seconds(0)), Outcome::Go);
    assert_eq!(session.next_due(), seconds(1));
    assert_eq!(session.due(seconds(1)), Some(Due::Send(sent[1].clone())));
    let keepalive = Control::RetryAfter { id: Some(0), reason: String::new(), wait: seconds(5) };
    assert_eq!(session.accept(keepalive, seconds(1)), Outcome::Go);
    let maintenance = Control::RetryAfter { id: None, reason: String::new(), wait: seconds(5) };
    assert_eq!(session.accept(maintenance, seconds(2)), Outcome::Limited(seconds(5)));
}

#[test]
fn silence_is_stale_and_a_ping_breaks_it_only_where_nothing_else_may_come() {
    for (venue, product, stale) in
        [(Venue::Coinbase, "BTC-USD", true), (Venue::Binance, "BTCUSDT", false)]
    {
        let mut session = session(venue, &[product]);
        send_all(&mut session, seconds(0));
        session.frame(false, seconds(8));
        let due = session.due(seconds(9));
        assert_eq!(due == Some(Due::Stale), stale, "{venue}: {due:?}");
    }
}

#[test]
fn a_class_that_falls_silent_is_noticed_although_the_others_speak() {
    let mut session = session(Venue::Deribit, &["BTC-PERPETUAL"]);
    session.event(Class::Option, seconds(1));
    for second in (0..=301).step_by(3) {
        session.event(Class::Perpetual, seconds(second));
        session.frame(true, seconds(second));
    }
    assert_eq!(session.due(seconds(301)), Some(Due::Quiet(Class::Option)));
}

#[test]
fn a_keep_alive_is_sent_over_and_over() {
    let mut session = session(Venue::Kraken, &["BTC/USD"]);
    let mut sent = 0;
    for second in 1..=10 {
        session.frame(true, seconds(second));
        while let Some(due) = session.due(seconds(second)) {
            sent += u32::from(due == Due::Send(r#"{"method":"ping"}"#.into()));
        }
    }
    assert_eq!(sent, 5);
}

#[test]
fn a_question_of_the_venue_is_answered_at_once() -> anyhow::Result<()> {
    let mut session = session(Venue::Deribit, &["BTC-PERPETUAL"]);
    let asked = r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#;
    let mut out = Vec::new();
    Venue::Deribit.parse(asked, schemas::Timestamp(0), &mut out)?;
    let Message::Control(Control::Reply(text)) = out.remove(0).message else {
        anyhow::bail!("not a question")
    };
    assert!(text.contains("public/test"));
    assert_eq!(session.accept(Control::Reply(text), seconds(0)), Outcome::Send(text));
    Ok(())
}

/// A session of one product with every channel, whose subscriptions are granted.
fn with_books(venue: Venue, product: &str) -> Session {
    let products = [product.to_owned()];
    let mut session = following(venue, &products, Follow::ALL);
    send_all(&mut session, seconds(0));
    let streams = venue.streams(&products, Follow::ALL);
    let granted = (venue.adapter().subscriptions.expected)(&streams, Follow::ALL);
    assert_eq!(session.accept(Control::Subscribed(granted), seconds(0)), Outcome::Complete);
    session
}

#[test]
fn a_book_is_subscribed_again_alone_and_nothing_else_is_waited_for() -> anyhow::Result<()> {
    for (venue, product, words) in [
        (Venue::Coinbase, "BTC-USD", "level2_batch"),
        (Venue::Kraken, "BTC/USD", r#""channel":"book""#),
        (Venue::Deribit, "BTC-PERPETUAL", "book.BTC-PERPETUAL.100ms"),
    ] {
        let mut session = with_books(venue, product);
        session.resubscribe(&venue.pair(product)?);
        let sent = send_all(&mut session, seconds(1));
        assert!(sent.len() == 2 && sent.iter().all(|text| text.contains(words)), "{sent:?}");
        assert!(sent[0].contains("unsubscribe") && !sent[1].contains("unsubscribe"), "{sent:?}");
        let others = ["trade", "match", "ticker"];
        assert!(!others.iter().any(|other| sent.concat().contains(other)), "{sent:?}");
        session.frame(true, seconds(12));
        while let Some(due) = session.due(seconds(12)) {
            assert!(!matches!(due, Due::Unanswered(_)), "{venue}: {due:?}");
        }
        assert!(session.is_complete());
    }
    Ok(())
}

#[test]
fn a_refused_channel_of_books_is_followed_in_the_one_that_is_offered() -> anyhow::Result<()> {
    let venue = Venue::Coinbase;
    let products = ["BTC-USD".to_owned()];
    let mut session = following(venue, &products, Follow::ALL);
    assert!(send_all(&mut session, seconds(0)).concat().contains("level2_batch"));
    let refused = r#"{"type":"error","message":"Failed to subscribe","reason":"level2_batch requires authentication"}"#;
    let mut out = Vec::new();
    venue.parse(refused, schemas::Timestamp(0), &mut out)?;
    let Message::Control(control) = out.remove(0).message else { anyhow::bail!("no control") };
    let Outcome::OnlyDepth(depth, _) = session.accept(control, seconds(0)) else {
        anyhow::bail!("it is refused for good")
    };
    let streams = venue.streams(&products, Follow::ALL);
    let books: Vec<_> = streams
        .iter()
        .filter(|stream| (venue.adapter().books.pair_of_stream)(stream).is_some())
        .cloned()
        .collect();
    session.change_depth(&books, depth);
    let sent = send_all(&mut session, seconds(1)).concat();
    assert!(sent.contains("level2_50") && !sent.contains("level2_batch"), "{sent}");
    let follow = Follow { depth: Some(depth), ..Follow::ALL };
    let granted = (venue.adapter().subscriptions.expected)(&streams, follow);
    assert_eq!(session.accept(Control::Subscribed(granted), seconds(1)), Outcome::Complete);
    Ok(())
}
