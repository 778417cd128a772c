//! The facts of the instruments of a feed: told after each subscription, and when the listing changes.
//!
//! The pipeline decides what is new (`venues::pipeline`), so a replay of the capture tells the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use schemas::InstrumentState;
use venues::pipeline::{Output, Produced};
use venues::{Class, ListingChange};

use super::capture::LineKind;
use super::connection::Connection;
use super::{End, Feed, listing};
use crate::clock;
use crate::plan::instruments::ListingAnswer;

/// Requests for a listing that may lack an instrument which the venue has announced.
const LOOKS: u32 = 3;

/// The listing of a feed, as it was last read.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The instruments that can be followed; empty before the first listing.
    names: BTreeSet<String>,
    /// Requests that are left for instruments that it lacks.
    looks: u32,
    /// The answers that were read last.
    answers: Option<Arc<[ListingAnswer]>>,
    /// A connection was lost since the listing was asked for: what came or ended then was not announced.
    missed: bool,
}

impl Facts {
    /// Reads a listing; the instruments that the last one lacked.
    fn read(&mut self, answers: &[ListingAnswer]) -> Vec<String> {
        let of_use = |one: &&venues::Instrument| one.active && one.class != Class::Combo;
        let listed = answers.iter().flat_map(|answer| &answer.instruments).filter(of_use);
        let names: BTreeSet<_> = listed.map(|one| one.name.clone()).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.names, names);
        if before.is_empty() {
            return Vec::new();
        }
        self.names.difference(&before).cloned().collect()
    }

    /// The listing lacks one of these instruments, and may be asked for once more.
    fn lacks<'a>(&mut self, mut names: impl Iterator<Item = &'a str>) -> bool {
        let is_lacking = self.looks > 0 && names.any(|name| !self.names.contains(name));
        self.looks -= u32::from(is_lacking);
        is_lacking
    }
}

impl<R: Rng> Feed<R> {
    /// Everything that was asked for is subscribed: tells the facts of all instruments, and asks for what
    /// came while no connection stood.
    pub(super) async fn tell_facts(&mut self, connection: &mut Connection) -> Result<(), End> {
        if !self.config.followed.has_tickers(self.config.venue) {
            return Ok(());
        }
        self.facts.looks = LOOKS;
        self.read_listing(connection).await?;
        if let Some(listings) = &self.listings
            && std::mem::take(&mut self.facts.missed)
        {
            listings.ask();
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn miss_facts(&mut self) {
        self.facts.missed = true;
    }

    /// An instrument was announced: the listing has its facts.
    pub(super) fn look_for_facts(&mut self) {
        if let Some(listings) = &self.listings {
            self.facts.looks = LOOKS;
            listings.ask();
        }
    }

    /// Reads the newest listing: tells what it has of the instruments of this feed, follows what the
    /// last one lacked, and drops what has ended.
    pub(super) async fn read_listing(&mut self, connection: &mut Connection) -> Result<(), End> {
        let Some(listings) = &mut self.listings else { return Ok(()) };
        let answers = listings.take();
        let came = self.facts.read(&answers);
        self.tell(&answers, connection).await?;
        if self.config.connection.grows {
            for name in came {
                listing::announce(&self.config, &self.context, ListingChange::Listed(name));
            }
        }
        let of_stream = self.config.venue.adapter().tickers.as_ref();
        let of_stream = of_stream.map(|tickers| tickers.instrument_of_stream);
        let streams = self.config.connection.streams.iter();
        let followed = streams.filter_map(|stream| of_stream?(stream));
        if self.facts.lacks(followed)
            && let Some(listings) = &self.listings
        {
            listings.ask();
        }
        Ok(())
    }

    /// Passes on the records of a listing.
    async fn tell(
        &mut self,
        answers: &Arc<[ListingAnswer]>,
        connection: &mut Connection,
    ) -> Result<(), End> {
        // A replay needs the facts of all, also of those that another feed carries.
        let is_new = self.facts.answers.as_ref().is_none_or(|old| !Arc::ptr_eq(old, answers));
        self.facts.answers = Some(Arc::clone(answers));
        for answer in answers.iter() {
            let at = clock::now();
            let mut produced = std::mem::take(&mut self.produced);
            self.pipeline.listing(&answer.instruments, at, &mut produced);
            if is_new || !produced.outputs.is_empty() {
                self.context.line(at, LineKind::Http, &answer.url, &answer.body).await;
            }
            for name in ended(&produced) {
                let change = listing::ended(&self.config, &self.context, name);
                let session = &mut connection.session;
                listing::apply(&mut self.config, &self.context.metrics, &change, session);
            }
            self.context.metrics.count(self.config.venue, &mut produced);
            self.send_all(&mut produced).await?;
            self.produced = produced;
        }
        Ok(())
    }
}

/// The instruments that have ended.
fn ended(produced: &Produced) -> Vec<String> {
    let of_ended = |output: &Output| match output {
        Output::Instrument { pair, instrument } if instrument.state == InstrumentState::Ended => {
            Some(pair.base.clone())
        }
        _ => None,
    };
    produced.outputs.iter().filter_map(of_ended).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(names: &[&str]) -> Vec<ListingAnswer> {
        let body = names.iter().map(|name| {
            format!(r#"{{"instrument_name":"{name}","base_currency":"BTC","is_active":true}}"#)
        });
        let body = format!(r#"{{"result":[{}]}}"#, body.collect::<Vec<_>>().join(","));
        let instruments = venues::Venue::Deribit.instruments(&body).unwrap();
        vec![ListingAnswer { url: String::new(), body, instruments }]
    }

    #[test]
    fn what_a_listing_has_beyond_the_last_one_came_meanwhile() {
        let mut facts = Facts::default();
        assert!(facts.read(&answer(&["BTC-PERPETUAL"])).is_empty(), "the plan has the first one");
        let came = facts.read(&answer(&["BTC-PERPETUAL", "BTC-25DEC26", "BTC-FS-25DEC26_PERP"]));
        assert_eq!(came, ["BTC-25DEC26"], "a combo is not followed");
        assert!(facts.read(&answer(&["BTC-25DEC26"])).is_empty());
        assert!(facts.read(&[]).is_empty(), "no answer is no listing");
        assert_eq!(facts.read(&answer(&["BTC-25DEC26", "BTC-1JAN27"])), ["BTC-1JAN27"]);
    }

    #[test]
    fn a_listing_that_lacks_an_instrument_is_asked_for_a_few_times() {
        let mut facts = Facts { looks: LOOKS, ..Facts::default() };
        facts.read(&answer(&["BTC-PERPETUAL"]));
        assert!(!facts.lacks(["BTC-PERPETUAL"].into_iter()));
        for _ in 0..LOOKS {
            assert!(facts.lacks(["BTC-PERPETUAL", "BTC-25DEC26"].into_iter()));
        }
        assert!(!facts.lacks(["BTC-25DEC26"].into_iter()));
    }
}
