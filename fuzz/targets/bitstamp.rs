//! Any text is read by the adapter of Bitstamp: it never panics, its labels are constants, and an event
//! that it makes survives the way through a topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use venues::Venue;

fuzz_target!(|data: &[u8]| fuzz::venue(Venue::Bitstamp, data));
