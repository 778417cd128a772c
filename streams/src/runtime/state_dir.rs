//! The state directory: one process at a time, a stable name, and the shape its state was made for.
//!
//! ```text
//! STATE_DIR/APPLICATION_ID/lock         held while a process runs
//!                          instance     this member's name: 128 random bits, made once
//!                          partitions   of each source when the state was made, a line each: topic, count
//!                          topics       its stores, a line each: store, topic, the topic's id
//!                          engine       the storage engine: sled or fjall
//!                          stores/      the database
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rand::TryRngCore as _;
use rand::rngs::OsRng;

use super::config::StoreConfig;
use crate::error::{Error, Result};
use crate::record::{Partition, TaskId};
use crate::store::engine::Database;
use crate::store::{Engine, Store};
use crate::topology::{StoreSpec, Topology};

/// An open state directory.
pub(super) struct StateDir {
    path: PathBuf,
    database: Database,
    /// Held while one small file is read or written.
    remembering: Mutex<()>,
    /// Unlocked when it is dropped, or when the process dies.
    _lock: File,
}

impl StateDir {
    /// Opens or creates it, and locks it.
    pub(super) fn open(config: &StoreConfig) -> Result<Self> {
        let path = config.state_dir.join(&config.application_id);
        let unusable = |error: std::io::Error| {
            Error::Invalid(format!("state directory {}: {error}; set --state-dir", path.display()))
        };
        fs::create_dir_all(&path).map_err(unusable)?;
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Invalid(format!(
                    "state directory {} is in use by another process; give each its own --state-dir",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let stores = path.join("stores");
        let engine = engine(&path, &stores, config.store_engine)?;
        let database = Database::open(engine, &stores, config.store_cache_bytes)?;
        Ok(Self { path, database, remembering: Mutex::default(), _lock: lock })
    }

    /// Opens the store of one partition, and fences its earlier owner.
    pub(super) fn open_store(
        &self,
        spec: &StoreSpec,
        partition: Partition,
    ) -> Result<Box<dyn Store>> {
        let name = spec.name_on_disk(partition);
        match spec.retention() {
            None => self.database.store(&name),
            Some(retention) => self.database.windowed(&name, retention),
        }
    }

    /// Removes the stores that earlier versions of a layout have left. Their successors are restored from
    /// the topics.
    pub(super) fn remove_earlier(&self, topology: &Topology, tasks: &[TaskId]) -> Result<()> {
        for task in tasks {
            let specs = topology.sub_topology(task.sub_topology).stores();
            let names = specs.iter().flat_map(|spec| spec.earlier_names(task.partition));
            for name in names.filter(|name| self.database.has_store(name)) {
                tracing::info!(store = name, "removed: its layout has changed, and it is restored");
                self.database.remove_store(&name)?;
            }
        }
        Ok(())
    }

    /// Bytes of all stores on disk.
    pub(super) fn size_bytes(&self) -> u64 {
        self.database.size_bytes()
    }

    /// The member's name, stable over restarts: its transactional ids are made of it, so that a
    /// restarted member fences what it left.
    pub(super) fn instance(&self) -> Result<String> {
        let mut bits = [0; 16];
        // Time and process do not tell members apart: in containers the process is number 1, and two
        // that begin in the same millisecond would fence each other for ever.
        OsRng.try_fill_bytes(&mut bits).map_err(|error| {
            Error::Invalid(format!("no random bits for this member's name: {error}"))
        })?;
        self.remember("instance", || format!("{:032x}", u128::from_be_bytes(bits)))
    }

    /// Checks that the state was made for so many partitions of each topic. A topic that is new here is
    /// remembered.
    pub(super) fn check_partitions<'a>(
        &self,
        topics: impl Iterator<Item = (&'a str, i32)>,
    ) -> Result<()> {
        let known = self.remember("partitions", String::new)?;
        let mut lines: Vec<String> = known.lines().map(str::to_owned).collect();
        for (index, (topic, count)) in topics.enumerate() {
            // A number alone is of the version that had one source.
            let of =
                |line: &&String| line.split_once(' ').map_or(index == 0, |(name, _)| name == topic);
            let Some(line) = lines.iter().find(of) else {
                lines.push(format!("{topic} {count}"));
                continue;
            };
            let made_for = line.rsplit(' ').next().unwrap_or_default();
            if made_for != count.to_string() {
                return Err(Error::Invalid(format!(
                    "topic {topic} has {count} partitions, but the state in {} was made for \
                     {made_for}: keys have moved; give it back {made_for} partitions, or start anew \
                     with another --application-id and --topic-prefix",
                    self.path.display()
                )));
            }
        }
        self.replace("partitions", &known, &lines.join("\n"))
    }

    /// Checks that each store was made of this very topic, and not of another that bore its name: a
    /// position in a topic that was deleted means nothing in its successor. A store that is new here is
    /// remembered.
    pub(super) fn check_topics(&self, stores: &[(&StoreSpec, String)]) -> Result<()> {
        let known = self.remember("topics", String::new)?;
        let mut lines: Vec<String> = known.lines().map(str::to_owned).collect();
        for (store, id) in stores {
            let topic = &store.topic;
            let of = |line: &&String| match line.split(' ').collect::<Vec<_>>()[..] {
                // A line of the version that did not name the store: of this one, or of another prefix.
                [name, _] => name == topic || stores.iter().all(|(one, _)| one.topic != name),
                [name, ..] => name == store.name,
                [] => false,
            };
            match lines.iter().find(of) {
                None => lines.push(format!("{} {topic} {id}", store.name)),
                Some(line) if line.rsplit(' ').take(2).eq([id, topic]) => {}
                Some(line) => {
                    return Err(Error::Corrupt(format!(
                        "topic {topic} has the id {id}, but the state in {} was made of {line}: the \
                         topic was deleted and created again; move the state directory away to restore \
                         what the new topic has",
                        self.path.display()
                    )));
                }
            }
        }
        self.replace("topics", &known, &lines.join("\n"))
    }

    /// Writes a small file again when it has changed.
    fn replace(&self, name: &str, known: &str, text: &str) -> Result<()> {
        if known == text {
            return Ok(());
        }
        let _one_at_a_time = self.remembering.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.join(name);
        write_whole(&path, text)
            .map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))
    }

