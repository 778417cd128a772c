//! The records of swaps, tokens and the index: bytes that neither implementation made.
//!
//! The bytes and the records of the fixtures come from one table outside of this crate.

use std::fmt::Debug;

use apache_avro::{from_avro_datum, to_avro_datum};
use schemas::avro::{Reader, Record};
use schemas::json::RecordJson;
use schemas::{
    ChainHead, Codec, DecodeError, Index, IndexKey, IndexLeg, Pool, PoolKey, PoolMinute,
    PoolMinuteKey, Swap, SwapState, SwapStatusKey, TokenBucket, TokenBucketKey, TokenKey, TokenLeg,
};
use serde_json::Value;

use crate::{Outcome, reference};

fn holds<R: Record + PartialEq + Debug>(fixture: &str) -> Outcome {
    let cases: Vec<Value> = serde_json::from_str(fixture)?;
    assert!(!cases.is_empty());
    let (schema, json, codec) = (reference::schema(R::KIND)?, RecordJson::new()?, Codec::offline());
    for case in cases {
        let what = format!("{} {}", R::KIND.as_str(), case["what"]);
        let hex = case["hex"].as_str().ok_or("a fixture has hex")?;
        let pairs = hex.as_bytes().chunks(2);
        let bytes: Vec<u8> = pairs
            .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
            .collect::<Outcome<_>>()?;
        let mut reader = Reader::new(&bytes);
        let record = R::read(&mut reader).map_err(|error| format!("{what}: {error}"))?;
        assert!(reader.is_empty(), "{what}");
        let mut ours = Vec::new();
        record.write(&mut ours);
        assert_eq!(ours, bytes, "{what}: ours writes differently");
        let theirs = from_avro_datum(&schema, &mut &bytes[..], None)?;
        assert_eq!(to_avro_datum(&schema, theirs)?, bytes, "{what}: the reference differs");
        let mut text = String::new();
        json.write(R::KIND, &bytes, &mut text)?;
        assert_eq!(serde_json::from_str::<Value>(&text)?, case["record"], "{what}");
        let wire = codec.to_bytes(&record);
        for end in 0..wire.len() {
            let cut = codec.decode::<R>(&wire[..end]);
            assert_eq!(cut, Err(DecodeError::Corrupt), "{what}: {end} bytes");
        }
    }
    Ok(())
}

#[test]
fn the_bytes_of_swaps_tokens_and_the_index_never_change() -> Outcome {
    holds::<PoolKey>(include_str!("../../fixtures/pool_key.json"))?;
    holds::<Pool>(include_str!("../../fixtures/pool.json"))?;
    holds::<Swap>(include_str!("../../fixtures/swap.json"))?;
    holds::<ChainHead>(include_str!("../../fixtures/chain_head.json"))?;
    holds::<PoolMinuteKey>(include_str!("../../fixtures/pool_minute_key.json"))?;
    holds::<PoolMinute>(include_str!("../../fixtures/pool_minute.json"))?;
    holds::<TokenKey>(include_str!("../../fixtures/token_key.json"))?;
    holds::<TokenBucketKey>(include_str!("../../fixtures/token_bucket_key.json"))?;
    holds::<TokenBucket>(include_str!("../../fixtures/token_bucket.json"))?;
    holds::<TokenLeg>(include_str!("../../fixtures/token_leg.json"))?;
    holds::<SwapStatusKey>(include_str!("../../fixtures/swap_status_key.json"))?;
    holds::<SwapState>(include_str!("../../fixtures/swap_state.json"))?;
    holds::<IndexKey>(include_str!("../../fixtures/index_key.json"))?;
    holds::<Index>(include_str!("../../fixtures/index.json"))?;
    holds::<IndexLeg>(include_str!("../../fixtures/index_leg.json"))
}
