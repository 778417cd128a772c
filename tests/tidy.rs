//! The norms of this repository, as tests: each failure names file, line and rule.
//!
//! These are the norms that no lint of the compiler or of clippy has. The others are in `Cargo.toml`,
//! `[workspace.lints]`, and in the `clippy.toml` files.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use source::Source;

/// Lines of a file that are not tests.
const MAX_LINES: usize = 500;
/// A further trait needs a second real implementation, and a line here. `Group` and `Topics` are the
/// outside of a worker: a follower has the second only. `MarkedPairs` are those of candles and of quotes.
/// `Disk` and `DiskFile` are a directory and memory. `Field` is each type that a field of a record may
/// have. `Row` is of `options` or of `derivatives`.
const TRAITS: [&str; 10] = [
    "Disk",
    "DiskFile",
    "Field",
    "Group",
    "MarkedPairs",
    "Processor",
    "Record",
    "Row",
    "Store",
    "Topics",
];
/// Topic names that are no everyday words.
const TOPICS: [&str; 20] = [
    "latest",
    "pool_1m",
    "token_5m",
    "token_1h",
    "swap_status",
    "processor-swap-instances-changelog",
    "processor-chain-blocks-changelog",
    "processor-token-pools-changelog",
    "processor-index-due-changelog",
    "ohlc_1m",
    "ohlc_1h",
    "ohlc_1d",
    "processor-feeds-changelog",
    "top_of_book",
    "spreads_1m",
    "spreads_1h",
    "spreads_1d",
    "processor-quote-feeds-changelog",
    "option_tickers",
    "options_1m",
];
/// Where `latest` is the newest block of a chain, as JSON-RPC has it.
const BLOCKS: [&str; 3] =
    ["simulator/src/ethereum/", "venues/src/ethereum/", "producer/src/plan/pools.rs"];
/// What is built, stored or downloaded, and no part of the repository.
const NOT_OURS: [&str; 4] = ["target", ".run", ".git", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).into()
}

fn walk(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !NOT_OURS.contains(&name.as_str()) {
                walk(&path, extension, found)?;
            }
        } else if path.extension().is_some_and(|have| have == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(&root(), extension, &mut found)?;
    ensure!(!found.is_empty() || extension == "md", "no .{extension} file");
    Ok(found)
}

fn sources() -> Result<Vec<Source>> {
    let root = root();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        Ok(Source::read(name, &fs::read_to_string(path)?))
    };
    files("rs")?.iter().map(read).collect()
}

/// Every line of code that breaks a rule. The rules themselves name what they forbid.
fn breaches(rule: &str, breaks: impl Fn(&Source, usize, &str) -> bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for source in sources()?.iter().filter(|source| !source.is_in(&["tests/tidy"])) {
        for (index, code) in source.code.iter().enumerate() {
            if breaks(source, index, code) {
                found.push(format!("{}:{}: {rule}", source.name, index + 1));
            }
        }
    }
    Ok(found)
}

fn none(found: &[String]) -> Result<()> {
    ensure!(found.is_empty(), "\n{}", found.join("\n"));
    Ok(())
}

/// `word` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

#[test]
fn every_file_opens_with_what_it_is_for() -> Result<()> {
    let sources = sources()?;
    let found = sources.iter().filter(|source| !source.has_header);
    none(&found.map(|s| format!("{}:1: a file opens with //!", s.name)).collect::<Vec<_>>())
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    let sources = sources()?;
    let lines = |source: &Source| source.tests_from.unwrap_or(source.code.len());
    let found = sources.iter().filter(|source| lines(source) > MAX_LINES);
    let found = found.map(|s| {
        format!("{}:{MAX_LINES}: {} lines without tests, of {MAX_LINES}", s.name, lines(s))
    });
    none(&found.collect::<Vec<_>>())
}

#[test]
fn only_the_edges_know_kafka() -> Result<()> {
    let edges = ["streams/src/runtime/", "producer/src/sink", "tests/", "bench/"];
    let rule = "rdkafka is named in streams/src/runtime and producer/src/sink only";
    none(&breaches(rule, |source, index, code| {
        let named = ["rdkafka", "rdkafka_sys"].iter().any(|word| has_word(code, word));
        named && !source.is_test(index) && !source.is_in(&edges)
    })?)
}

