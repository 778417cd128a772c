//! `producer price-events`: publishes prices from standard input.

use std::io;

use anyhow::Context;

use super::publish::{interruptible, tell};
use crate::clock;
use crate::config::PriceEventsConfig;
use crate::input::price_event;

/// Publishes until standard input ends.
pub fn price_events(config: &PriceEventsConfig) -> anyhow::Result<()> {
    interruptible(&config.kafka.clone(), move |mut publisher, _| {
        price_event::read(io::stdin().lock(), clock::now, |output| publisher.publish(&output))
            .context("cannot go on reading standard input")?;
        publisher.sink.finish()?;
        tell(&format!("price-events: {}", publisher.tally))
    })
}
