//! The program over recorded files, without a broker: `processor compute` and `processor candles`.

#[path = "../../tests/support/recordings.rs"]
#[expect(dead_code, unreachable_pub, reason = "a library elsewhere")]
mod recordings;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use processor::compute::{self, COMMIT_EVERY, ComputeOptions, Printed};
use schemas::Decimal;
use schemas::topic::Topic;
use serde_json::Value;

const COINBASE: &str = "coinbase/20210417_ws.jsonl.zst";
const BINANCE: &str = "binance/20210404_ws.jsonl.zst";
const DERIBIT: &str = "deribit/20210417_ws.jsonl.zst";
const BITSTAMP: &str = "bitstamp/20220105_ws.jsonl.zst";
const HITBTC: &str = "hitbtc/trades.jsonl.zst";
/// More digits than a float holds, on either side of the point.
const EXACT: &str = "12345678901234567890.123456789012345678";

fn start(arguments: &[&str]) -> Result<Child> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_processor"));
    program.args(arguments).env_clear();
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(program.spawn()?)
}

/// Runs the program with some text on its standard input, until it ends by itself.
fn output(arguments: &[&str], input: &str) -> Result<Output> {
    let mut program = start(arguments)?;
    // It may end before it has read everything.
    let _ = program.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    Ok(program.wait_with_output()?)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rows that the program prints, and its log.
fn printed(arguments: &[&str]) -> Result<(Vec<Value>, String)> {
    let output = output(arguments, "")?;
    let log = shown(&output.stderr);
    ensure!(output.status.success(), "{log}");
    let rows = shown(&output.stdout).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((rows, log))
}

/// The one line of a program that fails.
fn failure(arguments: &[&str], input: &str) -> Result<String> {
    let output = output(arguments, input)?;
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    let text = shown(&output.stderr);
    ensure!(text.lines().count() == 1, "{text}");
    Ok(text)
}

fn data(name: &str) -> Result<String> {
    Ok(recordings::path(name)?.to_string_lossy().into_owned())
}

fn written(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    Ok(path.to_string_lossy().into_owned())
}

fn trade(id: i64, price: &str, time_ms: i64) -> String {
    let time = time_ms * 1000;
    format!(
        r#"{{"exchange":"any","base":"BTC","quote":"USD","trade_id":{id},"price":"{price}","size":"1e-18","event_time_us":{time}}}"#
    ) + "\n"
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn minutes_of_recorded_trades_are_the_exchanges_own() -> Result<()> {
    let (rows, _) = printed(&["compute", &data(HITBTC)?, "--print", "ohlc_1m"])?;
    let name = |key: &Value| {
        let parts = ["exchange", "base", "quote"].map(|part| text(&key[part]).to_owned());
        (parts, key["open_time"].as_i64().or(key["open_time_ms"].as_i64()))
    };
    let ours: BTreeMap<_, _> = rows.iter().map(|row| (name(&row["key"]), &row["value"])).collect();
    let official = recordings::json("hitbtc/candles_1m.jsonl.zst")?;
    ensure!(official.len() == 428, "{} official candles", official.len());
    for candle in official {
        let own = ours.get(&name(&candle)).with_context(|| format!("none for {candle}"))?;
        for (field, theirs) in [
            ("open", "open"),
            ("high", "high"),
            ("low", "low"),
            ("close", "close"),
            ("base_volume", "volume"),
        ] {
            let official: Decimal = text(&candle[theirs]).parse()?;
            ensure!(own[field] == official.to_string(), "{field}: {own} is not {candle}");
        }
    }
    Ok(())
}

/// Files with records for every topic: revisions, late events, and each kind of dead letter.
fn everything(folder: &Path) -> Result<Vec<PathBuf>> {
    const DAY: i64 = 86_400_000;
    let start = 1_700_000_000_000;
    let trades: String = [
        trade(1, "100", start),
        trade(2, "101", start + 70_000),
        // A revision, trades beyond the horizon, one that is refused, and no trades at all.
        trade(3, "99", start + 1),
        trade(4, "102", start + 2 * DAY),
        trade(5, "1", start),
        trade(6, "2", start),
        trade(7, "0", start + 2 * DAY),
        "{\n[\n".to_owned(),
    ]
    .concat();
    let captures = [COINBASE, BINANCE, DERIBIT, BITSTAMP].into_iter().map(recordings::path);
    let mut files = captures.collect::<Result<Vec<_>>>()?;
    files.push(written(folder, "trades.jsonl", trades)?.into());
    files.push(written(folder, "perpetual.jsonl", perpetual(start)?)?.into());
    Ok(files)
}

/// Two tickers of a perpetual, which the recordings do not have.
fn perpetual(start: i64) -> Result<String> {
    let line = |at: i64| -> Result<String> {
        let data = serde_json::json!({
            "instrument_name": "BTC-PERPETUAL", "timestamp": at, "state": "open", "mark_price": 29932.79,
            "last_price": 29931.0, "index_price": 29930.44, "current_funding": 0.0, "funding_8h": -0.00001,
        });
        let params = serde_json::json!({"channel": "ticker.BTC-PERPETUAL.100ms", "data": data});
        let frame =
            serde_json::json!({"jsonrpc": "2.0", "method": "subscription", "params": params});
        let line = serde_json::json!({
            "at_us": at * 1000, "venue": "deribit", "kind": "frame", "url": null, "raw": frame.to_string(),
        });
        Ok(format!("{line}\n"))
    };
    Ok([line(start)?, line(start + 1_000)?].concat())
}

#[test]
fn a_perpetual_is_a_derivative_with_its_funding() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = written(folder.path(), "perpetual.jsonl", perpetual(1_700_000_000_000)?)?;
    let (rows, _) = printed(&["compute", &path, "--print", "derivatives"])?;
    let [row] = &rows[..] else { anyhow::bail!("{rows:?}") };
    let key = serde_json::json!({"base": "BTC-PERPETUAL", "quote": "USD", "exchange": "deribit"});
    assert_eq!(row["key"], key);
    for (field, expected) in [
        ("class", "PERPETUAL"),
        ("currency", "BTC"),
        ("state", "OPEN"),
        ("mark_price", "29932.79"),
        ("current_funding", "0"),
        ("funding_8h", "-0.00001"),
    ] {
        assert_eq!(row["value"][field], expected, "{field}");
    }
    assert_eq!(row["value"]["event_time"], 1_700_000_001_000_i64);
    for field in ["expiry_time", "tick_size", "bid", "open_interest", "closed_at"] {
        assert_eq!(row["value"].get(field), Some(&Value::Null), "{field}");
    }
    Ok(())
}

fn computed(
    files: &[PathBuf],
    print: Printed,
    changes: bool,
    commit_every: usize,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let options = ComputeOptions { print, changes, listing: None, commit_every };
    compute::run(files, &options, &mut out)?;
    Ok(String::from_utf8(out)?.lines().map(str::to_owned).collect())
}

/// The last line of each key.
fn folded(lines: &[String]) -> Result<BTreeMap<String, String>> {
    let keyed = lines.iter().map(|line| {
        let row: Value = serde_json::from_str(line).with_context(|| line.clone())?;
        Ok((row["key"].to_string(), line.clone()))
    });
    keyed.collect()
}

#[test]
fn the_changes_of_every_topic_folded_by_key_are_its_final_print() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = everything(folder.path())?;
    // Those of a chain are compared with their recordings in swap_recordings.rs.
    let of_chains = [
        Topic::Swaps,
        Topic::Pools,
        Topic::PoolMinutes,
        Topic::Token5m,
        Topic::Token1h,
        Topic::SwapStatus,
        Topic::SwapInstances,
        Topic::ChainBlocks,
        Topic::TokenPools,
        Topic::Index,
    ];
    let topics = Topic::ALL.into_iter().filter(|topic| !of_chains.contains(topic));
    for print in topics.map(Printed::Topic).chain([Printed::Marks]) {
        let last = computed(&files, print, false, COMMIT_EVERY)?;
        ensure!(!last.is_empty(), "{print:?} has no record");
        let expected = folded(&last)?;
        ensure!(expected.len() == last.len(), "{print:?}: a key comes twice");
        // The recorded books close one minute of an hour and a day.
        let is_once = matches!(print, Printed::Topic(Topic::Spreads1h | Topic::Spreads1d));
        for commit_every in [1, 500] {
            let changes = computed(&files, print, true, commit_every)?;
            ensure!(folded(&changes)? == expected, "{print:?}, a commit every {commit_every}");
            let is_more = commit_every > 1 || is_once || changes.len() > last.len();
            ensure!(is_more, "{print:?}: {} changes only", changes.len());
        }
        ensure!(computed(&files, print, false, 1)? == last, "{print:?}: another end");
    }
    Ok(())
}

