//! Bytes of a segment become commits or an end, and each commit that is read has readable records.
//!
//! An input is what follows a valid header, or a whole segment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streams::log::commit::Body;
use streams::log::format::{SegmentHeader, SegmentKind};
use streams::log::scan::scan;

fuzz_target!(|data: &[u8]| {
    let header = SegmentHeader { kind: SegmentKind::Committed, directory: 1, first: 1 };
    for bytes in [[&header.encode()[..], data].concat(), data.to_vec()] {
        let Ok(found) = scan(&bytes) else { continue };
        for frame in &found.commits {
            let body = Body::decode(frame.body(&bytes)).expect("a commit that was scanned");
            for batch in &body.batches {
                assert_eq!(batch.records().count(), batch.count as usize);
            }
        }
    }
    if let Some(body) = Body::decode(data) {
        assert!(body.batches.iter().all(|batch| batch.records().count() == batch.count as usize));
    }
});
