//! An installation of a test's own: topics, group, state and programs under one prefix.
//!
//! Dropped, it takes everything away again; the logs of a test that failed stay in `.run/test`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use schemas::Codec;
use schemas::registry::Registry;
use schemas::topic::{DEFAULT_PARTITIONS, Topic};

use super::broker;
use super::fold::{self, Outputs};
use super::ownership::owned_tasks;
use super::process::{Process, Said};
use super::stack::{Stack, binary, root};
use super::topics::{self, Record};
use super::wait::wait_until;

/// What a busy machine takes to join a group, restore, and take the last record.
const CATCH_UP: Duration = Duration::from_mins(2);

/// Copies of each partition, where there are as many brokers.
const COPIES: usize = 3;

/// Where a processor writes for readers.
const OUTPUTS: [Topic; 13] = [
    Topic::Latest,
    Topic::Ohlc1m,
    Topic::Ohlc1h,
    Topic::Ohlc1d,
    Topic::Late,
    Topic::DeadLetters,
    Topic::TopOfBook,
    Topic::Spreads1m,
    Topic::Spreads1h,
    Topic::Spreads1d,
    Topic::Options,
    Topic::Options1m,
    Topic::Derivatives,
];

/// The beginning of the names of the tasks of `events`.
const OF_EVENTS: &str = "0_";

/// The settings of a member that tests of crashes need: dead members are given up in seconds.
pub const IMPATIENT: [&str; 4] = ["--session-timeout", "6s", "--transaction-timeout", "5s"];

/// One installation.
pub struct Installation {
    /// Where the stack is.
    pub stack: Stack,
    /// What the names of its topics begin with.
    pub prefix: String,
    folder: PathBuf,
    started: AtomicU32,
    finished: bool,
}

impl Installation {
    /// With its topics created.
    pub fn new(name: &str) -> Result<Self> {
        let installation = Self::without_topics(name)?;
        installation.create_topics(DEFAULT_PARTITIONS)?;
        Ok(installation)
    }