#[test]
fn an_unknown_topic_is_one_line_with_those_that_exist() -> Result<()> {
    let output = output(&["compute", "-", "--print", "ohlc_2m"], "")?;
    let shown = shown(&output.stderr);
    let line = shown.lines().next().unwrap_or_default();
    assert!(
        !output.status.success() && line.contains("'ohlc_2m' for '--print <TOPIC>'"),
        "{shown}"
    );
    for name in Topic::ALL.map(Topic::base_name).into_iter().chain(["marks"]) {
        assert!(line.contains(name), "{name} is not in {line}");
    }
    Ok(())
}

#[test]
fn a_file_of_neither_kind_is_named_with_its_line_and_the_way_out() -> Result<()> {
    for name in
        ["hitbtc/candles_1m.jsonl.zst", "lean/coinbase_btcusd_1d.csv", "mixed/messages.jsonl.zst"]
    {
        let path = data(name)?;
        let line = failure(&["compute", &data(HITBTC)?, &path, "--print", "latest"], "")?;
        let what = format!("cannot compute {path}, line 1: the line is not of a capture");
        assert!(
            line.contains(&what) && line.contains("; convert the file or leave it out"),
            "{line}"
        );
    }
    let folder = tempfile::tempdir()?;
    let path = written(
        folder.path(),
        "swaps.jsonl",
        "\n{\"at_us\":1,\"venue\":\"nowhere\",\"kind\":\"frame\",\"raw\":\"{}\"}\n",
    )?;
    let line = failure(&["compute", &path, "--print", "latest"], "")?;
    assert!(line.contains(", line 2: captures of nowhere cannot be replayed yet"), "{line}");
    Ok(())
}

