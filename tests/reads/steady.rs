//! Somebody who goes on reading, whatever happens, and remembers what failed and how old it was.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use tests::support::soon;

/// Between two reads: some hundred a second leave the machine to those who are read.
const PAUSE: Duration = Duration::from_millis(5);
/// An answer that has not come by then has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Failures that are remembered word by word.
const REMEMBERED: usize = 5;

/// What one reader has met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Answers that had what was asked for.
    pub(crate) answered: u64,
    /// Attempts without an answer: nobody listened, or the connection broke.
    pub(crate) unheard: u64,
    /// Answers without what was asked for.
    pub(crate) failed: u64,
    /// The first of both.
    pub(crate) first: Vec<String>,
    /// How old the newest answer says that it is.
    pub(crate) lag_ms: Option<u64>,
    /// The greatest of all.
    pub(crate) max_lag_ms: u64,
}

/// Reads each route in turn until it is told to stop.
pub(crate) struct Steady {
    /// Written after each read, looked at by the test; held for a copy.
    told: Arc<Mutex<Told>>,
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Steady {
    /// Of a view, for what the load with at least one pair has put there.
    pub(crate) fn start(url: &str) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let (stop, stopped) = channel();
        let (url, shared) = (url.to_owned(), Arc::clone(&told));
        let thread = std::thread::spawn(move || -> Result<()> {
            let http = reqwest::blocking::Client::builder().timeout(PATIENCE).build()?;
            let mut turn = 0;
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                turn += 1;
                let answer = ask(&http, &url, turn).send();
                let mut told = shared.lock().unwrap_or_else(PoisonError::into_inner);
                told.add(turn, answer);
            }
            Ok(())
        });
        Self { told, stop, thread }
    }

    /// What it has met so far.
    pub(crate) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for so many answers from now on.
    pub(crate) fn goes_on(&self, answers: u64) -> Result<()> {
        let before = self.told().answered;
        soon("reads to go on", || Ok(self.told().answered >= before + answers))
    }

    /// Waits until an answer is so old.
    pub(crate) fn ages(&self, lag_ms: u64) -> Result<()> {
        soon("answers to become older", || Ok(self.told().lag_ms >= Some(lag_ms)))
    }

    /// Waits until an answer is no older than that.
    pub(crate) fn is_fresh(&self, lag_ms: u64) -> Result<()> {
        soon("answers to be fresh", || Ok(self.told().lag_ms.is_some_and(|lag| lag <= lag_ms)))
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Told> {
        let told = Arc::clone(&self.told);
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow!("the reader panicked"))??;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(told)
    }

    /// Ends it; nothing may have failed.
    pub(crate) fn stop_without_failure(self) -> Result<Told> {
        let told = self.stop()?;
        ensure!(told.failed == 0 && told.unheard == 0 && told.answered > 0, "{told:#?}");
        Ok(told)
    }
}

/// The route of that turn.
fn ask(
    http: &reqwest::blocking::Client,
    url: &str,
    turn: u64,
) -> reqwest::blocking::RequestBuilder {
    const PAIR: &str = "base=L00000&quote=USD&exchange=load";
    match turn % 5 {
        0 => http.get(format!("{url}/v1/latest?{PAIR}")),
        1 => http.get(format!("{url}/v1/candles?{PAIR}&limit=20")),
        2 => http.get(format!("{url}/v1/exchanges")),
        3 => http.get(format!("{url}/v1/bases/L00000")),
        _ => {
            let pair = json!([{ "base": "L00000", "quote": "USD", "exchange": "load" }]);
            http.post(format!("{url}/v1/latest")).json(&pair)
        }
    }
}

impl Told {
    fn add(&mut self, turn: u64, answer: reqwest::Result<reqwest::blocking::Response>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unheard += 1;
                return self.remember(format!("turn {turn}: {error:?}"));
            }
        };
        let lag = answer.headers().get("lag-ms").and_then(|lag| lag.to_str().ok()?.parse().ok());
        let status = answer.status();
        // Whatever is asked for has this pair in it.
        match answer.text() {
            Ok(text) if status.is_success() && text.contains("load") => self.answered += 1,
            told => {
                self.failed += 1;
                return self.remember(format!("turn {turn}: {status} {told:?}"));
            }
        }
        self.lag_ms = lag;
        self.max_lag_ms = self.max_lag_ms.max(lag.unwrap_or(0));
    }

    fn remember(&mut self, failure: String) {
        if self.first.len() < REMEMBERED {
            self.first.push(failure);
        }
    }
}