#[test]
fn unsafe_code_is_in_one_file() -> Result<()> {
    none(&breaches("unsafe is in streams/src/runtime/librdkafka.rs only", |source, _, code| {
        has_word(code, "unsafe") && !source.is_in(&["streams/src/runtime/librdkafka.rs"])
    })?)
}

#[test]
fn a_circle_is_found_through_groups_reexports_and_paths() -> Result<()> {
    let read = |(name, text): &(&str, &str)| Source::read(format!("crate/src/{name}.rs"), text);
    let files = [
        ("lib", "pub mod a;\npub mod b;\npub use b::c::D;\nuse a::A;"),
        ("a", "use std::{fs, io};\nuse crate::{\n    D,\n};\npub struct A;"),
        ("b/mod", "pub mod c;\npub use c::D;"),
        ("b/c", "pub struct D;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}"),
    ];
    ensure!(circles::circles(&files.each_ref().map(read)).is_empty());
    for import in ["use crate::a::{self, A};", "use crate::a;", "fn f(_: crate::a::A) {}"] {
        let c = format!("{import}\npub struct D;");
        let files = [files[0], files[1], files[2], ("b/c", c.as_str())];
        let found = circles::circles(&files.each_ref().map(read));
        ensure!(
            found.len() == 1 && found[0].contains("a → b   crate/src/a.rs: crate::D"),
            "{found:?}"
        );
        ensure!(found[0].contains("b → a   crate/src/b/c.rs"), "{found:?}");
    }
    Ok(())
}

#[test]
fn imports_of_folders_have_no_circles() -> Result<()> {
    none(&circles::circles(&sources()?))
}

#[test]
fn the_simulation_reads_no_clock() -> Result<()> {
    // The other tests of the whole system live in real time, so clippy lets this package read it.
    none(&breaches("time is an argument in a simulation", |source, _, code| {
        let reads = ["SystemTime::now", "Instant::now"].iter().any(|read| code.contains(read));
        reads && source.is_in(&["tests/simulation"])
    })?)
}

#[test]
fn topics_are_named_in_the_topic_table() -> Result<()> {
    let names = TOPICS.map(|topic| format!("\"{topic}\""));
    none(&breaches("a topic is named in schemas/src/topic.rs only", |source, index, code| {
        let is_word = |name: &str| name == "\"latest\"" && source.is_in(&BLOCKS);
        let named = names.iter().any(|name| code.contains(name) && !is_word(name));
        named && !source.is_test(index) && !source.is_in(&["schemas/src/topic.rs", "tests/"])
    })?)
}

#[test]
fn each_trait_has_two_real_implementations() -> Result<()> {
    let mut traits = BTreeSet::new();
    for source in &sources()? {
        for code in &source.code {
            let mut words = code.split_whitespace().skip_while(|word| word.starts_with("pub"));
            if words.next() == Some("trait") {
                let name = words.next().unwrap_or_default();
                let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
                traits.insert(name[..end].to_owned());
            }
        }
    }
    let known: BTreeSet<String> = TRAITS.map(str::to_owned).into();
    ensure!(traits == known, "traits are {traits:?}, the list in tests/tidy.rs says {known:?}");
    Ok(())
}

#[test]
fn tests_run_always_and_say_what_they_show() -> Result<()> {
    none(&breaches("no ignored test, no expected panic, no test_ in a name", |_, _, code| {
        let banned = ["#[ignore", "#[should_panic", "fn test_"];
        banned.iter().any(|word| code.contains(word))
    })?)
}

#[test]
fn a_test_does_not_pass_before_its_end() -> Result<()> {
    // What a test needs is there or the test fails: an early success shows nothing.
    let mut found = Vec::new();
    for source in &sources()? {
        let lines = source.lines_of_tests().into_iter();
        let early = lines.filter(|at| source.code[*at].contains(concat!("return", " Ok")));
        let rule = "a test fails where it cannot go on";
        found.extend(early.map(|at| format!("{}:{}: {rule}", source.name, at + 1)));
    }
    none(&found)
}

