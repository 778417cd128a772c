//! A program of ours as a user starts it, whose log can be read while it runs. Dropped, it is dead.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::stack::binary;
use super::wait::wait_until;

/// A program that was told to stop commits, writes its stores and leaves its group.
const STOP: Duration = Duration::from_mins(3);
/// A program that works until its input ends.
const FINISH: Duration = Duration::from_mins(3);

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What became of a program.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub log: String,
}

impl Process {
    /// Starts `program` with its standard error in `folder/name.log`. The environment of whoever
    /// runs the tests does not reach it.
    pub fn start(program: &str, arguments: &[String], folder: &Path, name: &str) -> Result<Self> {
        Self::start_by(Command::new(binary(program)?), program, arguments, folder, name)
    }

    /// The same by `launcher`, which ends as `program` or with it.
    pub fn start_by(
        mut launcher: Command,
        program: &str,
        arguments: &[String],
        folder: &Path,
        name: &str,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join(format!("{name}.log"));
        let child = launcher
            .args(arguments)
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join(format!("{name}.out")))?)
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{program} {arguments:?}"))?;
        Ok(Self { name: name.into(), child, log })
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Whole lines that it has printed so far.
    pub fn output(&self) -> Result<String> {
        let out = fs::read(self.log.with_extension("out"))?;
        let mut text = String::from_utf8_lossy(&out).into_owned();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        Ok(text)
    }

    /// Lines of the log that hold `words`.
    pub fn lines(&self, words: &str) -> Result<Vec<String>> {
        let log = self.log()?;
        Ok(log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect())
    }

    /// It still runs; otherwise an error with the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.tail()?);
        }
        Ok(())
    }

    fn tail(&self) -> Result<String> {
        let log = self.log()?;
        let lines: Vec<_> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(15)..].join("\n"))
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the exit code that follows.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended(STOP)
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let told = Command::new("kill").args(["-s", name, &self.id().to_string()]).status()?;
        ensure!(told.success(), "{} does not run any more:\n{}", self.name, self.tail()?);
        Ok(())
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn ended(&mut self, bound: Duration) -> Result<ExitStatus> {
        let name = format!("{} to end", self.name);
        wait_until(&name, bound, || Ok(self.child.try_wait()?))
    }

    /// Waits for the end of its work, which must be a success.
    pub fn finish(self) -> Result<Said> {
        let name = self.name.clone();
        let said = self.outcome()?;
        ensure!(said.code == Some(0), "{name} ended with {:?}:\n{}", said.code, said.log);
        Ok(said)
    }

    /// SIGTERM, and its end, whatever it is: of a load that is longer than it is needed.
    pub fn told_to_end(self) -> Result<Said> {
        self.signal("TERM")?;
        self.outcome()
    }

    /// Waits for its end, whatever it is.
    pub fn outcome(mut self) -> Result<Said> {
        let code = self.ended(FINISH)?.code();
        let out = fs::read_to_string(self.log.with_extension("out"))?;
        Ok(Said { code, out, log: self.log()? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
