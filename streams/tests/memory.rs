//! A store on disk does not keep in memory what it has written: a process of its own is measured.

use std::fs;

use streams::record::Offset;
use streams::store::Store;
use streams::store::engine::{Database, Engine};

/// Memory that the database may hold.
const CACHE: usize = 8 << 20;
/// Keys of a round; none comes twice.
const KEYS: u64 = 20_000;
const VALUE: [u8; 150] = [7; 150];
const ROUNDS: u64 = 30;
/// The round after which it is counted.
const FIRST: u64 = 4;
/// Bytes that the database, and an allocator that returns none, may take beyond the first rounds.
const GROWTH: u64 = 48 << 20;

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of it");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number") << 10
}

fn key(round: u64, number: u64) -> Vec<u8> {
    [round.to_be_bytes(), number.to_be_bytes()].concat()
}

/// Writes the keys of a round.
fn write(store: &dyn Store, round: u64) {
    let keys: Vec<_> = (0..KEYS).map(|number| key(round, number)).collect();
    let changes: Vec<_> = keys.iter().map(|key| (&key[..], Some(&VALUE[..]))).collect();
    let position = i64::try_from(round).expect("few rounds");
    store.apply(&changes, Some(Offset(position))).expect("room on the disk");
}

/// 100 MB and more are written, which sled of itself would hold to the last byte.
#[test]
fn what_is_written_does_not_stay_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    for engine in Engine::ALL {
        let path = directory.path().join(engine.as_str());
        let database = Database::open(engine, &path, CACHE).expect("a database");
        let store = database.store("store").expect("a store");
        let mut before = 0;
        for number in 0..ROUNDS {
            write(&*store, number);
            if number == FIRST {
                before = resident();
            }
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < GROWTH, "{engine}: {} MiB more in memory", grown >> 20);
        for key in [key(0, 0), key(ROUNDS - 1, KEYS - 1)] {
            assert_eq!(store.get(&key).expect("readable"), Some(VALUE.to_vec()));
        }
    }
}
