//! The command line of the programs: units, the flags of Kafka, lines of files, logging, signals.
//!
//! The Kafka client is not a dependency: its settings are names and values here.

pub mod kafka;
pub mod lines;
pub mod log;
pub mod secret;
pub mod signal;
pub mod units;

use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit code of a program. Its error is one line on standard error.
pub fn exit_code(program: &str, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    // A closed standard error has no reader to inform.
    let _ = writeln!(io::stderr(), "{program}: {error:#}");
    ExitCode::FAILURE
}
