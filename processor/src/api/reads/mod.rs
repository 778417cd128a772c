//! The reads, one route a file, and the rows that their answers consist of.
//!
//! | route | file |
//! |---|---|
//! | `/v1/latest` | `latest` |
//! | `/v1/candles` | `candles`; `fill` adds windows without trades, `arrow` writes Arrow IPC |
//! | `/v1/exchanges`, `/v1/exchanges/{exchange}/pairs` | `exchanges` |
//! | `/v1/bases/{base}` | `bases` |
//! | `/v1/quotes`, `/v1/book`, `/v1/spreads` | `quotes`, `book`, `spreads` |

mod arrow;
pub(super) mod bases;
pub(super) mod book;
pub(super) mod candles;
pub(super) mod exchanges;
mod fill;
pub(super) mod latest;
pub(super) mod quotes;
pub(super) mod spreads;