#[test]
fn a_truncated_capture_is_an_error_where_its_whole_lines_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bytes = fs::read(recordings::path(COINBASE)?)?;
    let path = written(folder.path(), "torn.jsonl.zst", &bytes[..bytes.len() * 2 / 3])?;
    let line = failure(&["compute", &path, "--print", "events"], "")?;
    let number = line.split("after line ").nth(1).and_then(|rest| rest.split(':').next());
    let number: usize = number.context(line.clone())?.parse()?;
    let whole = recordings::lines(COINBASE)?;
    assert!(number > 0 && number < whole.len(), "{line}");
    let ways = [": incomplete frame; copy", &format!("zstd -dc {path} | head -n {number}")];
    assert!(ways.iter().all(|way| line.contains(way)), "{line}");

    // What that command gives, and the torn line behind it.
    let torn = format!("{}\n{}", whole[..number].join("\n"), &whole[number][..40]);
    let path = written(folder.path(), "torn.jsonl", torn)?;
    let (letters, log) = printed(&["compute", &path, "--print", "dead_letters", "--changes"])?;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["headers"]["reason"], "not_json");
    assert!(log.contains("records are in no candle") && log.contains("malformed=1"), "{log}");
    let (events, _) = printed(&["compute", &path, "--print", "events", "--changes"])?;
    assert!(!events.is_empty());
    Ok(())
}

#[test]
fn a_decimal_of_many_digits_stays_exact() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = written(folder.path(), "trades.jsonl", trade(1, EXACT, 1_700_000_000_123))?;
    for (topic, fields) in [
        ("events", &["price"][..]),
        ("latest", &["price"]),
        ("ohlc_1m", &["open", "high", "low", "close"]),
    ] {
        let (rows, _) = printed(&["compute", &path, "--print", topic])?;
        let [row] = &rows[..] else { anyhow::bail!("{topic}: {rows:?}") };
        for field in fields {
            assert_eq!(row["value"][field], EXACT, "{topic}");
        }
    }
    let (rows, _) = printed(&["compute", &path, "--print", "ohlc_1m"])?;
    let expected = r#"{"base":"BTC","basis":"TRADE","exchange":"any","open_time":1699999980000,"quote":"USD"}"#;
    assert_eq!(rows[0]["key"].to_string(), expected);
    assert_eq!(rows[0]["value"]["base_volume"], "0.000000000000000001");
    assert_eq!(rows[0]["value"]["taker_buy_base"], Value::Null);
    Ok(())
}

