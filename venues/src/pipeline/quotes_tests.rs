//! Quotes, books and marks of frames, and the requests that they give.

use schemas::{FeedMark, PairKey, Part, Timestamp};

use super::super::{Count, Output, Pipeline, Produced};
use crate::channel::{Channels, Follow};
use crate::message::Control;
use crate::venue::Venue;

/// 16:30:00, in milliseconds: the times of frames count from here.
pub(super) const START: i64 = 1_618_677_000_000;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp(START + millis)
}

fn pair(base: &str) -> PairKey {
    PairKey::new(base, "USD", "coinbase")
}

pub(super) fn pipeline(venue: Venue) -> Pipeline {
    Pipeline::new(venue, format!("{venue}-0"), Follow::ALL)
}

/// A frame with all levels of a pair: one bid and one ask.
pub(super) fn snapshot(base: &str, bid: &str, ask: &str) -> String {
    format!(
        r#"{{"type":"snapshot","product_id":"{base}-USD","bids":[["{bid}","1"]],"asks":[["{ask}","1"]]}}"#
    )
}

/// A frame that changes a level, at a time of the venue.
pub(super) fn update(base: &str, millis: i64, side: &str, price: &str, size: &str) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!(
        r#"{{"type":"l2update","product_id":"{base}-USD","time":"2021-04-17T16:30:{seconds:02}.{millis:03}Z","changes":[["{side}","{price}","{size}"]]}}"#
    )
}

/// A short form of outputs. Times are those since the start.
fn shown(outputs: &[Output]) -> Vec<String> {
    let since = |time: Option<Timestamp>| time.map_or(0, |time| time.0 - START);
    let price = |price: Option<schemas::Decimal>| price.map_or("-".into(), |one| one.to_string());
    let one = |output: &Output| match output {
        Output::Quote { pair, quote } => {
            format!("quote {} {} {}", pair.base, price(quote.bid), price(quote.ask))
        }
        Output::Book { pair, book } => {
            format!("book {} {}", pair.base, since(Some(book.received_at)))
        }
        Output::BookMark { pair, mark } if mark.change.is_some() => format!("ended {}", pair.base),
        Output::BookMark { pair, mark } if mark.gap_from.is_some() => {
            let (from, until) = (since(mark.gap_from), since(mark.gap_until));
            format!("gap {} {} {from} {until}", pair.base, mark.reason)
        }
        Output::BookMark { pair, mark } if mark.healthy_from.is_some() => {
            format!("carried {} {}", pair.base, since(mark.healthy_from))
        }
        Output::BookMark { pair, mark } => {
            format!("lost {} {} {}", pair.base, mark.reason, since(Some(mark.healthy_until)))
        }
        Output::BookClock { .. } => "book clock".into(),
        Output::Mark { .. } => "clock".into(),
        Output::DeadLetter(letter) => format!("dead {}", letter.reason),
        other => format!("{other:?}"),
    };
    outputs.iter().map(one).collect()
}

/// A pipeline, its outputs and its controls.
pub(super) struct Bench {
    pub(super) pipeline: Pipeline,
    pub(super) out: Produced,
    controls: Vec<Control>,
}

impl Bench {
    pub(super) fn new(pipeline: Pipeline) -> Self {
        Self { pipeline, out: Produced::default(), controls: Vec::new() }
    }

    pub(super) fn frame(&mut self, received: i64, text: &str) {
        self.controls.extend(self.pipeline.frame(text, at(received), &mut self.out));
    }

    /// What came since the last call.
    pub(super) fn shown(&mut self) -> Vec<String> {
        self.out.counts.clear();
        shown(&std::mem::take(&mut self.out.outputs))
    }

    fn controls(&mut self) -> Vec<Control> {
        std::mem::take(&mut self.controls)
    }
}

/// BTC and ETH of Coinbase in sync.
pub(super) fn in_sync() -> Bench {
    let mut bench = Bench::new(pipeline(Venue::Coinbase));
    bench.frame(0, &snapshot("BTC", "99", "101"));
    bench.frame(0, &snapshot("ETH", "9", "11"));
    let expected = ["quote BTC 99 101", "book BTC 0", "quote ETH 9 11", "book ETH 0"];
    assert_eq!(bench.shown(), expected);
    bench
}