    /// With nothing but a name.
    pub fn without_topics(name: &str) -> Result<Self> {
        let stack = Stack::up()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let prefix = format!("test-{name}-{now:x}.");
        let folder = root().join(".run/test").join(&prefix);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { stack, prefix, folder, started: AtomicU32::new(0), finished: false })
    }

    /// `processor topics create`.
    pub fn create_topics(&self, partitions: i32) -> Result<()> {
        let count = partitions.to_string();
        let copies = self.stack.brokers().min(COPIES).to_string();
        let create = ["topics", "create", "--partitions", &count, "--replication-factor", &copies];
        let kafka =
            ["--bootstrap-servers", &self.stack.bootstrap_servers, "--topic-prefix", &self.prefix];
        let group = ["--application-id", &self.application_id()];
        self.start("processor", &[&create[..], &kafka, &group].concat())?.finish()?;
        let wanted: Vec<String> = Topic::ALL.iter().map(|topic| self.topic(*topic)).collect();
        // Brokers hear of new topics one after the other.
        wait_until("the topics to be there", CATCH_UP, || {
            let known = topics::list(&self.stack.bootstrap_servers)?;
            Ok(wanted.iter().all(|topic| known.contains_key(topic)).then_some(()))
        })
    }

    /// The name of a topic here.
    pub fn topic(&self, topic: Topic) -> String {
        topic.name(&self.prefix)
    }

    /// The group's name.
    pub fn application_id(&self) -> String {
        format!("{}processor", self.prefix)
    }

    /// Where programs run and logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The schemas, as they are registered for this installation.
    pub fn codec(&self) -> Result<Codec> {
        Ok(Registry::new(&self.stack.registry)?.codec(&self.prefix)?)
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Result<Process> {
        self.start_by(Command::new(binary(program)?), program, arguments)
    }

    fn start_by(&self, by: Command, program: &str, arguments: &[&str]) -> Result<Process> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number:02}-{program}-{}", arguments.first().unwrap_or(&""));
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        Process::start_by(by, program, &arguments, &self.folder, &name)
    }

    /// Any command of a program, as it is.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<Process> {
        self.start(program, arguments)
    }

    /// A command of the producer, with the addresses and the prefix.
    pub fn producer(&self, arguments: &[&str]) -> Result<Process> {
        self.start("producer", &[arguments, &self.addresses()].concat())
    }

    /// The same, behind everything else that wants a processor. librdkafka's idempotent producer
    /// spins while records wait behind a partition that does not answer (its issue 3692): on a small
    /// machine it would starve the very brokers that it waits for.
    pub fn background_producer(&self, arguments: &[&str]) -> Result<Process> {
        // Where the kernel weighs whole sessions, the new session's weight is what counts; elsewhere
        // there is no such file, and nice is enough.
        let script = "echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 \"$0\" \"$@\"";
        let mut behind = Command::new("setsid");
        behind.args(["sh", "-c", script]).arg(binary("producer")?);
        let addresses = self.addresses();
        self.start_by(behind, "producer", &[arguments, &addresses].concat())
    }

    /// The flags of the addresses and the prefix.
    pub fn addresses(&self) -> [&str; 6] {
        [
            "--bootstrap-servers",
            &self.stack.bootstrap_servers,
            "--schema-registry-url",
            &self.stack.registry,
            "--topic-prefix",
            &self.prefix,
        ]
    }

    /// A command of the producer, to its successful end.
    pub fn produce(&self, arguments: &[&str]) -> Result<Said> {
        // A busy machine's broker is no missing one.
        self.producer(&[arguments, &["--connect-timeout", "1m"]].concat())?.finish()
    }

    /// Starts a member; the same `state` is the same member.
    pub fn member(&self, state: &str, arguments: &[&str]) -> Result<Member> {
        self.member_by(Command::new(binary("processor")?), state, arguments)
    }

    /// Starts a member, and waits until it is ready.
    pub fn ready_member(&self, state: &str, arguments: &[&str]) -> Result<Member> {
        let mut member = self.member(state, arguments)?;
        member.ready()?;
        Ok(member)
    }

    /// The same by a launcher, which ends as the processor.
    pub fn member_by(&self, by: Command, state: &str, arguments: &[&str]) -> Result<Member> {
        let application = self.application_id();
        self.serve(by, &["run", "--application-id", &application], state, arguments)
    }

    /// Starts a read view; the same `state` is the same view.
    pub fn view(&self, state: &str, arguments: &[&str]) -> Result<Member> {
        self.serve(Command::new(binary("processor")?), &["serve"], state, arguments)
    }

    /// Starts a read view, and waits until it is ready.
    pub fn ready_view(&self, state: &str, arguments: &[&str]) -> Result<Member> {
        let mut view = self.view(state, arguments)?;
        view.ready()?;
        Ok(view)
    }

    /// Starts a member and a read view, and waits until both are ready. Both take further arguments.
    pub fn member_and_view(&self, member: &[&str], view: &[&str]) -> Result<(Member, Member)> {
        let mut member = self.member("one", member)?;
        let mut view = self.view("view", view)?;
        member.ready()?;
        view.ready()?;
        Ok((member, view))
    }

    fn serve(&self, by: Command, own: &[&str], state: &str, arguments: &[&str]) -> Result<Member> {
        let state = self.state(state).to_string_lossy().into_owned();
        let state = ["--state-dir", &state];
        // A free port, which its log names, unless one is given.
        let listen = ["--listen", "127.0.0.1:0"];
        let listen = if arguments.contains(&"--listen") { &[][..] } else { &listen };
        let arguments = [own, &self.addresses(), &state, listen, arguments].concat();
        Ok(Member { process: self.start_by(by, "processor", &arguments)? })
    }

    /// Where a member with this `state` keeps it.
    pub fn state(&self, state: &str) -> PathBuf {
        self.folder.join("state").join(state)
    }

    /// Waits until the group has committed every record of `events`, while these members run.
    pub fn caught_up(&self, members: &mut [&mut Member]) -> Result<()> {
        self.caught_up_with(Topic::Events, members)
    }

    /// The same of another source, such as `quotes`.
    pub fn caught_up_with(&self, source: Topic, members: &mut [&mut Member]) -> Result<()> {
        let (bootstrap, topic) = (&self.stack.bootstrap_servers, self.topic(source));
        let ends = topics::ends(bootstrap, &topic)?;
        let mut seen = Vec::new();
        wait_until(&format!("the group to reach the end of {topic}"), CATCH_UP, || {
            for member in &mut *members {
                member.process.alive()?;
            }
            seen = topics::committed(bootstrap, &self.application_id(), &topic)?;
            Ok((seen == ends).then_some(()))
        })
        .with_context(|| {
            format!("ends {ends:?}, committed {seen:?}, logs in {}", self.folder.display())
        })
    }

    /// A command of the producer to its end, and its events through the group.
    pub fn process(&self, arguments: &[&str], members: &mut [&mut Member]) -> Result<()> {
        self.produce(arguments)?;
        self.caught_up(members)
    }

    /// Records of `events` that the group has committed.
    pub fn processed(&self) -> Result<i64> {
        let events = self.topic(Topic::Events);
        Ok(topics::committed(&self.stack.bootstrap_servers, &self.application_id(), &events)?
            .iter()
            .sum())
    }

    /// Writes records to a partition of a topic.
    pub fn write(&self, topic: Topic, partition: i32, records: &[broker::Row]) -> Result<()> {
        broker::write(&self.stack.bootstrap_servers, &self.topic(topic), partition, records)
    }

    /// A topic's committed records.
    pub fn read(&self, topic: Topic) -> Result<Vec<Record>> {
        topics::read(&self.stack.bootstrap_servers, &self.topic(topic))
    }

    /// The outputs as they are, and as a fold of `events` by other means says they should be.
    pub fn actual_and_expected(&self) -> Result<(Outputs, Outputs)> {
        let codec = self.codec()?;
        let expected = fold::fold(&codec, &self.read(Topic::Events)?)?;
        let mut actual = Outputs::default();
        for topic in OUTPUTS {
            actual.add(&codec, topic, &self.read(topic)?)?;
        }
        Ok((actual, expected))
    }

    /// The outputs are what the fold says, in every topic. Returns them.
    pub fn outputs_equal_the_fold(&self) -> Result<Outputs> {
        let (actual, expected) = self.actual_and_expected()?;
        actual.equals(&expected).with_context(|| format!("logs in {}", self.folder.display()))?;
        Ok(actual)
    }

    /// The last of a test that went well: its logs are not needed.
    pub fn finish(mut self) -> Result<()> {
        self.finished = true;
        Ok(())
    }

    /// [`Self::finish`], after these members were told to stop and ended well.
    pub fn finish_with(self, members: impl IntoIterator<Item = Member>) -> Result<()> {
        for member in members {
            member.stop()?;
        }
        self.finish()
    }

    fn subjects(&self) -> Result<Vec<String>> {
        let url = format!("{}/subjects", self.stack.registry);
        let subjects: Vec<String> = reqwest::blocking::get(url)?.json()?;
        Ok(subjects.into_iter().filter(|subject| subject.starts_with(&self.prefix)).collect())
    }

    fn clean(&self) -> Result<()> {
        let topics = topics::list(&self.stack.bootstrap_servers)?;
        let ours =
            topics.into_keys().filter(|topic| topic.starts_with(&self.prefix)).collect::<Vec<_>>();
        broker::delete(&self.stack.bootstrap_servers, &ours, &[self.application_id()])?;
        let http = reqwest::blocking::Client::new();
        for subject in self.subjects()? {
            http.delete(format!("{}/subjects/{subject}", self.stack.registry)).send()?;
        }
        if self.finished {
            std::fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // A failure to tidy up must not hide the failure that led here.
        let _ = self.clean();
    }
}

