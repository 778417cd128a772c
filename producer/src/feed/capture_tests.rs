//! Files of captures: where they end, and what is deleted.

use std::io::BufRead;

use super::*;

fn line(at_us: i64, raw: &str) -> Line {
    Line { at_us, kind: LineKind::Frame, url: "ws://x".into(), raw: raw.into() }
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

#[test]
fn a_line_has_the_format_that_replay_reads() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut captured = Files::new(dir.path(), "coinbase", u64::MAX)?;
    captured.write(&line(1_617_566_592_629_139, "{\"type\":\"x\"}\n"))?;
    captured.finish()?;
    let files = files(dir.path())?;
    assert_eq!(files, [dir.path().join("coinbase-1617566592629139.jsonl.zst")]);
    let lines: Vec<String> = cli::lines::open(&files[0])?.lines().collect::<Result<_, _>>()?;
    let read: serde_json::Value = serde_json::from_str(&lines[0])?;
    let expected = json!({"at_us": 1_617_566_592_629_139_i64, "venue": "coinbase",
        "kind": "frame", "url": "ws://x", "raw": "{\"type\":\"x\"}\n"});
    assert_eq!((lines.len(), read), (1, expected));
    Ok(())
}

#[test]
fn a_file_ends_after_an_hour_and_is_whole_to_the_last_seconds_before() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut captured = Files::new(dir.path(), "coinbase", u64::MAX)?;
    for second in 0..=3_601 {
        captured.write(&line(second * 1_000_000, "text"))?;
    }
    // As after a kill -9: nothing is finished.
    drop(captured);
    let files = files(dir.path())?;
    assert_eq!(files.len(), 2);
    assert_eq!(cli::lines::open(&files[0])?.lines().count(), 3_600);
    Ok(())
}

#[test]
fn beyond_the_bound_the_oldest_file_is_deleted_also_one_of_an_earlier_process() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let old = dir.path().join("coinbase-0000000000000001.jsonl.zst");
    let other = dir.path().join("kraken-0000000000000001.jsonl.zst");
    fs::write(&old, [0; 500])?;
    fs::write(&other, [0; 500])?;
    let mut captured = Files::new(dir.path(), "coinbase", 550)?;
    captured.write(&line(5, "text"))?;
    captured.finish()?;
    assert_eq!((old.exists(), other.exists(), files(dir.path())?.len()), (false, true, 2));
    // The same microsecond is another file.
    captured.write(&line(5, "text"))?;
    captured.finish()?;
    assert_eq!(files(dir.path())?.len(), 3);
    Ok(())
}