    fn remember(&self, name: &str, make: impl FnOnce() -> String) -> Result<String> {
        let _one_at_a_time = self.remembering.lock().unwrap_or_else(PoisonError::into_inner);
        remember(&self.path.join(name), make)
    }
}

/// The engine that the stores were made with; another cannot read them. Those that were made before
/// there was a choice are sled's.
fn engine(path: &Path, stores: &Path, wanted: Option<Engine>) -> Result<Engine> {
    let made = if stores.exists() { Engine::Sled } else { wanted.unwrap_or_default() };
    let known: Engine = remember(&path.join("engine"), || made.to_string())?.parse()?;
    match wanted {
        Some(wanted) if wanted != known => Err(Error::Invalid(format!(
            "the stores in {} were made with the engine {known}, not {wanted}: set --store-engine \
             {known} or none, or move the directory away and they are restored from the topics",
            path.display()
        ))),
        _ => Ok(known),
    }
}

fn remember(path: &Path, make: impl FnOnce() -> String) -> Result<String> {
    let unusable = |error: std::io::Error| Error::Invalid(format!("{}: {error}", path.display()));
    match fs::read_to_string(path) {
        Ok(known) => Ok(known.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let new = make();
            write_whole(path, &new).map_err(unusable)?;
            Ok(new)
        }
        Err(error) => Err(unusable(error)),
    }
}

