//! Any lines are taken by the follower of a node, live and as a capture: it never panics, its labels are
//! constants, and a record that it makes survives the way through a topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::{Codec, Timestamp};
use venues::Malformed;
use venues::ethereum::{Follower, FollowerConfig, listing};
use venues::pipeline::Output;

/// The pool that the seeds have swaps of.
const POOL: &str = r#"{"chain": 1, "pool": "0x8ad599c3a0ff1de082011efddc58f1908eb6e6d8", "token0": "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "token1": "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", "fee": 3000, "symbol0": "USDC", "symbol1": "WETH", "decimals0": 6, "decimals1": 18}"#;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pools = listing::parse(POOL).into_iter().collect();
    let mut follower = Follower::new(FollowerConfig { pools, ..FollowerConfig::default() });
    let (codec, mut out) = (Codec::offline(), Vec::new());
    follower.start();
    for line in text.lines() {
        let _ = listing::parse(line);
        follower.take(line, Timestamp(1), &mut out);
    }
    for output in out {
        match output {
            Output::Swap { swap, .. } => {
                assert_eq!(codec.decode(&codec.to_bytes(&*swap)).as_ref(), Ok(&*swap));
            }
            Output::Head { head, .. } => {
                assert_eq!(codec.decode(&codec.to_bytes(&head)).as_ref(), Ok(&head));
            }
            Output::DeadLetter(letter) => assert!(Malformed::LABELS.contains(&letter.reason)),
            _ => {}
        }
    }
});