#[test]
fn nothing_is_read_from_outside_the_repository() -> Result<()> {
    // A checkout alone builds, tests and measures; `tests/support/recordings.rs` knows the data.
    let outside = [concat!("shared", "/data"), concat!("MARKET", "_DATA"), concat!("/..", "/..")];
    let locator = "tests/support/recordings.rs";
    let (mut found, folder) = (Vec::new(), concat!("tests", "/data"));
    for extension in ["rs", "py", "sh"] {
        for path in files(extension)? {
            let name = path.strip_prefix(root())?.to_string_lossy().into_owned();
            // A file that is built in is looked for from the file that names it.
            let built_in = |line: &str| line.contains("include_") || line.contains("#[path");
            for (index, line) in fs::read_to_string(&path)?.lines().enumerate() {
                let leaves = outside.iter().any(|word| line.contains(word)) && !built_in(line);
                if leaves || (line.contains(folder) && name != locator) {
                    found.push(format!("{name}:{}: data is found by {locator}", index + 1));
                }
            }
        }
    }
    none(&found)
}

#[test]
fn unit_tests_do_not_wait() -> Result<()> {
    // The tests of the whole system wait for other programs; nothing else has a reason to.
    none(&breaches("a unit test does not sleep", |source, index, code| {
        source.is_test(index) && !source.is_in(&["tests/"]) && code.contains("sleep(")
    })?)
}

/// The lines of a list that are no comment, cut at `|`.
fn listed(path: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(root().join(path))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| line.split('|').map(|part| part.trim().to_owned()).collect()).collect())
}

#[test]
fn each_planted_bug_has_a_name_a_file_and_tests_that_may_catch_it() -> Result<()> {
    let stages = listed("tests/mutations/stages")?;
    let (mut names, mut found) = (BTreeSet::new(), Vec::new());
    for bug in listed("tests/mutations/list")? {
        let [name, file, _, ..] = &bug[..] else {
            found.push(format!("{bug:?} is not NAME | FILE | SED EXPRESSION"));
            continue;
        };
        if !names.insert(name.clone()) {
            found.push(format!("{name} is listed twice"));
        }
        if !root().join(file).is_file() {
            found.push(format!("{name}: there is no {file}"));
        }
        if !stages.iter().any(|stage| file.starts_with(&stage[0])) {
            found.push(format!("{name}: no line of tests/mutations/stages is for {file}"));
        }
    }
    none(&found)
}

#[test]
fn each_group_of_the_suite_names_tests_that_exist() -> Result<()> {
    // A name that is gone would end `cargo test` before its first test.
    let script = fs::read_to_string(root().join("tests/all.sh"))?;
    for group in ["beside=(", "alone=("] {
        let line = script.lines().find_map(|line| line.strip_prefix(group));
        let names = line.and_then(|line| line.strip_suffix(')'));
        let names = names.with_context(|| format!("tests/all.sh has no {group}…)"))?;
        for name in names.split(' ') {
            ensure!(root().join(format!("tests/{name}.rs")).is_file(), "there is no {name}.rs");
        }
    }
    Ok(())
}

#[test]
fn nothing_is_left_for_later() -> Result<()> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut found = Vec::new();
    for extension in ["rs", "md", "toml", "sh", "sql", "yml", "avsc"] {
        for path in files(extension).unwrap_or_default() {
            for (index, line) in fs::read_to_string(&path)?.lines().enumerate() {
                if words.iter().any(|word| has_word(line, word)) {
                    let name = path.strip_prefix(root())?.display();
                    found.push(format!("{name}:{}: nothing is left for later", index + 1));
                }
            }
        }
    }
    none(&found)
}

#[test]
fn every_relative_link_leads_somewhere() -> Result<()> {
    let mut found = Vec::new();
    for path in files("md")? {
        for (index, line) in fs::read_to_string(&path)?.lines().enumerate() {
            for link in links(line) {
                let file = link.split('#').next().unwrap_or_default();
                let target = path.parent().unwrap_or(Path::new(".")).join(file);
                if !target.exists() {
                    let name = path.strip_prefix(root())?.display();
                    found.push(format!("{name}:{}: {link} leads nowhere", index + 1));
                }
            }
        }
    }
    none(&found)
}

/// Targets of a line's links that are neither elsewhere nor within the same page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let elsewhere = |target: &str| target.contains("://") || target.starts_with("mailto:");
    targets
        .filter(move |target| !target.is_empty() && !target.starts_with('#') && !elsewhere(target))
}
