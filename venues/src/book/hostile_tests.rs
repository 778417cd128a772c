//! Text of hostile venues: parsed or refused, and taken by a book without a panic.

use proptest::prelude::*;

use super::*;
use crate::{Follow, Malformed, Venue};

/// Frames of every venue, and answers with snapshots. `P`, `S`, `I` and `T` stand for a price, a size, an id
/// and a time.
const FRAMES: [&str; 10] = [
    r#"{"type":"snapshot","product_id":"BTC-USD","bids":[[P,S],[P,S]],"asks":[[P,S]]}"#,
    r#"{"type":"l2update","product_id":"BTC-USD","time":T,"changes":[["buy",P,S],["sell",P,S]]}"#,
    r#"{"e":"depthUpdate","E":I,"s":"BTCUSDT","U":I,"u":I,"b":[[P,S]],"a":[[P,S]]}"#,
    r#"{"lastUpdateId":I,"bids":[[P,S],[P,S]],"asks":[[P,S]]}"#,
    r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":P,"qty":S}],"asks":[{"price":P,"qty":S}],"checksum":I,"timestamp":T}]}"#,
    r#"{"channel":"instrument","data":{"pairs":[{"symbol":"BTC/USD","price_precision":I,"qty_precision":I}]}}"#,
    r#"{"params":{"channel":"book.x","data":{"type":"snapshot","timestamp":I,"instrument_name":"BTC-PERPETUAL","change_id":I,"bids":[["new",P,S]],"asks":[["delete",P,S]]}}}"#,
    r#"{"params":{"channel":"book.x","data":{"type":"change","timestamp":I,"instrument_name":"BTC-PERPETUAL","change_id":I,"prev_change_id":I,"bids":[["change",P,S]],"asks":[]}}}"#,
    r#"{"event":"data","channel":"diff_order_book_btcusd","data":{"microtimestamp":I,"bids":[[P,S]],"asks":[[P,S]]}}"#,
    r#"{"microtimestamp":I,"bids":[[P,S]],"asks":[[P,S]]}"#,
];

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[1-9]{1,2}",
        2 => Just("0.00".to_owned()),
        2 => "\"[0-9]{1,3}\\.[0-9]{1,8}\"",
        1 => "-?[0-9]{15,45}(\\.[0-9]{0,25})?",
        1 => "[0-9]e-?[0-9]{1,12}",
        1 => prop_oneof![Just("null"), Just("[]"), Just("\"\""), Just("{}")].prop_map(str::to_owned),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let time = prop_oneof![Just("\"2021-04-17T16:43:37.07Z\"".to_owned()), number()];
    let texts = (prop::collection::vec(number(), 12), time);
    let nearly = (prop::sample::select(&FRAMES[..]), texts).prop_map(|(frame, (numbers, time))| {
        let mut numbers = numbers.into_iter();
        let mut text = String::new();
        let mut previous = ' ';
        for letter in frame.chars() {
            match letter {
                'P' | 'S' | 'I' if matches!(previous, '[' | ',' | ':') => {
                    text += &numbers.next().unwrap_or_else(|| "1".into());
                }
                'T' if previous == ':' => text += &time,
                letter => text.push(letter),
            }
            previous = letter;
        }
        text
    });
    prop_oneof![20 => nearly, 1 => ".{0,80}"]
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_taken(lines in prop::collection::vec(line(), 0..30)) {
        for venue in Venue::ALL {
            let books = &venue.adapter().books;
            let terms = Precision::new(2, 2).map(|precision| Terms { depth: 3, precision });
            let mut book = Book::new((books.rules)(Follow::default(), terms).unwrap());
            for line in &lines {
                let mut messages = Vec::new();
                if let Err(malformed) = (books.parse)(line, &mut messages) {
                    prop_assert!(Malformed::LABELS.contains(&malformed.label()));
                }
                let mut frames: Vec<BookFrame> =
                    books.snapshot.and_then(|read| read(line).ok()).into_iter().collect();
                for message in messages {
                    match message {
                        BookMessage::Frame(_, frame) => frames.push(frame),
                        BookMessage::Lost(_) => { book.lose(Reason::SequenceGap); }
                        BookMessage::Depth(..) | BookMessage::Precision(..) => {}
                    }
                }
                for frame in frames {
                    let sides = [&frame.bids, &frame.asks];
                    prop_assert!(sides.iter().all(|side| side.iter().all(|level| !level.size.is_negative())));
                    book.apply(frame);
                    let crossed = book.quote().and_then(|quote| quote.spread());
                    prop_assert!(crossed.is_none_or(|spread| !spread.is_negative()));
                }
            }
        }
    }
}
