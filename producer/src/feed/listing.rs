//! Changes of a venue's listing while feeds run: one feed hears of them, and all act on them.
//!
//! The feed that carries the listing announces a new instrument and the connection that takes it. The feed
//! that has the streams of an ended instrument drops them, which leaves room for others.

use venues::ListingChange;

use super::context::{FeedConfig, FeedContext};
use super::rooms::Place;
use super::session::Session;
use crate::metrics::Metrics;

/// A change that all feeds of a process receive.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) change: ListingChange,
    /// The connection that takes the streams of a new instrument.
    taker: Option<String>,
}

/// Announces a change to all feeds, a new instrument with the connection that takes it.
pub(super) fn announce(config: &FeedConfig, context: &FeedContext, change: ListingChange) {
    let announced = match change {
        ListingChange::Ended(name) => ended(config, context, name),
        ListingChange::Listed(name) => match place(config, context, &name) {
            Place::Carried => return,
            Place::At(taker) => {
                Announced { change: ListingChange::Listed(name), taker: Some(taker) }
            }
            Place::Full => {
                let venue = config.venue.as_str();
                context.metrics.tickers.without_room.with_label_values(&[venue]).inc();
                tracing::warn!(
                    venue,
                    instrument = name,
                    "no connection has room for the new instrument: restart for a new plan"
                );
                return;
            }
        },
    };
    // The announcing feed receives it as well, so there is always a receiver.
    let _ = context.changes.send(announced);
}

/// The end of an instrument, whose streams leave room from now on.
pub(super) fn ended(config: &FeedConfig, context: &FeedContext, name: String) -> Announced {
    context.rooms().release(&streams(config, &name));
    Announced { change: ListingChange::Ended(name), taker: None }
}

/// The place of a new instrument; that of a combo, which has no streams, is taken.
fn place(config: &FeedConfig, context: &FeedContext, name: &str) -> Place {
    context.rooms().place(&streams(config, name))
}

/// Changes the streams of a feed and the subscriptions of its session.
pub(super) fn apply(
    config: &mut FeedConfig,
    metrics: &Metrics,
    announced: &Announced,
    session: &mut Session,
) {
    let venue = config.venue.as_str();
    let instruments = metrics.instruments.with_label_values(&[venue]);
    match &announced.change {
        ListingChange::Listed(name) => {
            let feed = config.connection.name.as_str();
            if announced.taker.as_deref() != Some(feed) {
                return;
            }
            let streams = streams(config, name);
            tracing::info!(venue, feed, instrument = name, "listed");
            session.add(&streams);
            config.connection.streams.extend(streams);
            instruments.inc();
        }
        ListingChange::Ended(name) => {
            let ended = streams(config, name);
            let before = config.connection.streams.len();
            config.connection.streams.retain(|stream| !ended.contains(stream));
            if config.connection.streams.len() == before {
                return;
            }
            tracing::info!(venue, instrument = name, "ended");
            for stream in &ended {
                session.drop_stream(stream);
            }
            instruments.dec();
        }
    }
}

fn streams(config: &FeedConfig, name: &str) -> Vec<String> {
    config.followed.streams_of_listed(config.venue, name)
}
