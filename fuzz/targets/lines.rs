//! Any line is read as a price event and as a trade of a file, or refused; what is read survives the
//! way through a topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::Timestamp;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok((pair, event)) = producer::input::price_event::parse(&text, Timestamp(0)) {
        fuzz::survives(&pair, &event);
    }
    if let Ok((pair, event)) = venues::recording::trade(&text) {
        fuzz::survives(&pair, &event);
    }
});
