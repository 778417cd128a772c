//! Any lines are taken by a book of Binance: it never panics, never publishes a crossed quote, and stays
//! within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use venues::Venue;

fuzz_target!(|data: &[u8]| fuzz::book(Venue::Binance, data));
