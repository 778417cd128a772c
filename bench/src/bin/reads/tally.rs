//! What came of the reads: times by route, failures by reason, and the greatest age that was said.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::http::Answer;
use super::mix::Route;

/// Reasons that are told apart; a view that fails in more ways has failed enough.
const REASONS: usize = 20;

/// The reads of one address.
#[derive(Default)]
pub(crate) struct Tally(RefCell<Counts>);

#[derive(Default)]
struct Counts {
    times: BTreeMap<Route, Vec<Duration>>,
    failures: BTreeMap<String, u64>,
    ageless: u64,
    lag_ms: u64,
}

impl Tally {
    /// A read has ended. What is not 200 has failed: everything that is asked for is there.
    pub(crate) fn add(&self, route: Route, time: Duration, answer: Result<Answer>) {
        let mut counts = self.0.borrow_mut();
        match answer {
            Ok(answer) if answer.status == 200 => {
                counts.times.entry(route).or_default().push(time);
                counts.ageless += u64::from(answer.lag_ms.is_none());
                counts.lag_ms = counts.lag_ms.max(answer.lag_ms.unwrap_or(0));
            }
            Ok(answer) => counts.fail(format!("{route:?}: status {}", answer.status)),
            Err(error) => counts.fail(format!("{error:#}")),
        }
    }

    /// Reads that were answered.
    pub(crate) fn reads(&self) -> u64 {
        self.0.borrow().times.values().map(|times| times.len() as u64).sum()
    }

    /// What is said of the address.
    pub(crate) fn of_target(&self, address: SocketAddr, cpu_us: Option<u64>) -> Value {
        let counts = self.0.borrow();
        json!({
            "address": address.to_string(), "reads": self.reads(), "cpu_us": cpu_us,
            "failed": counts.failures.values().sum::<u64>(), "failures": counts.failures,
            "lag_ms_max": counts.lag_ms, "without_age": counts.ageless,
        })
    }

    /// Times by route, over all addresses, in microseconds.
    pub(crate) fn routes(tallies: &[Rc<Self>]) -> Value {
        let of = |(name, route): (&'static str, Route)| {
            let mut times = Vec::new();
            for tally in tallies {
                times.extend(tally.0.borrow().times.get(&route).into_iter().flatten().copied());
            }
            times.sort_unstable();
            let last = times.len().checked_sub(1)?;
            let at = |share: usize| times[last * share / 1000].as_micros();
            let row = json!({
                "reads": times.len(), "p50_us": at(500), "p99_us": at(990), "p99.9_us": at(999),
                "max_us": at(1000),
            });
            Some((name.to_owned(), row))
        };
        Value::Object(Route::ALL.into_iter().filter_map(of).collect())
    }
}

impl Counts {
    fn fail(&mut self, reason: String) {
        let known = self.failures.contains_key(&reason) || self.failures.len() < REASONS;
        let reason = if known { reason } else { "other".to_owned() };
        *self.failures.entry(reason).or_default() += 1;
    }
}
