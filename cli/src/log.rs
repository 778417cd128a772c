//! Logging to standard error.
//!
//! `RUST_LOG` selects the lines, `info` without it. Text has colours on a terminal only, and none
//! with `NO_COLOR` (no-color.org): a log file holds no escape codes.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The flags of logging.
#[derive(Args, Clone, Copy, Debug)]
pub struct Log {
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Log {
    /// Starts it. A program calls this once.
    pub fn start(self) -> anyhow::Result<()> {
        let directives = std::env::var_os(EnvFilter::DEFAULT_ENV).unwrap_or_default();
        let filter = filter(&directives.to_string_lossy())?;
        let colour = has_colour(&io::stderr(), std::env::var_os("NO_COLOR"));
        Ok(subscriber(self.log_format, filter, colour, io::stderr).try_init()?)
    }
}

fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let builder = EnvFilter::builder().with_default_directive(Level::INFO.into());
    builder.parse(directives).map_err(|error| {
        anyhow!("RUST_LOG={directives}: {error}; set a level or a list, such as warn,streams=debug")
    })
}

fn has_colour(output: &impl IsTerminal, no_color: Option<OsString>) -> bool {
    output.is_terminal() && no_color.is_none_or(|value| value.is_empty())
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(log.with_ansi(colour).finish()),
        LogFormat::Json => Box::new(log.json().finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;

    const ESCAPE: u8 = 0x1b;

    /// The bytes of two log lines in a file.
    fn logged(path: &Path, format: LogFormat, colour: Option<bool>) -> anyhow::Result<Vec<u8>> {
        let file = File::create(path)?;
        let colour = colour.unwrap_or_else(|| has_colour(&file, None));
        let subscriber = subscriber(format, filter("")?, colour, Mutex::new(file));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(topic = "latest", "starting");
            tracing::debug!("batch");
            tracing::error!(error = "refused", "failed");
        });
        Ok(fs::read(path)?)
    }

    #[test]
    fn a_log_file_holds_no_escape_codes() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("log");
        for format in [LogFormat::Text, LogFormat::Json] {
            let bytes = logged(&path, format, None)?;
            let text = String::from_utf8_lossy(&bytes);
            assert!(!bytes.contains(&ESCAPE), "{format:?}: {text}");
            assert_eq!(text.lines().count(), 2, "{format:?}: {text}");
        }
        assert!(logged(&path, LogFormat::Text, Some(true))?.contains(&ESCAPE));
        Ok(())
    }

    #[test]
    fn a_bad_filter_is_refused_with_its_value_the_reason_and_the_way_out() {
        let error = filter("streams=loud").map(|_| ()).map_err(|error| error.to_string());
        let error = error.unwrap_err();
        for part in ["RUST_LOG=streams=loud", "expected one of", "such as warn,streams=debug"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
