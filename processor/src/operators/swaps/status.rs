//! The status of each swap of a transaction: the last word of its pool's task.

use schemas::{Codec, SwapState, SwapStatus, SwapStatusKey};
use streams::punctuation::{PunctuationType, Schedule};
use streams::record::{SourceRecord, Timestamp};
use streams::store::StoreHandle;
use streams::{Context, Failure, Processor};

use crate::operators::Result;
use crate::operators::entry::failure;
use crate::operators::pairs::AFTER_ALL;
use crate::store_keys;

/// How long a status is kept after its event, in stream time: the retention of its topic.
const KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How often one row in [`SLICES`] is looked at.
const SWEEP: Schedule = Schedule { clock: PunctuationType::StreamTime, interval_ms: 60_000 };
/// A sweep looks at the transactions whose hash begins with three digits: all in 4,096 minutes, which is
/// less than three days, with no index of rows by time.
const SLICES: i64 = 4096;
/// Rows per page of a sweep.
const PAGE: usize = 4096;

/// A status; `None` forgets it.
pub type StatusEntry = (SwapStatusKey, Option<SwapState>);

/// Decodes one record of the repartition topic.
pub fn status_entry(codec: &Codec, record: &SourceRecord<'_>) -> Result<StatusEntry, Failure> {
    let key = codec.decode(record.key).map_err(failure)?;
    let state = record.value.map(|value| codec.decode(value)).transpose().map_err(failure)?;
    Ok((key, state))
}

/// Keeps `swap_status`. It forwards nothing.
pub struct SwapStatuses {
    rows: StoreHandle<SwapState>,
}

impl SwapStatuses {
    /// Statuses in this store.
    pub const fn new(rows: StoreHandle<SwapState>) -> Self {
        Self { rows }
    }
}

/// Whether a row that has the block of another instance stays: that block is newer, canonical again or
/// final.
fn is_of_another(row: &SwapState, state: &SwapState) -> bool {
    let loses = state.status == SwapStatus::Removed
        || (row.status == SwapStatus::Final && state.status != SwapStatus::Final);
    loses && row.block_hash != state.block_hash
}

impl Processor for SwapStatuses {
    type In = StatusEntry;
    type Out = ();

    fn process(&mut self, context: &mut Context<'_, ()>, entry: &StatusEntry) -> Result<()> {
        let (key, state) = entry;
        let mut row = self.rows.entry(&store_keys::body(key))?;
        if let (Some(row), Some(state)) = (&*row, state)
            && is_of_another(row, state)
        {
            context.count("status_of_another_block");
            return Ok(());
        }
        if *row != *state {
            row.clone_from(state);
        }
        Ok(())
    }

    fn schedule(&self) -> Option<Schedule> {
        Some(SWEEP)
    }

    /// Deletes the rows of a slice whose event is older than the topic holds.
    fn punctuate(&mut self, context: &mut Context<'_, ()>, time: Timestamp) -> Result<()> {
        let slice = time.0.div_euclid(SWEEP.interval_ms).rem_euclid(SLICES);
        let by = time.0.saturating_sub(KEPT_MS);
        let digits = format!("0x{slice:03x}");
        let mut from = Vec::new();
        // Of each chain: the keys of a slice are adjacent within one.
        while let Some((first, _)) = self.rows.range(&from, &AFTER_ALL, 1)?.pop() {
            let Some(chain) = store_keys::typed_swap_status_key(&first).map(|key| key.chain) else {
                return Ok(());
            };
            let (begin, end) = slice_of(chain, &digits);
            let mut page_from = begin;
            loop {
                let page = self.rows.range(&page_from, &end, PAGE)?;
                let is_last = page.len() < PAGE;
                for (key, row) in page {
                    if row.event_time.0 <= by {
                        context.count("status_forgotten");
                        self.rows.remove(&key)?;
                    }
                    page_from = key;
                    page_from.push(0);
                }
                if is_last {
                    break;
                }
            }
            let mut prefix = Vec::new();
            schemas::avro::long(&mut prefix, chain);
            from = store_keys::after_prefix(&prefix);
        }
        Ok(())
    }
}

/// The store keys of a chain whose transactions begin with these digits.
fn slice_of(chain: i64, digits: &str) -> (Vec<u8>, Vec<u8>) {
    let mut prefix = Vec::new();
    schemas::avro::long(&mut prefix, chain);
    // The length of the hash comes first, which is the same for all.
    let mut hash = Vec::new();
    schemas::avro::string(&mut hash, &format!("{digits:0<66}"));
    prefix.extend_from_slice(&hash[..hash.len() - (66 - digits.len())]);
    let end = store_keys::after_prefix(&prefix);
    (prefix, end)
}