/// A member of the group.
pub struct Member {
    /// Its program.
    pub process: Process,
}

impl Member {
    /// Where it serves metrics and reads; it says so when it has started.
    pub fn address(&mut self) -> Result<String> {
        wait_until("a member to serve", CATCH_UP, || {
            self.process.alive()?;
            let serving = self.process.lines("serving metrics, health and reads")?;
            let address = serving.first().and_then(|line| line.split("address=").nth(1));
            Ok(address.map(|address| address.trim().to_owned()))
        })
    }

    /// Waits until it answers reads: it has tasks, and they are restored.
    pub fn ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.address()?);
        wait_until("a member to be ready", CATCH_UP, || {
            self.process.alive()?;
            Ok(reqwest::blocking::get(&url).is_ok_and(|a| a.status().is_success()).then_some(()))
        })
    }

    /// Its metrics: name with labels, and value.
    pub fn metrics(&mut self) -> Result<BTreeMap<String, String>> {
        let text = reqwest::blocking::get(format!("http://{}/metrics", self.address()?))?.text()?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| line.rsplit_once(' ').map(|(n, v)| (n.to_owned(), v.to_owned()));
        Ok(lines.filter_map(pair).collect())
    }

    /// The partitions of `events` that it has, by its log.
    pub fn owned(&self) -> Result<BTreeSet<i32>> {
        let tasks = owned_tasks(&self.process.log()?);
        let of_events = tasks.iter().filter_map(|task| task.strip_prefix(OF_EVENTS));
        of_events.map(|partition| Ok(partition.parse()?)).collect()
    }

    /// [`Self::owned`], once there are any.
    pub fn given(&self) -> Result<BTreeSet<i32>> {
        wait_until("a member to be given partitions", CATCH_UP, || {
            Ok(Some(self.owned()?).filter(|owned| !owned.is_empty()))
        })
    }

    /// How many records it restored when it last got a partition of `events`, by partition.
    pub fn restored(&self) -> Result<BTreeMap<i32, u64>> {
        Ok(self.restores()?.into_iter().collect())
    }

    /// Partition and records of each time that it restored one of `events`, in order.
    pub fn restores(&self) -> Result<Vec<(i32, u64)>> {
        let lines = self.process.lines(" restored task=")?;
        let field = |line: &str, name: &str| -> Result<String> {
            let value = line.split(&format!(" {name}=")).nth(1).context("no such field")?;
            Ok(value.split(' ').next().unwrap_or_default().trim_matches('"').to_owned())
        };
        let mut restores = Vec::new();
        for line in &lines {
            if let Some(partition) = field(line, "task")?.strip_prefix(OF_EVENTS) {
                let partition = partition.parse().with_context(|| line.clone())?;
                restores.push((partition, field(line, "restored")?.parse()?));
            }
        }
        Ok(restores)
    }

    /// SIGTERM: it commits, leaves, and ends well.
    pub fn stop(mut self) -> Result<String> {
        let status = self.process.stop()?;
        let log = self.process.log()?;
        ensure!(status.success(), "a member that was told to stop ended with {status}:\n{log}");
        Ok(log)
    }
}
