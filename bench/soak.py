#!/usr/bin/env python3
"""Hours in small: a steady load, and whether anything grows. Run it with `make soak`.

Each minute prints resident memory, open files, threads, commit and visibility percentiles, lag, and
bytes on disk. At the end the first third is held against the last: the exit code is 1 when memory,
open files or threads have grown without bound, or events were left behind; never for being slow.

With --event-speed the event time passes the retention of the minutes, and the bytes on disk are held
against each other from there on as well.
"""
import argparse
import json
import os
import subprocess
import sys
import time

import figures
import report
import sides
import stack

PORT = 39311
# What the last third may have more than the first: caches that are still filling stay below it.
RSS_GROWTH, RSS_SPARE_MB, FILES_SPARE = 1.25, 20, 10
# How long the topic and the store of the minutes keep them, and what may be on disk more at the end than just after:
# a fjall store drops a quarter of the retention at a time.
RETENTION_S, STATE_GROWTH = 30 * 86_400, 1.3
# Events that may wait when the load has ended and this many seconds have passed.
CATCH_UP_S = 30
# A minute without probes.
UNSEEN = {"p50_ms": None, "p99_ms": None, "lost": 0}
# Until what a history has left behind is on disk: two intervals between flushes.
SETTLE_S = 12


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", 30)))
    parser.add_argument("--rate", type=int, default=20_000, help="trades a second (default 20,000)")
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--history-minutes", type=int, default=0,
                        help="minutes of every pair that are in the stores before it begins (default none)")
    parser.add_argument("--event-speed", type=int, default=1,
                        help="seconds of event time in a second (default 1; --rate 10000 --event-speed 10000 passes 30 days in five minutes)")
    parser.add_argument("--store-engine", help="the member's --store-engine (default its own)")
    parser.add_argument("--store-cache", help="the member's --store-cache (default its own): less is full sooner")
    return parser.parse_args()


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def folder_mb(path):
    sizes = (os.path.getsize(os.path.join(folder, file)) for folder, _, files in os.walk(path) for file in files)
    try:
        return sum(sizes) / 1e6
    except FileNotFoundError:
        return None


def probe(side, seconds):
    return subprocess.Popen(
        [os.path.join(stack.BIN, "bench-probe"), "--input-prefix", side.input, "--topic-prefix", side.prefix,
         "--seconds", str(int(seconds)), "--interval-ms", "100"], env=stack.addresses(), stdout=subprocess.PIPE, text=True)


