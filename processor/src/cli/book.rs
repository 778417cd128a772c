//! `processor query book`: the book of a pair once, or each change of it.

use std::io::{IsTerminal as _, Write};

use anyhow::Result;

use super::client::ApiClient;
use super::screen::View;
use super::{pair_parameters, watch};
use crate::config::{BookQuery, Format};

/// Prints the book, or follows it with `--watch` until the reader of the output is gone.
pub(super) fn run(wanted: &BookQuery, out: &mut impl Write) -> Result<()> {
    let client = ApiClient::new(&wanted.source.server)?;
    let format = wanted.source.format;
    if wanted.watch {
        let redraws = format == Format::Table && std::io::stdout().is_terminal();
        return watch::run(&client, wanted, redraws, out);
    }
    let pair = pair_parameters(&wanted.pair);
    let depth = [&pair[..], &[("depth", wanted.depth.to_string())]].concat();
    if format != Format::Table {
        let book = client.get("/v1/book", &depth, format)?.body;
        out.write_all(book.as_bytes())?;
        // Lines of CSV end by themselves.
        if format == Format::Json {
            writeln!(out)?;
        }
        return Ok(());
    }
    let quote = client.get("/v1/quotes", &pair, Format::Json)?.json()?;
    let book = client.get("/v1/book", &depth, Format::Json)?.json()?;
    let view = View { quote: Some(quote), book: Some(book), trouble: None };
    Ok(view.write(&wanted.pair, wanted.depth, out)?)
}
