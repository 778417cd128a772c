//! The program as a user starts it, with a secret in each flag and variable that may hold one: it
//! prints none of them.

use std::net::TcpListener;
use std::process::{Command, Output};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The beginning of each secret; a comma ends a setting, so that one is torn in two.
const SECRET: &str = "hunter2";

/// Runs the program until it ends by itself.
fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome<Output> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_processor"));
    program.args(arguments).env_clear().envs(environment.iter().copied());
    Ok(program.output()?)
}

fn shown(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

const ENVIRONMENT: [(&str, &str); 4] = [
    ("KAFKA_SETTINGS", "sasl.password=hunter2a,ssl.key.pem=hunter2b,linger.ms=7"),
    ("SCHEMA_REGISTRY_URL", "http://me:hunter2c@127.0.0.1:1/x"),
    ("HISTORY_URL", "postgresql://me:hunter2d@127.0.0.1:1/market"),
    ("QUERY_URL", "http://me:hunter2e@127.0.0.1:1"),
];

#[test]
fn help_prints_no_secret_of_the_environment() -> Outcome {
    let commands: [&[&str]; 5] =
        [&["run"], &["serve"], &["topics", "create"], &["query", "latest"], &["query", "candles"]];
    for command in commands {
        for help in ["-h", "--help"] {
            let output = output(&[command, &[help]].concat(), &ENVIRONMENT)?;
            let shown = shown(&output);
            assert!(output.status.success() && shown.contains("Options:"), "{shown}");
            assert!(!shown.contains(SECRET), "{command:?}: {shown}");
        }
    }
    Ok(())
}

#[test]
fn the_log_and_the_errors_of_a_start_hold_no_secret() -> Outcome {
    // The address is taken, so that the program ends after it has logged its settings.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let folder = tempfile::tempdir()?;
    let state = folder.path().to_str().ok_or("a path that is no text")?;
    let flags = [
        "--kafka",
        "sasl.password=hunter2f",
        "--kafka",
        "linger.ms=7",
        "--schema-registry-url",
        "http://me:hunter2g@127.0.0.1:1/x",
        "--history-url",
        "postgresql://me:hunter2h@127.0.0.1:1/market",
    ];
    for command in ["run", "serve"] {
        for listen in [&*taken, "127.0.0.1:0"] {
            let arguments = [command, "--listen", listen, "--state-dir", state];
            for (flags, environment) in [(&flags[..], &[][..]), (&[][..], &ENVIRONMENT[..])] {
                let output = output(&[&arguments, flags].concat(), environment)?;
                let shown = shown(&output);
                assert!(!output.status.success() && shown.contains("linger.ms=7"), "{shown}");
                assert!(!shown.contains(SECRET), "{command}: {shown}");
                assert!(!shown.contains('\u{1b}'), "colours beside a terminal: {shown:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_read_is_not_repeated() -> Outcome {
    let torn = "sasl.password=x,hunter2 is the second half";
    for command in [&["serve"][..], &["topics", "create"]] {
        for (flags, environment) in
            [(&["--kafka", torn][..], &[][..]), (&[][..], &[("KAFKA_SETTINGS", torn)][..])]
        {
            let output = output(&[command, flags].concat(), environment)?;
            let shown = shown(&output);
            assert!(!output.status.success() && shown.contains("KEY=VALUE"), "{shown}");
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
    Ok(())
}