def history(side, options):
    """A trade of every pair in each of those minutes, taken in before anything is measured; how many."""
    events = options.history_minutes * options.keys
    if events:
        # A little slower than a round a minute, so that it ends before now.
        load = {"events": events, "keys": options.keys, "pick": "in-turn", "event-rate": max(1, options.keys // 60)}
        began = int((time.time() - options.history_minutes * 61 - 60) * 1000)
        subprocess.run(stack.load_command(side.input, load, 0, began), env=stack.addresses(), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=stack.TOOL_S)
        side.wait_processed(events)
        time.sleep(SETTLE_S)
    return events


def minute(side, seconds, earlier, load):
    """One line: what the side was at its end, and its percentiles over it."""
    started, cpu, written = time.monotonic(), figures.cpu_s(side.pid), figures.written_mb(side.pid)
    time.sleep(seconds)
    rows = side.metrics()
    grown = figures.since(rows, earlier)
    events = side.processed(grown)
    return rows, {
        "events_per_s": events / (time.monotonic() - started),
        "cpu_us_per_event": (figures.cpu_s(side.pid) - cpu) * 1e6 / events if events else None,
        "commit_p50_ms": figures.percentile(grown, side.commits, 0.5),
        "commit_p99_ms": figures.percentile(grown, side.commits, 0.99),
        "rss_mb": figures.memory_mb(side.pid, "VmRSS"),
        "open_files": figures.open_files(side.pid),
        "threads": threads(side.pid),
        "state_mb": folder_mb(side.state),
        "written_mb_per_s": (figures.written_mb(side.pid) - written) / (time.monotonic() - started),
        "lag": figures.total(rows, "processor_consumer_lag_records"),
        "restarts": figures.total(rows, "processor_worker_restarts_total"),
        "producing": load.poll() is None,
    }


def thirds(minutes, name):
    """The means of the first third, after the first minute, and of the last."""
    values = [row[name] for row in minutes[1:] or minutes if row[name] is not None]
    size = max(1, len(values) // 3)
    mean = lambda part: sum(part) / len(part) if part else None
    return mean(values[:size]), mean(values[-size:])


def steady(minutes, options):
    """The minutes in which a member forgets as much as it learns: those past the retention, where event time comes to it."""
    if options.event_speed == 1:
        return minutes
    return [row for row in minutes if row["minute"] * 60 * options.event_speed > RETENTION_S]


def past_retention(minutes, options):
    """What has grown on disk since the oldest minutes expired."""
    if options.event_speed == 1:
        return []
    since = [row["state_mb"] for row in steady(minutes, options)]
    if len(since) < 4:
        return [f"only {len(since)} minutes are past the retention: raise --minutes or --event-speed"]
    half = len(since) // 2
    first, last = sum(since[:half]) / half, sum(since[half:]) / len(since[half:])
    print(f"\non disk past the retention: {first:.1f} MB, then {last:.1f} MB")
    return [f"state_mb grew from {first:.1f} to {last:.1f}"] if last > first * STATE_GROWTH else []


def judge(minutes, summary):
    """What has grown that must not."""
    faults = []
    bounds = {"rss_mb": lambda first: first * RSS_GROWTH + RSS_SPARE_MB, "open_files": lambda first: first + FILES_SPARE,
              "threads": lambda first: first + FILES_SPARE}
    for name, bound in bounds.items():
        first, last = summary[name]["first_third"], summary[name]["last_third"]
        if last > bound(first):
            faults.append(f"{name} grew from {first:.1f} to {last:.1f}")
    if minutes[-1]["restarts"]:
        faults.append(f"a worker was started again {minutes[-1]['restarts']:.0f} times")
    return faults


def run(options):
    flags = {"--store-cache": options.store_cache, "--store-engine": options.store_engine}
    extra = [word for flag, value in flags.items() if value for word in (flag, value)]
    side = sides.Ours(stack.name("soak"), PORT, threads=options.members, extra=extra)
    stack.create_topics(side.input)
    side.prepare()
    length, count = (60, int(options.minutes)) if options.minutes >= 3 else (options.minutes * 20, 3)
    events, minutes, load, probing = int(options.rate * length * count), [], None, None
    try:
        side.start().wait_running()
        before = history(side, options)
        shape = {"events": events, "keys": options.keys, "event-rate": max(1, options.rate // options.event_speed)}
        # The last event is not ahead of the clock.
        began = int((time.time() - (options.event_speed - 1) * length * count - 60) * 1000) if options.event_speed > 1 else None
        load = subprocess.Popen(stack.load_command(side.input, shape, options.rate, began), env=stack.addresses(), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        rows = side.metrics()
        for index in range(count):
            # A probe is an event of now: it would expire a load that is weeks behind.
            probing = probe(side, length) if options.event_speed == 1 else None
            rows, row = minute(side, length, rows, load)
            seen = json.loads(probing.communicate(timeout=stack.LIMIT_S)[0]) if probing else UNSEEN
            row.update({"minute": index + 1, "visible_p50_ms": seen["p50_ms"], "visible_p99_ms": seen["p99_ms"], "lost": seen["lost"]})
            minutes.append(row)
            print(" ".join(f"{name}={report.number(value)}" for name, value in row.items() if name != "producing"), flush=True)
        load.wait(timeout=stack.LIMIT_S)
        time.sleep(1)
        waited = time.monotonic()
        while side.processed(side.metrics()) < before + events and time.monotonic() - waited < CATCH_UP_S:
            time.sleep(0.2)
        left = before + events - side.processed(side.metrics())
        return minutes, left
    finally:
        for process in filter(None, [load, probing]):
            if process.poll() is None:
                process.kill()
                process.wait()
        side.stop()
        side.clean()
        stack.delete_topics(side.input)


def main():
    options = command_line()
    if options.rate % options.event_speed and options.event_speed > 1:
        sys.exit(f"soak: --rate {options.rate} is no multiple of --event-speed {options.event_speed}: event time would run faster, "
                 "and past the clock; choose a multiple")
    minutes, left = run(options)
    names = [name for name in minutes[0] if name not in ("minute", "producing", "restarts")]
    judged = steady(minutes, options) or minutes
    summary = {name: dict(zip(("first_third", "last_third"), thirds(judged, name))) for name in names}
    faults = judge(minutes, summary) + past_retention(minutes, options)
    if left > 0:
        faults.append(f"{left:.0f} events were left behind")
    lost = sum(row["lost"] for row in minutes)
    if lost:
        faults.append(f"{lost} probes never became visible")
    report.write("soak.json", {"machine": report.machine(), "options": vars(options), "minutes": minutes,
                               "summary": summary, "faults": faults})
    print("\n| | first third | last third |\n|---|---|---|")
    for name, pair in summary.items():
        print(f"| {name} | {report.number(pair['first_third'])} | {report.number(pair['last_third'])} |")
    print("\n" + ("; ".join(faults) if faults else "nothing grew without bound"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
