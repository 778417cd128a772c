//! An answer that comes in pages, printed as one.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::client::ApiClient;
use super::{rows, table};
use crate::config::{Format, Source};

/// The maximum of rows per answer of routes over time.
pub(super) const PAGE: u32 = 10_000;

/// A route that answers in pages.
pub(super) struct Pages<'a> {
    pub(super) path: &'a str,
    /// The field of the answer that has the rows.
    pub(super) rows: &'a str,
    /// The columns of the table.
    pub(super) columns: &'a [&'a str],
    /// The parameters of every page.
    pub(super) parameters: Vec<(&'static str, String)>,
    /// The server's maximum of rows per answer.
    pub(super) page: u32,
}

impl Pages<'_> {
    /// Reads pages until there are `limit` rows or no further page, and prints them.
    pub(super) fn print(&self, source: &Source, limit: u32, out: &mut impl Write) -> Result<()> {
        let client = ApiClient::new(&source.server)?;
        let mut whole: Option<Value> = None;
        let (mut left, mut cursor, mut header) = (limit, None, true);
        while left > 0 {
            let limit = left.min(self.page);
            let mut parameters = self.parameters.clone();
            parameters.push(("limit", limit.to_string()));
            parameters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let answer = client.get(self.path, &parameters, source.format)?;
            if source.format == Format::Csv {
                // The header of the columns is printed once.
                let rest = answer.body.split_once('\n').map_or("", |(_, rest)| rest);
                out.write_all(if header { answer.body.as_bytes() } else { rest.as_bytes() })?;
                header = false;
            } else {
                let page = answer.json()?;
                match &mut whole {
                    None => whole = Some(page),
                    Some(whole) => self.extend(whole, &page)?,
                }
            }
            left -= limit;
            cursor = answer.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        match (source.format, whole) {
            (Format::Json, Some(whole)) => writeln!(out, "{whole}")?,
            (_, Some(whole)) => table::write(self.columns, rows(&whole, self.rows), out)?,
            (_, None) => {}
        }
        Ok(())
    }

    fn extend(&self, whole: &mut Value, page: &Value) -> Result<()> {
        whole["next_cursor"] = page["next_cursor"].clone();
        let known = whole[self.rows].as_array_mut();
        let known = known.with_context(|| format!("an answer without {}", self.rows))?;
        known.extend_from_slice(rows(page, self.rows));
        Ok(())
    }
}