#[test]
fn dead_letters_have_headers_and_bytes_that_are_no_record_are_base64() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let frame =
        r#"{"at_us":1617566592629139,"venue":"coinbase","kind":"frame","url":null,"raw":"{}"}"#;
    let path = written(
        folder.path(),
        "mixed.jsonl",
        format!("{frame}\n{}", trade(7, "0", 1_700_000_000_000)),
    )?;
    let (rows, log) = printed(&["compute", &path, "--print", "dead_letters", "--changes"])?;
    let [frame, trade] = &rows[..] else { anyhow::bail!("{rows:?}") };
    assert_eq!((&frame["key"], text(&frame["value"])), (&Value::Null, "e30="));
    let header = |row: &Value, name: &str| text(&row["headers"][name]).to_owned();
    assert_eq!(
        (header(frame, "source"), header(frame, "venue")),
        ("producer".into(), "coinbase".into())
    );
    assert_eq!(
        (header(frame, "bytes"), header(frame, "reason")),
        ("2".into(), "missing_field".into())
    );
    assert_eq!((text(&trade["key"]["base"]), text(&trade["value"]["price"])), ("BTC", "0"));
    let headers = ["topic", "partition", "offset", "reason"].map(|name| header(trade, name));
    assert_eq!(headers, ["events", "0", "0", "bad_price"]);
    assert!(log.contains("malformed=1 invalid=1 late=0"), "{log}");
    Ok(())
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() -> Result<()> {
    let path = data("binance/20240808_spot_btcusdt.jsonl.zst")?;
    let mut program = start(&["compute", &path, "--print", "events", "--changes"])?;
    let mut first = String::new();
    BufReader::new(program.stdout.take().context("no output")?).read_line(&mut first)?;
    assert!(first.starts_with("{\"key\":{\"base\":\"BTC\""), "{first}");
    let mut log = String::new();
    program.stderr.take().context("no log")?.read_to_string(&mut log)?;
    assert!(program.wait()?.success() && log.is_empty(), "{log}");
    Ok(())
}

#[test]
fn standard_input_holds_trades_and_no_capture() -> Result<()> {
    let trades = output(&["compute", "-", "--print", "latest"], &trade(1, "5", 1_700_000_000_000))?;
    assert!(
        trades.status.success() && shown(&trades.stdout).contains("\"price\":\"5\""),
        "{trades:?}"
    );
    let capture = recordings::lines(COINBASE)?.join("\n");
    let line = failure(&["compute", "-", "--print", "latest"], &capture)?;
    assert!(
        line.contains("a capture is read twice") && line.contains("write it to a file"),
        "{line}"
    );
    Ok(())
}

#[test]
fn a_listing_changes_no_price_and_shows_pairs_that_it_has_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let latest = |name: &str, listing: Option<&str>| {
        let (path, mut arguments) = (data(name)?, vec!["compute", "--print", "latest"]);
        arguments.push(&path);
        arguments.extend(listing.iter().flat_map(|file| ["--listing", file]));
        printed(&arguments)
    };
    let own = data("deribit/20210417_rest_instruments.jsonl.zst")?;
    let (rows, log) = latest(DERIBIT, Some(&own))?;
    assert_eq!((rows, String::new()), (latest(DERIBIT, None)?.0, log));

    let line = r#"{"at_us":1,"venue":"coinbase","kind":"http","url":"","raw":"[{\"id\":\"BTC-USD\",\"base_currency\":\"BTC\",\"status\":\"online\"}]"}"#;
    let other = written(folder.path(), "listing.jsonl", line)?;
    let (rows, log) = latest(COINBASE, Some(&other))?;
    assert_eq!(rows, latest(COINBASE, None)?.0);
    let warning = format!("pairs={}", rows.len());
    assert!(log.contains(&warning) && log.contains("the listing has not"), "{log}");

    let none = data(BINANCE)?;
    let line = failure(&["compute", &none, "--print", "latest", "--listing", &none], "")?;
    assert!(
        line.contains(&format!("{none} has no listing")) && line.contains("name a capture"),
        "{line}"
    );
    Ok(())
}

