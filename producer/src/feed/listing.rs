//! Changes of a venue's listing while feeds run: one feed is told, and all act on it.
//!
//! The feed that carries the listing adds new instruments, as long as it has room. The feed that
//! has the streams of an ended instrument drops them.

use venues::ListingChange;

use super::context::FeedConfig;
use super::session::Session;
use crate::metrics::Metrics;

/// The feed announces the change to all feeds: it carries the listing, and the change is new.
pub(super) fn announces(config: &FeedConfig, change: &ListingChange) -> bool {
    // The streams of an ended instrument may be another feed's.
    let is_new = match change {
        ListingChange::Listed(name) => !follows(config, name),
        ListingChange::Ended(_) => true,
    };
    config.connection.grows && is_new
}

/// Changes the streams of a feed and the subscriptions of its session.
pub(super) fn apply(
    config: &mut FeedConfig,
    metrics: &Metrics,
    change: &ListingChange,
    session: &mut Session,
) {
    let venue = config.venue.as_str();
    let instruments = metrics.instruments.with_label_values(&[venue]);
    match change {
        ListingChange::Listed(name) => {
            if !config.connection.grows || follows(config, name) {
                return;
            }
            let streams = streams(config, name);
            if config.connection.streams.len() + streams.len() > config.max_streams {
                tracing::warn!(
                    venue,
                    instrument = name,
                    "there is no room for the new instrument: restart for a new plan"
                );
                return;
            }
            tracing::info!(venue, instrument = name, "listed");
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

/// The streams of an instrument are all subscribed; of a combo there are none.
fn follows(config: &FeedConfig, name: &str) -> bool {
    streams(config, name).iter().all(|one| config.connection.streams.contains(one))
}