/// Writes a file so that a crash leaves all of it or none.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::StoreHandle;
    use crate::{Context, Failure, Processor};

    fn open(path: &Path, store_engine: impl Into<Option<Engine>>) -> Result<StateDir> {
        StateDir::open(&StoreConfig {
            application_id: "app".into(),
            bootstrap_servers: "nowhere".into(),
            state_dir: path.into(),
            overlay_max_bytes: 1 << 20,
            flush_interval: Duration::from_secs(1),
            store_cache_bytes: 1 << 20,
            store_engine: store_engine.into(),
            restore_max_bytes: 1 << 20,
            kafka: Vec::new(),
        })
    }

    #[test]
    fn a_directory_keeps_its_engine() -> std::result::Result<(), Box<dyn std::error::Error>> {
        for (mine, other) in [(Engine::Sled, Engine::Fjall), (Engine::Fjall, Engine::Sled)] {
            let folder = tempfile::tempdir()?;
            drop(open(folder.path(), mine)?);
            drop(open(folder.path(), mine)?);
            let refused = open(folder.path(), other).err().map(|error| error.to_string());
            let told = format!("set --store-engine {mine}");
            assert!(refused.is_some_and(|error| error.contains(&told)));
            drop(open(folder.path(), None)?);
        }
        Ok(())
    }

    #[test]
    fn a_member_has_a_name_of_its_own_and_keeps_it() -> Result<()> {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let name = |folder: &tempfile::TempDir| open(folder.path(), Engine::Sled)?.instance();
        // Of the same process and, as far as a clock can tell, of the same time.
        let [one, other] = [name(&folders[0])?, name(&folders[1])?];
        assert_ne!(one, other);
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(one.len() == 32 && one.chars().all(is_hex), "{one}");
        assert_eq!(name(&folders[0])?, one);
        // The name of an earlier version, made of time and process.
        fs::write(folders[1].path().join("app/instance"), "18f0-1").expect("it is ours");
        assert_eq!(name(&folders[1])?, "18f0-1");
        Ok(())
    }

    fn specs() -> Result<Vec<StoreSpec>> {
        let topology = crate::Topology::new(|builder| {
            let lines = builder.source("lines", |record| Ok(record.key.to_vec()));
            for name in ["counts", "sums"] {
                let layout = crate::Layout::new(name, |(): &(), _| (), |_| Ok(()));
                let store = builder.store(name, layout);
                lines.process(builder, |stores| Unused(stores.get(&store)));
            }
        })?;
        Ok(topology.stores().cloned().collect())
    }

    /// Connects a store.
    struct Unused(#[expect(dead_code, reason = "it only has to be connected")] StoreHandle<()>);

    impl Processor for Unused {
        type In = Vec<u8>;
        type Out = ();

        fn process(
            &mut self,
            _: &mut Context<'_, ()>,
            _: &Vec<u8>,
        ) -> std::result::Result<(), Failure> {
            Ok(())
        }
    }

    fn told<R>(result: Result<R>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn state_is_of_its_topics_and_a_new_store_is_remembered() -> Result<()> {
        let (folder, specs) = (tempfile::tempdir().expect("a folder"), specs()?);
        let dir = open(folder.path(), Engine::Sled)?;
        let of = |ids: &[&str]| -> Vec<(&StoreSpec, String)> {
            specs.iter().zip(ids).map(|(spec, id)| (spec, (*id).to_owned())).collect()
        };
        // As the version before wrote it, when there was one store.
        fs::write(dir.path.join("topics"), "counts one\n").expect("it is ours");
        dir.check_topics(&of(&["one", "two"]))?;
        assert!(
            told(dir.check_topics(&of(&["one", "three"]))).contains("topic sums has the id three")
        );
        assert!(told(dir.check_topics(&of(&["other"]))).contains("topic counts has the id other"));
        // A store that is not run now is still remembered.
        dir.check_topics(&of(&["one"]))?;
        assert!(told(dir.check_topics(&of(&["one", "three"]))).contains("topic sums"));
        // State that another prefix has left.
        fs::write(dir.path.join("topics"), "prefix.counts one\n").expect("it is ours");
        assert!(told(dir.check_topics(&of(&["one"]))).contains("was made of prefix.counts"));
        Ok(())
    }

    #[test]
    fn state_is_of_a_number_of_partitions_of_each_source() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = open(folder.path(), Engine::Sled)?;
        // As the version before wrote it, when there was one source.
        fs::write(dir.path.join("partitions"), "6").expect("it is ours");
        let check = |all: &[(&'static str, i32)]| dir.check_partitions(all.iter().copied());
        check(&[("lines", 6), ("words", 3)])?;
        let said = told(check(&[("lines", 6), ("words", 4)]));
        assert!(
            said.contains("topic words has 4 partitions") && said.contains("made for 3"),
            "{said}"
        );
        assert!(told(check(&[("lines", 5)])).contains("topic lines has 5 partitions"));
        check(&[("lines", 6)])
    }

    #[test]
    fn a_directory_from_before_the_choice_is_sleds() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("app/stores"))?;
        assert!(open(folder.path(), Engine::Fjall).is_err_and(|e| matches!(e, Error::Invalid(_))));
        assert!(
            open(folder.path(), None).is_ok_and(|dir| matches!(dir.database, Database::Sled(_)))
        );
        Ok(())
    }
}
