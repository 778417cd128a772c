//! `processor query book --watch`: each change of a pair's quotes and book.
//!
//! ```text
//! /v1/events?channel=quotes ─► thread ─┐ bounded queue
//! /v1/events?channel=book   ─► thread ─┴──────────────► view ─► screen, or a line
//! ```
//!
//! A stream that ends is opened again after a pause, with a snapshot. The end of one ends both, so
//! that the screen never mixes an old book with new quotes.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::client::ApiClient;
use super::screen::{View, line};
use super::{events, pair_parameters};
use crate::config::{BookQuery, Format};

/// Rows that wait to be shown: more than the server sends in a second.
const QUEUE: usize = 64;
/// The pause before a stream is opened again; it doubles up to the second value.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears the screen.
const CLEAR: &str = "\x1b[2J";
/// Clears the rest of a line, and of the screen.
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";
/// The columns of a line of CSV.
const CSV: [&str; 14] = [
    "event_time",
    "state",
    "bid",
    "bid_size",
    "ask",
    "ask_size",
    "spread",
    "mid",
    "microprice",
    "imbalance",
    "max_spread",
    "mid_mean_10",
    "sequence",
    "received_at",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    Quotes,
    Book,
}

impl Channel {
    const fn name(self) -> &'static str {
        match self {
            Self::Quotes => "quotes",
            Self::Book => "book",
        }
    }
}

enum Heard {
    Row(Channel, Value),
    /// A message without rows. A thread whose receiver is gone ends at the next one.
    Alive,
    /// A stream has ended.
    Lost(anyhow::Error),
}

/// Shows each change until the output is closed.
///
/// # Errors
/// The server does not know the pair, or the output cannot be written.
pub(super) fn run(
    client: &ApiClient,
    wanted: &BookQuery,
    redraws: bool,
    out: &mut impl Write,
) -> Result<()> {
    // A pair without quotes is an error, and not a stream without rows.
    client.get("/v1/quotes", &pair_parameters(&wanted.pair), Format::Json)?;
    let mut shown = Shown { wanted, redraws, view: View::default(), headed: false, out };
    if redraws {
        write!(shown.out, "{CLEAR}")?;
    }
    let mut pause = PAUSES[0];
    loop {
        let heard = open(client, wanted)?;
        loop {
            match heard.recv().unwrap_or_else(|_| Heard::Lost(anyhow!("the streams have ended"))) {
                Heard::Row(channel, row) => {
                    pause = PAUSES[0];
                    shown.take(channel, row)?;
                }
                Heard::Alive => {}
                Heard::Lost(reason) => {
                    shown.lose(&reason, pause)?;
                    break;
                }
            }
        }
        // The threads of the streams end when they find the queue closed.
        drop(heard);
        wait(pause);
        pause = (2 * pause).min(PAUSES[1]);
    }
}

/// Waits on a channel on which nothing is sent.
fn wait(pause: Duration) {
    let (_sender, never) = channel::<()>();
    let _ = never.recv_timeout(pause);
}

/// Opens both streams, each on a thread of its own.
fn open(client: &ApiClient, wanted: &BookQuery) -> Result<Receiver<Heard>> {
    let (sender, heard) = sync_channel(QUEUE);
    for of in [Channel::Quotes, Channel::Book] {
        let (client, sender) = (client.clone(), sender.clone());
        let mut query = pair_parameters(&wanted.pair);
        query.push(("channel", of.name().to_owned()));
        std::thread::Builder::new().name(of.name().into()).spawn(move || {
            if let Err(error) = follow(&client, &query, of, &sender) {
                // The receiver may be gone already.
                let _ = sender.send(Heard::Lost(error));
            }
        })?;
    }
    Ok(heard)
}

fn follow(
    client: &ApiClient,
    query: &[(&str, String)],
    of: Channel,
    sender: &SyncSender<Heard>,
) -> Result<()> {
    events::follow(client.events(query)?, |rows| {
        if rows.is_empty() {
            return sender.send(Heard::Alive).is_ok();
        }
        rows.into_iter().all(|row| sender.send(Heard::Row(of, row)).is_ok())
    })
}

/// The view, and the way in which it is shown.
struct Shown<'a, W> {
    wanted: &'a BookQuery,
    redraws: bool,
    view: View,
    /// The header of CSV was written.
    headed: bool,
    out: &'a mut W,
}

impl<W: Write> Shown<'_, W> {
    fn take(&mut self, channel: Channel, row: Value) -> Result<()> {
        let known = match channel {
            Channel::Quotes => &mut self.view.quote,
            Channel::Book => &mut self.view.book,
        };
        let was_live = self.view.trouble.take().is_none();
        if was_live && known.as_ref() == Some(&row) {
            return Ok(());
        }
        let changed = known.as_ref() != Some(&row);
        *known = Some(row);
        if self.redraws {
            self.draw()
        } else if changed {
            self.tell(channel)
        } else {
            Ok(())
        }
    }

    /// States that the rows are not live, and when the next attempt is.
    fn lose(&mut self, reason: &anyhow::Error, pause: Duration) -> Result<()> {
        let text = format!("{reason:#}: trying again in {} s", pause.as_secs());
        if !self.redraws {
            tracing::warn!("{text}");
            return Ok(());
        }
        self.view.trouble = Some(text);
        self.draw()
    }

    /// Draws over what is on the screen, in one write, so that it does not flicker.
    fn draw(&mut self) -> Result<()> {
        let mut text = Vec::new();
        self.view.write(&self.wanted.pair, self.wanted.depth, &mut text)?;
        let text = String::from_utf8_lossy(&text).replace('\n', CLEAR_LINE);
        write!(self.out, "{HOME}{text}{CLEAR_BELOW}")?;
        Ok(self.out.flush()?)
    }

    /// Writes the change as a line.
    fn tell(&mut self, channel: Channel) -> Result<()> {
        let row = match channel {
            Channel::Quotes => &self.view.quote,
            Channel::Book => &self.view.book,
        };
        let Some(row) = row else { return Ok(()) };
        match (self.wanted.source.format, channel) {
            (Format::Json, _) => {
                let mut row = row.clone();
                row["channel"] = channel.name().into();
                writeln!(self.out, "{row}")?;
            }
            (Format::Table, Channel::Quotes) => line(row, self.out)?,
            (Format::Csv, Channel::Quotes) => {
                if !std::mem::replace(&mut self.headed, true) {
                    writeln!(self.out, "{}", CSV.join(","))?;
                }
                // Decimals, times and words have neither commas nor quotes.
                let text = |name: &&str| match &row[*name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                writeln!(self.out, "{}", CSV.iter().map(text).collect::<Vec<_>>().join(","))?;
            }
            // A ladder is no line: JSON has it.
            (Format::Table | Format::Csv, Channel::Book) => return Ok(()),
        }
        Ok(self.out.flush()?)
    }
}
