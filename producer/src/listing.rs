//! Instruments that come and go while feeds stand: one feed hears of it, all act on it.
//!
//! The feed that carries the venue's listings takes up what is new, as long as it has room, and
//! whichever has the streams of an instrument that ended lets them go.

use rand::Rng;
use venues::ListingChange;

use crate::feed::{Connection, Feed};

impl<R: Rng> Feed<R> {
    /// The feed that takes up what is listed tells the others what it hears.
    pub(crate) fn heard(&self, change: ListingChange) {
        let news = match &change {
            ListingChange::Listed(name) => !self.follows(name),
            ListingChange::Ended(name) => self.follows(name),
        };
        // What ended may be another feed's.
        if self.config.line.grows && (news || matches!(change, ListingChange::Ended(_))) {
            // This feed listens as well, so there is always somebody.
            let _ = self.around.changes.send(change);
        }
    }

    fn streams_of(&self, name: &str) -> Vec<String> {
        (self.config.venue.adapter().subscriptions.streams_of_listed)(name)
    }

    fn follows(&self, name: &str) -> bool {
        let streams = self.streams_of(name);
        streams.is_empty() || streams.iter().all(|one| self.config.line.streams.contains(one))
    }

    /// An instrument came or went; what concerns this connection is changed on it.
    pub(crate) fn changed(&mut self, change: &ListingChange, connection: &mut Connection) {
        let venue = self.config.venue;
        let instruments = self.around.metrics.instruments.with_label_values(&[venue.as_str()]);
        match change {
            ListingChange::Listed(name) => {
                if !self.config.line.grows || self.follows(name) {
                    return;
                }
                let streams = self.streams_of(name);
                if self.config.line.streams.len() + streams.len() > self.config.max_streams {
                    tracing::warn!(
                        venue = venue.as_str(),
                        instrument = name,
                        "there is no room for what is listed: start anew for a new plan"
                    );
                    return;
                }
                tracing::info!(venue = venue.as_str(), instrument = name, "listed");
                connection.session.add(&streams);
                self.config.line.streams.extend(streams);
                instruments.inc();
            }
            ListingChange::Ended(name) => {
                let ended = self.streams_of(name);
                let before = self.config.line.streams.len();
                self.config.line.streams.retain(|stream| !ended.contains(stream));
                if self.config.line.streams.len() == before {
                    return;
                }
                tracing::info!(venue = venue.as_str(), instrument = name, "ended");
                for stream in &ended {
                    connection.session.drop_stream(stream);
                }
                instruments.dec();
            }
        }
    }
}