#[test]
fn candles_are_a_short_form_that_merges_open_minutes_and_takes_no_bad_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = 1_723_161_255_342;
    let trades = [trade(1, "61837.63", start), trade(2, "61838", start + 70_000)].concat();
    let path = written(folder.path(), "trades.jsonl", &trades)?;
    let minutes = output(&["candles", &path], "")?;
    let first = r#"{"base":"BTC","close":"61837.63","exchange":"any","high":"61837.63","low":"61837.63","open":"61837.63","open_time_ms":1723161240000,"quote":"USD","quote_volume":"0.000000000000061838","revision":0,"status":"CLOSED","trades":1,"volume":"0.000000000000000001"}"#;
    assert_eq!(shown(&minutes.stdout).lines().next(), Some(first));
    assert_eq!(printed(&["candles", &path, "--closed"])?.0.len(), 1);
    // The topic's hour has the closed minute, the reader's hour both.
    let (hours, _) = printed(&["candles", &path, "--interval", "1h"])?;
    let (topic, _) = printed(&["compute", &path, "--print", "ohlc_1h"])?;
    assert_eq!((&hours[0]["trades"], &topic[0]["value"]["trades"]), (&2.into(), &1.into()));

    let path = written(folder.path(), "bad.jsonl", trades.replace("\"61838\"", "\"x\""))?;
    let line = failure(&["candles", &path], "")?;
    assert!(
        line.contains(&format!("{path}, line 2: field price cannot be read; correct")),
        "{line}"
    );
    Ok(())
}

/// Ten trades, of which one is missing, and a book whose snapshot is older than its updates.
fn marked(folder: &Path) -> Result<String> {
    let lines = recordings::lines("binance/20240808_spot_btcusdt.jsonl.zst")?;
    let from = lines.iter().position(|line| line.contains("lastUpdateId")).context("a snapshot")?;
    let mut lines = lines[from..from + 2_000].to_vec();
    let is_trade = |line: &String| line.contains("@trade");
    let trade = lines.iter().enumerate().filter(|(_, line)| is_trade(line)).nth(3);
    let (missing, _) = trade.context("a trade")?;
    lines.remove(missing);
    written(folder, "marked.jsonl", lines.join("\n"))
}

#[test]
fn a_mark_is_printed_with_its_kind_part_reason_and_span() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = marked(folder.path())?;
    let (marks, _) = printed(&["compute", &path, "--print", "marks", "--changes"])?;
    let by_part = |part: &str| marks.iter().find(|row| row["value"]["part"] == part);
    assert_eq!(marks.len(), 2, "{marks:?}");
    let book = by_part("BOOK").context("a gap of the book")?;
    let key = serde_json::json!({"base": "BTC", "quote": "USDT", "exchange": "binance"});
    assert_eq!(book["key"], key);
    let value = &book["value"];
    assert_eq!((text(&value["kind"]), text(&value["reason"])), ("GAP", "STALE_SNAPSHOT"));
    assert_eq!(value["from_us"], 1_723_161_254_206_000_i64, "its first frame");
    assert!(value["until_us"].as_i64() > value["from_us"].as_i64());
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(5));
    let trades = &by_part("TRADE").context("a gap of trades")?["value"];
    assert!(text(&trades["reason"]).contains("1 trades missing"), "{trades}");
    let (quotes, _) = printed(&["compute", &path, "--print", "quotes", "--changes"])?;
    assert_eq!(quotes, [] as [Value; 0], "marks are no quotes");
    Ok(())
}

#[test]
fn quotes_and_books_of_a_recording_are_printed() -> Result<()> {
    let path = data(COINBASE)?;
    let rows = |topic: &str, arguments: &[&str]| -> Result<Vec<Value>> {
        Ok(printed(&[&["compute", &path, "--print", topic], arguments].concat())?.0)
    };
    let all = rows("quotes", &["--changes"])?;
    assert!(all.len() > 1_000, "{}", all.len());
    let last = rows("quotes", &[])?;
    assert_eq!(last.len(), 10, "the last of each pair");
    let fields =
        ["bid", "bid_size", "ask", "ask_size", "sequence", "proof", "event_time", "received_at"];
    for field in fields {
        assert!(last[0]["value"].get(field).is_some(), "{field}: {}", last[0]);
    }
    assert_eq!(last[0]["value"]["proof"], "NONE");
    let books = rows("books", &["--changes"])?;
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in &books {
        let [bids, asks] = ["bids", "asks"].map(|side| row["value"][side].as_array());
        assert!(bids.zip(asks).is_some_and(|(bids, asks)| bids.len() <= 25 && asks.len() <= 25));
        let at = row["value"]["received_at"].as_i64().context("received_at")?;
        times.entry(row["key"].to_string()).or_default().push(at);
    }
    assert_eq!(times.len(), 10);
    for (key, times) in times {
        // The last levels are those of the end.
        let apart = |pair: &[i64]| pair[1] - pair[0] >= 1_000;
        assert!(times[..times.len() - 1].windows(2).all(apart), "{key}: {times:?}");
    }
    Ok(())
}
