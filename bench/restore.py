#!/usr/bin/env python3
"""How fast state comes back: after its disk is lost, and after kill -9. Run it with `make restore`.

For each size both sides compute the same input, stop, and have their outputs verified. Then the
state folder is deleted, and the time from the start of the program until it runs is taken. Then the
side is killed while events arrive, and the times from its restart until it runs and until it has
processed the next event are taken. Both groups wait equally long for a member that was killed.
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
# A group waits so long for a member that was killed, and the broker for its transaction: the same on
# both sides, and as short as the processor's rules allow.
SESSION_MS, TRANSACTION_MS = 6_000, 5_000
# While a side is killed, so many events arrive a second.
RATE = 5_000
# The state has settled and is on disk when it has run for so long after its last event.
SETTLE_S = 8


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000, 5_000_000],
                        help="of state, by sizes (default 1,000,000 5,000,000): a fifth as many pairs of currencies")
    parser.add_argument("--sides", nargs="+", choices=[kind.name for kind in KINDS], default=[kind.name for kind in KINDS])
    return parser.parse_args()


class OursShort(sides.Ours):
    def command(self):
        return [*super().command(), "--session-timeout", f"{SESSION_MS}ms", "--transaction-timeout", f"{TRANSACTION_MS}ms"]


class PeerShort(sides.Peer):
    def command(self):
        return [*super().command(), "--set", f"main.consumer.session.timeout.ms={SESSION_MS}",
                "--set", f"main.consumer.heartbeat.interval.ms={SESSION_MS // 3}",
                "--set", f"producer.transaction.timeout.ms={TRANSACTION_MS}"]


KINDS = [OursShort, PeerShort]


def load_of(entries):
    """Two rounds of every pair, in two minutes of event time: latest, two minutes, hour and day are five entries a pair."""
    keys = entries // 5
    return {"events": 2 * keys, "keys": keys, "pick": "in-turn", "event-rate": max(1, keys // 90)}


def entries_of(fold):
    return sum(fold[topic]["compared"] for topic in ("latest", "ohlc_1m", "ohlc_1h", "ohlc_1d"))


def lost_disk(side):
    """From the start of the program on an empty folder until it runs."""
    side.lose_disk()
    state_bytes = sum(stack.disk_of(side.prefix).values())
    started = time.monotonic()
    side.start().wait_running()
    seconds = time.monotonic() - started
    records = side.restored(side.metrics())
    if not records:
        raise RuntimeError(f"{side.name} restored nothing")
    return {"seconds": seconds, "records": int(records), "records_per_s": records / seconds, "topic_mb": state_bytes / 1e6,
            "mb_per_s": state_bytes / 1e6 / seconds, "cpu_s": figures.cpu_s(side.pid),
            "rss_peak_mb": figures.memory_mb(side.pid, "VmHWM")}


def killed(side, load, made):
    """kill -9 while events arrive; from the restart until it runs, and until it has processed what is new."""
    events = RATE * 20
    flags = {"events": events, "keys": load["keys"], "event-rate": RATE, "pick": "in-turn", "seed": 2}
    producer = subprocess.Popen(stack.load_command(side.input, flags, RATE, made["last_event_ms"] + 1), env=stack.addresses(),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    side.wait_processed(side.processed(side.metrics()) + RATE * SETTLE_S)
    side.kill()
    started = time.monotonic()
    side.start().wait_running()
    running = time.monotonic() - started
    records = side.restored(side.metrics())
    side.wait_processed(1)
    first = time.monotonic() - started
    producer.wait(timeout=stack.LIMIT_S)
    return {"running_s": running, "first_processed_s": first, "records": int(records),
            "of_which_session_timeout_at_most_s": SESSION_MS / 1000, "cpu_s": figures.cpu_s(side.pid)}


def run(kind, entries):
    load = load_of(entries)
    input_prefix = stack.name("restore")
    side = kind(input_prefix, PORT)
    try:
        made = stack.fill(input_prefix, load, int(time.time() * 1000) - 100_000)
        side.prepare()
        side.start().wait_processed(load["events"])
        side.stop()
        fold = side.verify()
        if fold["mismatched"]:
            raise RuntimeError(f"{side.name}: the fold disagrees: {fold}")
        found = entries_of(fold)
        disk = lost_disk(side)
        disk["entries"], disk["entries_per_s"] = found, found / disk["seconds"]
        kill = killed(side, load, made)
        side.stop()
        return {"entries": found, "pairs": load["keys"], "lost_disk": disk, "kill": kill, "verified": True}
    finally:
        side.clean()
        stack.delete_topics(input_prefix)


def show(results):
    columns = [("entries", "entries"), ("seconds", "s"), ("records_per_s", "records/s"), ("entries_per_s", "entries/s"),
               ("mb_per_s", "MB/s"), ("cpu_s", "CPU s"), ("rss_peak_mb", "peak RSS MB")]
    print("\n| deleted state | " + " | ".join(title for _, title in columns) + " | kill -9: runs after, s | records of the tail |")
    print("|---" * (len(columns) + 3) + "|")
    for row in results:
        cells = [report.number(row["lost_disk"][name]) for name, _ in columns]
        print(f"| {row['side']} | " + " | ".join(cells) + f" | {report.number(row['kill']['running_s'])} | {row['kill']['records']:,} |")


def main():
    options = command_line()
    results = []
    for entries in options.entries:
        for kind in KINDS:
            if kind.name in options.sides:
                results.append({"side": kind.name, **run(kind, entries)})
                stack.say(json.dumps(results[-1]))
    report.write("restore.json", {"machine": report.machine(), "results": results})
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
