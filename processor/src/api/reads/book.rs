//! `/v1/book`: the best levels of a pair's book, and whether the book is in sync.
//!
//! The levels come from the table `books`, the state from the newest quote. The state is read first: a
//! book that is read later is never older than its state.

use axum::extract::State;
use axum::response::Response;
use schemas::Book;

use crate::api::answer::{MediaType, ReadRequest, Representation};
use crate::api::book_rows::BookRow;
use crate::api::error::{Refusal, Result};
use crate::api::read_service::{ReadContext, ReadService};

const FORMATS: [MediaType; 2] = [MediaType::Json, MediaType::Csv];

/// The book of a pair; 404 when its quotes are not here.
pub(crate) async fn book(State(service): State<ReadService>, ask: ReadRequest) -> Result<Response> {
    ask.params.only(&["base", "quote", "exchange", "depth"])?;
    let (pair, format) = (ask.params.pair()?, ask.format(&FORMATS)?);
    let depth = ask.params.number("depth", 1..=Book::MAX_LEVELS as u64)?;
    let depth = depth.and_then(|depth| usize::try_from(depth).ok()).unwrap_or(Book::MAX_LEVELS);
    let route = move |reading: &mut ReadContext<'_>| {
        let Some((_, top)) = reading.find_top(&pair)? else {
            return Err(reading.no_quotes_here(&pair));
        };
        let Some(book) = reading.book(&pair)? else {
            return Err(Refusal::not_found(format!(
                "{pair}: its state is {} and no levels of its book have come: they follow the first \
                 quote within a second, so try again",
                top.state.as_str()
            )));
        };
        let row = BookRow::new(&pair, &book, depth, Some(top.state.as_str()));
        if format == MediaType::Csv {
            Representation::csv(row.lines())
        } else {
            Representation::json(&row)
        }
    };
    service.read(ask, route).await
}
