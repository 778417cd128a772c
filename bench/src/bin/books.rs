//! `bench-books`: what a book frame of a capture costs at the edge, without socket and Kafka; one JSON line.
//!
//! - `parse`: the text becomes messages, its kind and its levels: the adapter alone.
//! - `edge`: the pipeline of a feed: parsing, the book with its proof, quotes, levels and marks.
//! - `encode`: its records as bytes in the wire format.
//!
//! Each is the smallest of several rounds over all frames, in CPU time of this thread. The frames are
//! those of one venue: what `producer run --channels book --capture DIR` wrote.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use cli::lines::{self, Lines};
use schemas::{Codec, Timestamp};
use serde_json::{Value, json};
use venues::pipeline::{Count, Output, Pipeline, Produced};
use venues::{Follow, Venue};

// As the producer has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rounds of each measurement.
const ROUNDS: usize = 7;

#[derive(Debug, Parser)]
struct Options {
    /// Files of a capture, oldest first.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// A line of a capture that a pipeline takes.
struct Line {
    at: Timestamp,
    /// The address of an answer with a snapshot; `None` for a frame.
    url: Option<String>,
    raw: String,
}

/// CPU time of this thread, in seconds.
fn cpu_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns: f64 = stat.split(' ').next().context("no time in schedstat")?.parse()?;
    Ok(ns / 1e9)
}

/// The smallest time of a round.
fn smallest(mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = cpu_s()?;
        round()?;
        best = best.min(cpu_s()? - began);
    }
    Ok(best)
}

/// The venue and the lines of files.
fn read(files: &[PathBuf]) -> Result<(Venue, Vec<Line>)> {
    let (mut venue, mut found) = (None, Vec::new());
    for path in files {
        let mut lines = Lines::new(lines::open(path).with_context(|| path.display().to_string())?);
        while let Some(line) = lines.next_line()? {
            let line: Value = serde_json::from_str(&line)?;
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            venue = venue.or(Venue::from_name(&text("venue")));
            let url = match line["kind"].as_str() {
                Some("frame") => None,
                Some("http") => Some(text("url")),
                _ => continue,
            };
            let at = line["at_us"].as_i64().context("a line without a time")? / 1000;
            found.push(Line { at: Timestamp(at), url, raw: text("raw") });
        }
    }
    Ok((venue.context("no line of a venue that is known")?, found))
}

/// Takes all lines.
fn run(venue: Venue, lines: &[Line]) -> Result<Produced> {
    let mut pipeline = Pipeline::new(venue, "bench", Follow::ALL);
    let mut out = Produced::default();
    for line in lines {
        match &line.url {
            None => drop(pipeline.frame(&line.raw, line.at, &mut out)),
            Some(url) => {
                let product = (venue.adapter().books.product_of_request)(url);
                let pair = venue.pair(product.context("an answer of no product")?)?;
                pipeline.snapshot(&pair, &line.raw, line.at, &mut out);
            }
        }
    }
    Ok(out)
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (venue, lines) = read(&options.files)?;
    let books = &venue.adapter().books;
    let (mut parsed, mut messages) = (Vec::new(), Vec::new());
    let parse = smallest(|| {
        for line in lines.iter().filter(|line| line.url.is_none()) {
            // A frame that cannot be read costs as well.
            let _ = venue.parse(&line.raw, line.at, &mut parsed);
            if parsed.drain(..).any(|one| books.kinds.contains(&one.kind)) {
                let _ = (books.parse)(&line.raw, &mut messages);
                messages.clear();
            }
        }
        Ok(())
    })?;
    let mut produced = Produced::default();
    let edge = smallest(|| {
        produced = run(venue, &lines)?;
        Ok(())
    })?;
    let (codec, mut bytes) = (Codec::offline(), Vec::new());
    let encode = smallest(|| {
        for output in &produced.outputs {
            bytes.clear();
            match output {
                Output::Quote { pair, quote } => {
                    codec.encode(pair, &mut bytes);
                    codec.encode(quote, &mut bytes);
                }
                Output::Book { pair, book } => {
                    codec.encode(pair, &mut bytes);
                    codec.encode(book, &mut bytes);
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    let count = |is: fn(&Output) -> bool| produced.outputs.iter().filter(|one| is(one)).count();
    let frames = produced.counts.iter().filter(|one| **one == Count::BookFrame).count();
    ensure!(frames > 0, "the capture has no frame of a book");
    let all = f64::from(u32::try_from(frames)?);
    let share = |seconds: f64| (seconds * 1e9 / all).round() / 1e3;
    let line = json!({
        "venue": venue.as_str(), "frames": frames,
        "quotes": count(|one| matches!(one, Output::Quote { .. })),
        "books": count(|one| matches!(one, Output::Book { .. })),
        "parse_us": share(parse), "edge_us": share(edge), "encode_us": share(encode),
        "beyond_parsing_us": share(edge - parse + encode),
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
