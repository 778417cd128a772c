//! The reads, one route a file, and the rows that their answers consist of.
//!
//! | route | file |
//! |---|---|
//! | `/v1/latest` | `latest` |
//! | `/v1/candles` | `candles`; `fill` adds windows without trades, `arrow` writes Arrow IPC |
//! | `/v1/exchanges`, `/v1/exchanges/{exchange}/pairs` | `exchanges` |
//! | `/v1/bases/{base}` | `bases` |
//! | `/v1/quotes`, `/v1/book`, `/v1/spreads` | `quotes`, `book`, `spreads` |
//! | `/v1/options`, `/v1/options/{instrument}` | `options` |
//! | `/v1/options/{instrument}/history` | `option_history` |
//! | `/v1/surface`, `/v1/derivatives` | `surface`, `derivatives` |
//! | `/v1/tokens`, `/v1/tokens/{token}` | `tokens` |
//! | `/v1/index` | `index` |
//! | `/v1/pools`, `/v1/pools/{pool}/candles` | `pools` |
//! | `/v1/swaps/{tx}` | `swaps` |

use super::answer::{MediaType, Representation};
use super::columns::Table;
use super::error::{Refusal, Result};

mod arrow;
pub(super) mod bases;
pub(super) mod book;
pub(super) mod candles;
pub(super) mod derivatives;
pub(super) mod exchanges;
mod fill;
pub(super) mod index;
pub(super) mod latest;
pub(super) mod option_history;
pub(super) mod options;
pub(super) mod pools;
pub(super) mod quotes;
pub(super) mod spreads;
pub(super) mod surface;
pub(super) mod swaps;
pub(super) mod tokens;

/// A table as Arrow, or as CSV for every other format.
fn written(format: MediaType, table: &Table<'_>) -> Result<Representation> {
    if format == MediaType::Arrow {
        let stream = arrow::of_columns(table).map_err(|error| Refusal::broken(&error))?;
        return Ok(Representation::arrow(stream));
    }
    Ok(Representation::csv_text(table.csv().map_err(|error| Refusal::broken(&error))?))
}