#[test]
fn a_changed_best_is_a_quote_and_levels_come_once_a_second() {
    let mut bench = in_sync();
    bench.frame(300, &update("BTC", 200, "buy", "98", "1"));
    assert_eq!(bench.shown(), [""; 0], "the best is the same");
    bench.frame(400, &update("BTC", 300, "buy", "100", "1"));
    bench.frame(900, &update("BTC", 800, "buy", "100", "2"));
    assert_eq!(bench.shown(), ["quote BTC 100 101", "quote BTC 100 101"], "a size is a change");
    // Any frame lets the newest levels out, a second after the last ones.
    bench.frame(999, r#"{"type":"status"}"#);
    assert_eq!(bench.shown(), [""; 0]);
    bench.frame(1_000, r#"{"type":"status"}"#);
    let [Output::Book { book, .. }] = &bench.out.outputs[..] else { panic!("{:?}", bench.out) };
    assert_eq!((book.bids.len(), book.event_time, book.received_at), (3, at(800), at(1_000)));
    assert_eq!(bench.shown(), ["book BTC 1000"]);
    bench.frame(5_000, r#"{"type":"status"}"#);
    assert_eq!(bench.shown(), [""; 0], "the same levels are not repeated");
    bench.frame(5_001, &update("BTC", 5_000, "buy", "97", "1"));
    assert_eq!(bench.shown(), ["book BTC 5001"], "nothing came for more than a second");
}

#[test]
fn a_quote_has_the_times_of_its_frame() {
    let mut bench = in_sync();
    bench.frame(250, &update("BTC", 200, "sell", "101", "0.00"));
    let [Output::Quote { quote, .. }] = bench.out.outputs[..] else { panic!("{:?}", bench.out) };
    assert_eq!((quote.event_time, quote.received_at), (at(200), at(250)));
    assert_eq!((quote.ask, quote.ask_size), (None, None), "an empty side");
    assert_eq!(quote.sequence, None);
}

#[test]
fn a_lost_connection_has_one_gap_before_the_quote_that_ends_it() {
    let mut bench = in_sync();
    bench.frame(210, &update("BTC", 200, "buy", "98", "1"));
    bench.pipeline.disconnected(at(500), &mut bench.out);
    assert_eq!(bench.shown(), ["lost BTC DISCONNECTED 200", "lost ETH DISCONNECTED 0"]);
    bench.frame(600, &update("BTC", 550, "buy", "100", "1"));
    bench.pipeline.disconnected(at(700), &mut bench.out);
    assert_eq!(bench.shown(), [""; 0], "no quote, and no second mark");
    bench.frame(800, &snapshot("BTC", "99", "101"));
    // The levels came less than a second after the last ones: the book is in sync again.
    let expected = ["gap BTC DISCONNECTED 200 800", "quote BTC 99 101", "book BTC 800"];
    assert_eq!(bench.shown(), expected);
    bench.frame(1_790, &update("BTC", 1_790, "buy", "99.5", "1"));
    assert_eq!(bench.shown(), ["quote BTC 99.5 101"]);
    bench.frame(1_800, r#"{"type":"status"}"#);
    assert_eq!(bench.shown(), ["book BTC 1800"]);
    assert_eq!(bench.controls(), [], "a new connection sends snapshots unasked");
    bench.pipeline.finish(&mut bench.out);
    assert_eq!(bench.shown(), ["gap ETH DISCONNECTED 0 1800"], "up to the last receipt");
}

#[test]
fn a_quote_is_never_earlier_than_the_end_of_its_gap() {
    let mut bench = in_sync();
    bench.frame(300, &update("BTC", 5_000, "buy", "98", "1"));
    bench.frame(400, &update("BTC", 5_100, "buy", "102", "1"));
    // The snapshot has no time, and our clock is behind the venue's.
    bench.frame(500, &snapshot("BTC", "99", "101"));
    let gap = ["lost BTC CROSSED 5000", "gap BTC CROSSED 5000 5001", "quote BTC 99 101"];
    assert_eq!(bench.out.outputs.len(), 4);
    let Output::Quote { quote, .. } = bench.out.outputs[2] else { panic!("{:?}", bench.out) };
    assert_eq!(quote.event_time, at(5_001));
    assert_eq!(bench.shown()[..3], gap);
}

/// A malformed frame of BTC, and the reason.
const BAD: [(&str, &str); 9] = [
    (r#""snapshot","bids":[["1","1"],["2","1"]],"asks":[]"#, "bad_order"),
    (r#""snapshot","bids":[["2","1"],["2","1"]],"asks":[]"#, "bad_order"),
    (r#""snapshot","bids":[],"asks":[["2","1"],["1","1"]]"#, "bad_order"),
    (r#""snapshot","bids":[["2","-1"]],"asks":[]"#, "bad_field"),
    (r#""snapshot","bids":[["two","1"]],"asks":[]"#, "bad_field"),
    (r#""snapshot","bids":[]"#, "missing_field"),
    (r#""l2update","time":"2021-04-17T16:30:01Z","changes":[["buy","1"]]"#, "bad_field"),
    (r#""l2update","time":"2021-04-17T16:30:01Z","changes":[["hold","1","1"]]"#, "bad_field"),
    (r#""l2update","time":"today","changes":[["buy","1","1"]]"#, "bad_field"),
];

#[test]
fn a_frame_that_cannot_be_read_costs_the_sync_of_its_pair_alone() {
    for (content, reason) in BAD {
        let mut bench = in_sync();
        bench.frame(100, &format!(r#"{{"product_id":"BTC-USD","type":{content}}}"#));
        assert_eq!(bench.shown(), ["lost BTC SEQUENCE_GAP 0".into(), format!("dead {reason}")]);
        let controls = bench.controls();
        assert!(
            matches!(&controls[..], [Control::Resync { pair, .. }] if *pair == self::pair("BTC"))
        );
        bench.frame(200, &update("BTC", 200, "buy", "100", "1"));
        bench.frame(200, &update("ETH", 200, "buy", "10", "1"));
        assert_eq!(bench.shown(), ["quote ETH 10 11"], "{content}");
        assert_eq!(bench.controls(), [], "the snapshot is asked for once");
    }
}

#[test]
fn a_first_snapshot_that_cannot_be_read_is_asked_for_again() {
    let mut bench = Bench::new(pipeline(Venue::Coinbase));
    bench.frame(100, &snapshot("BTC", "x", "101"));
    assert_eq!(bench.shown(), ["dead bad_field"], "there was no sync to lose");
    assert!(matches!(&bench.controls()[..], [Control::Resync { .. }]));
}

#[test]
fn a_frame_of_too_many_levels_is_refused() {
    let mut bench = in_sync();
    let levels = "[1,1],".repeat(1_000_000);
    let text =
        format!(r#"{{"type":"snapshot","product_id":"BTC-USD","bids":[{levels}[1,1]],"asks":[]}}"#);
    bench.frame(100, &text);
    assert_eq!(bench.shown(), ["lost BTC SEQUENCE_GAP 0", "dead too_many_levels"]);
}

#[test]
fn a_product_that_is_not_followed_is_refused() {
    let streams = Venue::Coinbase.streams(&["BTC-USD".into()], Follow::ALL);
    let mut bench = Bench::new(pipeline(Venue::Coinbase).carrying(&streams));
    bench.frame(0, &snapshot("ETH", "9", "11"));
    assert_eq!(bench.shown(), ["dead other_product"]);
    bench.pipeline.carry(&Venue::Coinbase.streams(&["ETH-USD".into()], Follow::ALL));
    bench.frame(0, &snapshot("ETH", "9", "11"));
    assert_eq!(bench.shown(), ["quote ETH 9 11", "book ETH 0"]);
    for (venue, text) in [
        (
            Venue::Binance,
            r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"ETHUSDT","U":1,"u":2,"b":[],"a":[]}}"#,
        ),
        (
            Venue::Deribit,
            r#"{"method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"snapshot","timestamp":1,"instrument_name":"ETH-PERPETUAL","change_id":1,"bids":[],"asks":[]}}}"#,
        ),
    ] {
        let mut bench = Bench::new(pipeline(venue));
        bench.frame(0, text);
        assert_eq!(bench.shown(), ["dead other_product"]);
        let controls = bench.controls();
        let [Control::Resync { pair, .. }] = &controls[..] else { panic!("{controls:?}") };
        assert!(pair.base.starts_with("BTC"), "the channel's own product has lost a frame");
    }
}

#[test]
fn books_that_are_not_followed_cost_nothing() {
    let mut bench = Bench::new(Pipeline::new(Venue::Coinbase, "coinbase-0", Follow::default()));
    bench.frame(0, &snapshot("BTC", "x", "101"));
    assert_eq!(bench.shown(), [""; 0]);
    bench.frame(0, &snapshot("BTC", "99", "101"));
    assert_eq!(bench.out.counts.len(), 2, "received and ignored");
    assert_eq!(bench.shown(), [""; 0]);
    let mut bench = in_sync();
    bench.frame(0, &update("BTC", 0, "buy", "1", "1"));
    assert_eq!(bench.out.counts, [Count::Received("l2update"), Count::BookFrame], "not ignored");
}

#[test]
fn one_of_several_says_once_which_books_it_carries() {
    let mut bench = Bench::new(pipeline(Venue::Coinbase).one_of_several());
    bench.frame(50, &snapshot("BTC", "99", "101"));
    let Output::BookMark { mark, .. } = &bench.out.outputs[0] else { panic!("{:?}", bench.out) };
    let expected = FeedMark {
        healthy_from: Some(at(50)),
        part: Some(Part::Book),
        ..FeedMark::healthy("coinbase-0", at(50), at(50))
    };
    assert_eq!(*mark, expected);
    assert_eq!(bench.shown(), ["carried BTC 50", "quote BTC 99 101", "book BTC 50"]);
    bench.pipeline.disconnected(at(60), &mut bench.out);
    bench.frame(70, &snapshot("BTC", "99", "101"));
    let expected = [
        "lost BTC DISCONNECTED 50",
        "gap BTC DISCONNECTED 50 70",
        "quote BTC 99 101",
        "book BTC 70",
    ];
    assert_eq!(bench.shown(), expected);
}

#[test]
fn the_clock_is_told_to_quotes_where_books_are() {
    let ack =
        r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["BTC-USD"]}]}"#;
    let beat =
        r#"{"type":"heartbeat","product_id":"BTC-USD","sequence":1,"time":"2021-04-17T16:30:00Z"}"#;
    let streams = Venue::Coinbase.streams(&["BTC-USD".into()], Follow::ALL);
    for (pipeline, expected) in [
        (pipeline(Venue::Coinbase).carrying(&streams), &["book clock", "clock"][..]),
        (pipeline(Venue::Coinbase).carrying(&["BTC-USD".into()]), &["clock"]),
        (Pipeline::new(Venue::Coinbase, "coinbase-0", Follow::default()), &["clock"]),
    ] {
        let mut bench = Bench::new(pipeline);
        bench.frame(0, ack);
        bench.frame(0, beat);
        assert_eq!(bench.shown(), expected);
    }
}

#[test]
fn a_refused_channel_of_books_is_a_refusal_where_none_are_followed() {
    let error = r#"{"type":"error","message":"Failed to subscribe","reason":"level2_batch requires authentication"}"#;
    let controls = |follow| {
        let mut bench = Bench::new(Pipeline::new(Venue::Coinbase, "coinbase-0", follow));
        bench.frame(0, error);
        bench.controls()
    };
    let reason = "Failed to subscribe: level2_batch requires authentication".to_owned();
    assert_eq!(controls(Follow::default()), [Control::Refused(reason.clone())]);
    assert_eq!(controls(Follow::ALL), [Control::OnlyDepth { depth: 50, reason }]);
}

#[test]
fn events_of_channels_that_are_not_followed_are_left_out() -> anyhow::Result<()> {
    let ticker =
        r#"{"e":"24hrMiniTicker","E":1653812650349,"s":"BTCUSDT","c":"1","v":"1","q":"1"}"#;
    let trade = r#"{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}"#;
    for (channels, events) in [("trades", [0, 1]), ("ticker", [1, 0]), ("book", [0, 0])] {
        let follow = Follow { channels: channels.parse::<Channels>()?, ..Follow::default() };
        let mut bench = Bench::new(Pipeline::new(Venue::Binance, "binance-0", follow));
        let mut count = |text| {
            bench.frame(0, text);
            bench.shown().len()
        };
        assert_eq!([count(ticker), count(trade)], events, "{channels}");
    }
    Ok(())
}

fn depth_update(first: i64, last: i64, bid: &str) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":{},"s":"BTCUSDT","U":{first},"u":{last},"b":[["{bid}","1"]],"a":[]}}"#,
        START + last
    )
}

fn depth(last: i64, bids: &str) -> String {
    format!(r#"{{"lastUpdateId":{last},"bids":[{bids}],"asks":[["200","1"],["201","1"]]}}"#)
}

#[test]
fn a_fetched_snapshot_is_asked_for_until_it_joins() {
    let mut bench = Bench::new(pipeline(Venue::Binance));
    let pair = PairKey::new("BTC", "USDT", "binance");
    let refresh = [Control::Refresh(pair.clone())];
    bench.frame(0, &depth_update(11, 12, "100"));
    assert_eq!(bench.controls(), refresh);
    bench.frame(0, &depth_update(13, 14, "100"));
    assert_eq!(bench.controls(), [], "once");
    let fetch = |bench: &mut Bench, body: &str| {
        let controls = bench.pipeline.snapshot(&pair, body, at(20), &mut bench.out);
        (controls, bench.shown())
    };
    let html = fetch(&mut bench, "<html>");
    assert_eq!(html, (refresh.to_vec(), vec!["dead not_json".into()]));
    let (controls, outputs) = fetch(&mut bench, &depth(9, r#"["99","1"]"#));
    assert!(
        matches!(&controls[..], [Control::Resync { reason, .. }] if reason.as_str() == "STALE_SNAPSHOT")
    );
    assert_eq!(outputs, ["lost BTC STALE_SNAPSHOT 12"], "since its first frame");
    let (controls, outputs) = fetch(&mut bench, &depth(9, r#"["99","1"]"#));
    assert_eq!((controls.len(), outputs.len()), (1, 0), "again, without a further mark");
    let (controls, outputs) = fetch(&mut bench, &depth(12, r#"["99","1"]"#));
    assert_eq!(controls, []);
    let expected = ["gap BTC STALE_SNAPSHOT 12 14", "quote BTC 100 200", "book BTC 20"];
    assert_eq!(outputs, expected);
    bench.frame(30, &depth_update(16, 17, "101"));
    assert_eq!(bench.shown(), ["lost BTC SEQUENCE_GAP 14"]);
    assert!(matches!(&bench.controls()[..], [Control::Resync { .. }]));
}

#[test]
fn a_book_that_leaves_the_range_of_its_snapshot_is_refreshed_in_sync() {
    let follow = Follow { depth: Some(2), ..Follow::ALL };
    let mut bench = Bench::new(Pipeline::new(Venue::Binance, "binance-0", follow));
    let pair = PairKey::new("BTC", "USDT", "binance");
    bench.frame(0, &depth_update(11, 12, "90"));
    let body = depth(12, r#"["100","1"],["99","1"]"#);
    bench.pipeline.snapshot(&pair, &body, at(20), &mut bench.out);
    bench.controls();
    bench.shown();
    let removal = |id: i64, price: &str| depth_update(id, id, price).replace(r#""1"]"#, r#""0"]"#);
    bench.frame(30, &removal(13, "100"));
    assert_eq!(bench.controls(), [], "the second level of the snapshot is the best");
    bench.frame(40, &removal(14, "99"));
    assert_eq!(bench.controls(), [Control::Refresh(pair.clone())]);
    bench.frame(50, &depth_update(15, 15, "91"));
    assert_eq!(bench.controls(), []);
    assert_eq!(bench.shown(), ["quote BTC 99 200", "quote BTC - 200", "quote BTC 91 200"]);
    let body = depth(15, r#"["98","1"],["97","1"]"#);
    bench.pipeline.snapshot(&pair, &body, at(60), &mut bench.out);
    assert_eq!(bench.shown(), ["quote BTC 98 200"], "no mark: the book was in sync");
}

#[test]
fn a_book_whose_terms_come_late_is_asked_for_again() {
    let mut bench = Bench::new(pipeline(Venue::Kraken));
    let book = r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":0}]}"#;
    let listing = r#"{"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"BTC/USD","base":"BTC","status":"online","price_precision":1,"qty_precision":8}]}}"#;
    let ack = r#"{"method":"subscribe","result":{"channel":"book","depth":10,"symbol":"BTC/USD"},"success":true}"#;
    bench.frame(0, ack);
    bench.frame(0, book);
    assert_eq!((bench.shown().len(), bench.controls().len()), (0, 1), "granted, and no quote");
    bench.frame(0, listing);
    let refresh = Control::Refresh(PairKey::new("BTC", "USD", "kraken"));
    assert!(bench.controls().contains(&refresh), "beside the change of the listing");
    bench.frame(5, book);
    assert_eq!(bench.out.counts.last(), Some(&Count::Checksum));
    assert_eq!(bench.shown(), ["quote BTC - -", "book BTC 5"]);
}

#[test]
fn bitstamps_clock_is_no_book_unless_it_is_followed() {
    let update = r#"{"event":"data","channel":"diff_order_book_btcusd","data":{"microtimestamp":"1618677000000000","bids":[],"asks":[]}}"#;
    let ack = |channel: &str| {
        format!(r#"{{"event":"bts:subscription_succeeded","channel":"{channel}","data":{{}}}}"#)
    };
    let streams = ["live_trades_ethusd".to_owned(), "diff_order_book_ethusd".to_owned()];
    let mut bench = Bench::new(pipeline(Venue::Bitstamp).carrying(&streams));
    bench.frame(0, &ack("diff_order_book_btcusd"));
    assert_eq!(bench.controls(), [], "it was not asked for as a book");
    bench.frame(0, &ack("diff_order_book_ethusd"));
    assert!(matches!(&bench.controls()[..], [Control::Subscribed(_)]));
    bench.frame(0, update);
    assert_eq!(bench.shown(), ["book clock", "clock"]);
    assert_eq!(bench.controls(), []);
    bench.frame(0, &update.replace("btcusd", "ethusd"));
    assert!(matches!(&bench.controls()[..], [Control::Refresh(_)]));
}

#[test]
fn the_books_of_a_replacement_go_on_where_the_old_ones_ended() {
    let mut bench = in_sync();
    bench.frame(5, &snapshot("LTC", "1", "2"));
    bench.shown();
    let mut books = bench.pipeline.fresh_books();
    for frame in [
        snapshot("BTC", "99", "101"),
        snapshot("ETH", "9.5", "11"),
        update("LTC", 0, "buy", "1", "1"),
    ] {
        assert_eq!(books.frame(&frame), []);
    }
    bench.pipeline.take_over(books, at(10), &mut bench.out);
    assert_eq!(bench.shown(), ["quote ETH 9.5 11", "lost LTC DISCONNECTED 5"]);
    bench.frame(20, &update("BTC", 20, "buy", "100", "1"));
    bench.frame(20, &snapshot("LTC", "1", "2"));
    let expected =
        ["quote BTC 100 101", "gap LTC DISCONNECTED 5 20", "quote LTC 1 2", "book LTC 20"];
    assert_eq!(bench.shown(), expected);
}

#[test]
fn a_new_connection_that_is_behind_is_published_when_it_has_come_up() {
    let mut bench = Bench::new(pipeline(Venue::Coinbase));
    bench.frame(1, &snapshot("BTC", "98", "101"));
    bench.frame(9, &update("BTC", 9, "buy", "99", "1"));
    bench.shown();
    let mut books = bench.pipeline.fresh_books();
    for frame in [snapshot("BTC", "97", "101"), update("BTC", 5, "buy", "98", "1")] {
        assert_eq!(books.frame(&frame), []);
    }
    bench.pipeline.take_over(books, at(10), &mut bench.out);
    bench.frame(11, &update("BTC", 7, "buy", "98.5", "1"));
    bench.frame(12, &update("BTC", 9, "buy", "99", "1"));
    assert_eq!(bench.shown(), [""; 0], "98 and 98.5 are older than 99, which is published");
    bench.frame(13, &update("BTC", 13, "buy", "99.5", "1"));
    assert_eq!(bench.shown(), ["quote BTC 99.5 101"]);
}

#[test]
fn the_book_of_an_ended_instrument_is_let_go_with_its_gap() {
    let mut bench = Bench::new(pipeline(Venue::Deribit));
    let name = "BTC-22MAR19-4000-C";
    let frame = |kind: &str, previous: i64, id: i64| {
        format!(
            r#"{{"method":"subscription","params":{{"channel":"book.{name}.100ms","data":{{"type":"{kind}","timestamp":{},"instrument_name":"{name}","prev_change_id":{previous},"change_id":{id},"bids":[["new",{id},1]],"asks":[]}}}}}}"#,
            START + id
        )
    };
    let ended = format!(
        r#"{{"method":"subscription","params":{{"channel":"instrument.state.option.BTC","data":{{"timestamp":1,"state":"terminated","instrument_name":"{name}"}}}}}}"#
    );
    bench.frame(1, &frame("snapshot", 0, 1));
    bench.frame(2, &frame("change", 1, 2));
    bench.frame(5, &frame("change", 4, 5));
    assert_eq!(bench.shown().last(), Some(&format!("lost {name} SEQUENCE_GAP 2")));
    bench.frame(9, &ended);
    let (all, told) = (bench.shown(), ["gap", "ended"].map(|word| format!("{word} {name}")));
    assert!(all[0].starts_with(&told[0]) && all[0].ends_with("SEQUENCE_GAP 2 9"), "{all:?}");
    assert_eq!((&all[1], all.len()), (&told[1], 4), "and the end in both other topics");
    bench.pipeline.finish(&mut bench.out);
    bench.frame(2_000, r#"{"id":1,"result":[]}"#);
    assert_eq!(bench.shown(), [""; 0], "no levels wait, and no gap is open");
}
