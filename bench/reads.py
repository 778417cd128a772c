#!/usr/bin/env python3
"""Reads beside writes, many streaming clients, and reads during trouble. Run it with `make reads`.

Load: seven reads to three writes, at the highest rate that the machine carries; what a read of each
route costs; a second view. Stream: thousands of WebSocket clients, with and without slow ones among
them. Trouble: kill -9 of writer, view and broker in turn, and a rebalance, while everything is read.
The exit code is 1 when a read failed that must not, or a streaming client was disturbed; never for
being slow.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

import figures
import readers
import report
import stack

# Reads to writes.
READS, WRITES = 7, 3
ROUTES = ("one", "many", "candles", "exchanges", "base")
# Writes that are the goal, and steps of the search for what is carried instead: each so much of the one before.
WRITE_RATE, STEPS, STEP = 75_000, 6, 0.75
# Writes beside which one route alone is read: followed, and light beside the reads.
QUIET_RATE = 5_000
# While something is killed: enough reads to find a moment in which one fails.
TROUBLE_WRITES, TROUBLE_READS, TROUBLE_S, KILL_AFTER_S, BACK_AFTER_S = 2_000, 600, 24, 5, 8
# An answer that says that it is no older is fresh: followers look once a second.
FRESH_MS = 2_000
IMPATIENT = ("--session-timeout", "6s", "--transaction-timeout", "5s", "--standby")
STREAM_RATE, STREAM_KEYS = 2_000, 200
PARTS = ("load", "stream", "trouble")


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="this part only")
    parser.add_argument("--seconds", type=int, default=15, help="of each measurement (default 15)")
    parser.add_argument("--write-rate", type=int, default=WRITE_RATE, help="trades a second that are the goal (default 75,000)")
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--clients", type=int, default=5_000, help="streaming clients")
    parser.add_argument("--slow", type=int, default=100, help="of them that do not read")
    return parser.parse_args()


def carried(here, options, views, closed, seconds):
    """The greatest rate of writes beside which 7/3 as many reads are answered: from what a closed loop does downwards."""
    writes, tries = min(options.write_rate, int(closed["reads_per_s"] * WRITES / READS)), []
    for _ in range(STEPS):
        here.start_load(writes)
        found = here.read(seconds, views, writes * READS // WRITES, connections=32)
        here.stop_load()
        here.caught_up()
        offered = found["offered_per_s"]
        found["carried"] = found["reads_per_s"] >= readers.TAKEN * offered and found["writes_per_s"] >= readers.TAKEN * writes
        found["offered_writes_per_s"] = writes
        tries.append(found)
        stack.say(f"{writes:,} writes/s and {offered:,} reads/s: {'carried' if found['carried'] else 'not carried'}")
        if found["carried"]:
            return writes, tries
        writes = int(writes * STEP)
    return None, tries


def load_part(options):
    out = {}
    with readers.Installation(options.keys, views=2) as here:
        one, both = here.views[:1], here.views
        here.start_load(options.write_rate)
        out["goal_writes"] = here.read(options.seconds, one, 0)
        here.stop_load()
        here.caught_up()
        here.start_load(QUIET_RATE)
        quiet = readers.idle(one)
        for route in ROUTES:
            alone = here.read(max(4, options.seconds // 3), one, 0, mix=f"{route}=1", connections=4)
            out.setdefault("routes", {})[route] = {**alone, "cpu_us_per_read": readers.cpu_per_read(alone, quiet)}
        closed = here.read(max(4, options.seconds // 3), one, 0)
        here.stop_load()
        here.caught_up()
        found, out["search"] = carried(here, options, one, closed, max(4, options.seconds // 3))
        writes = found or QUIET_RATE
        out["is_carried"] = found is not None
        here.start_load(writes)
        out["idle_us_per_s"] = {"one": readers.idle(one), "both": readers.idle(both)}
        out["carried"] = here.read(options.seconds, one, writes * READS // WRITES, connections=32)
        out["two_views"] = here.read(options.seconds, both, writes * READS // WRITES, connections=16)
        out["closed"] = here.read(options.seconds, one, 0)
        out["closed_two_views"] = here.read(options.seconds, both, 0, connections=8)
    return out


def load_tables(out, options):
    number = report.number
    lines = [f"\nReads beside writes, {options.keys:,} pairs drawn by zipf; latencies from when a read was due, in ms\n",
             "| | writes/s | reads/s | CPU-us per read, views | with following | " + " | ".join(f"{route} p50 / p99 / p99.9" for route in ROUTES) + " |",
             "|---" * (5 + len(ROUTES)) + "|"]
    lines[0] += "" if out["is_carried"] else f"NOT CARRIED at any rate that was tried: offered {QUIET_RATE:,} writes/s\n"
    rows = [("70/30, one view", "carried", "one"), ("70/30, two views", "two_views", "both"), ("closed loop, one view", "closed", "one"),
            ("closed loop, two views", "closed_two_views", "both"), (f"closed loop, writes at {options.write_rate:,}/s offered", "goal_writes", None)]
    for label, name, idle in rows:
        row = out[name]
        times = [row["routes"].get(route) for route in ROUTES]
        net = readers.cpu_per_read(row, out["idle_us_per_s"][idle]) if idle else None
        cells = [" / ".join(number(time[f"{share}_us"] / 1e3) for share in ("p50", "p99", "p99.9")) if time else "-" for time in times]
        lines.append(f"| {label} | {number(row['writes_per_s'])} | {number(row['reads_per_s'])} | {number(net)} | "
                     f"{number(readers.cpu_per_read(row))} | " + " | ".join(cells) + " |")
    lines += ["\nOne route alone, four connections, closed loop, beside 5,000 writes/s\n",
              "| route | reads/s | CPU-us per read | p50, ms | p99, ms | p99.9, ms |", "|---" * 6 + "|"]
    for route, row in out["routes"].items():
        times = row["routes"][route]
        lines.append(f"| {route} | {number(row['reads_per_s'])} | {number(row['cpu_us_per_read'])} | "
                     + " | ".join(number(times[f"{share}_us"] / 1e3) for share in ("p50", "p99", "p99.9")) + " |")
    return "\n".join(lines)


def load_faults(out):
    rows = [out[name] for name in ("carried", "two_views", "closed", "closed_two_views", "goal_writes")] + list(out["routes"].values())
    return [f"{target['failed']} reads failed under load: {target['failures']}" for row in rows for target in row["targets"] if target["failed"]]


def listen(here, view, clients, slow, seconds):
    said = stack.program("bench-stream", "--address", view.address, "--pid", view.pid, "--clients", clients, "--slow", slow,
                         "--seconds", seconds)
    return json.loads(said)


def stream_part(options):
    out = {}
    with readers.Installation(STREAM_KEYS, views=1, pick="uniform", history=False) as here:
        view = here.views[0]
        here.start_load(STREAM_RATE, now=True)
        out["all_read"] = listen(here, view, options.clients, 0, options.seconds)
        dropped = figures.metrics(view.port).get('processor_stream_clients_dropped_total{reason="slow"}', 0)
        out["some_slow"] = listen(here, view, options.clients, options.slow, options.seconds)
        rows = figures.metrics(view.port)
        out["dropped_as_slow"] = rows.get('processor_stream_clients_dropped_total{reason="slow"}', 0) - dropped
        out["dropped_before"] = dropped
    return out


def stream_table(out):
    lines = ["\nStreaming clients, 2,000 events/s over 200 pairs, 4 updates a second; from received_at to the client\n",
             "| | clients | slow | messages/s | p50, ms | p99, ms | p99.9, ms | KiB a client | readers lost | dropped as slow |", "|---" * 10 + "|"]
    for label, name, dropped in (("all read", "all_read", out["dropped_before"]), ("some do not", "some_slow", out["dropped_as_slow"])):
        row = out[name]
        late = row["lateness_ms"]
        lines.append(f"| {label} | {row['clients']:,} | {row['slow']} | {row['messages_per_second']:,} | {late['p50']:,} | {late['p99']:,} | "
                     f"{late['p99.9']:,} | {row['kib_per_client']} | {row['readers_lost'] + row['failed']} | {dropped:.0f} |")
    return "\n".join(lines)


def stream_faults(out, options):
    faults = [f"{out[name]['readers_lost']} readers lost, {out[name]['failed']} failed" for name in ("all_read", "some_slow")
              if out[name]["readers_lost"] or out[name]["failed"] > 0]
    if out["dropped_as_slow"] != options.slow or out["dropped_before"]:
        faults.append(f"dropped as slow: {out['dropped_before']:.0f} before there were any, {out['dropped_as_slow']:.0f} of {options.slow}")
    return faults


def stack_script(*arguments):
    done = subprocess.run([os.path.join(stack.ROOT, "infra/stack.sh"), *arguments], text=True, capture_output=True, timeout=stack.TOOL_S)
    if done.returncode:
        raise RuntimeError(f"stack.sh {arguments}: {done.stdout[-500:]} {done.stderr[-500:]}")


def trouble(here, name, targets, kill, back):
    """Reads all targets while something is killed and comes back."""
    command = here.read_command(TROUBLE_S, targets, TROUBLE_READS, connections=8)
    client = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        time.sleep(KILL_AFTER_S)
        kill()
        time.sleep(BACK_AFTER_S)
        back()
        fresh_s = fresh(targets)
        said, log = client.communicate(timeout=stack.LIMIT_S)
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
    if client.returncode:
        raise RuntimeError(f"bench-reads ended with {client.returncode}: {log[-1000:]}")
    stack.say(f"{name}: fresh again {fresh_s:.1f} s after it was back")
    return {**json.loads(said), "fresh_again_s": fresh_s}


def fresh(targets):
    """Waits until each of them says that it is; how long that took."""
    started = time.monotonic()
    for side in targets:
        stack.wait_until(f"port {side.port} to be fresh", lambda: (lag := readers.lag_ms(side)) is not None and lag <= FRESH_MS, 0.05,
                         side.process)
    return time.monotonic() - started


def trouble_part(options):
    out = {}
    with readers.Installation(options.keys, views=2, extra=IMPATIENT) as here:
        member, (first, second) = here.member, here.views
        other = readers.sides.Ours(member.input, readers.PORT + 5, extra=[*IMPATIENT, "--rate", "0"])
        other.prefix, other.state, other.log = member.prefix, member.state + "-other", member.log + "-other"
        targets = [first, second, member]
        names = ["view 1", "view 2", "member"]
        here.start_load(TROUBLE_WRITES)
        try:
            def run(name, killed, kill, back):
                fresh(targets)
                result = trouble(here, name, targets, kill, back)
                out[name] = [{"of": of, "killed": of == killed, "fresh_again_s": result["fresh_again_s"], **target}
                             for of, target in zip(names, result["targets"])]
            run("the writer", "member", member.kill, member.start)
            run("a view", "view 1", first.kill, first.start)
            run("the broker", None, lambda: stack_script("kill", "kafka-1"), lambda: stack_script("start", "kafka-1"))
            os.makedirs(other.state, exist_ok=True)
            run("a member that joins and is killed", None, other.start, other.kill)
        finally:
            if other.process and other.process.poll() is None:
                other.kill()
            readers.sides.shutil.rmtree(other.state, ignore_errors=True)
    return out


def trouble_table(out):
    lines = [f"\nReads during trouble: {TROUBLE_READS} reads/s over two views and the member, {TROUBLE_WRITES:,} writes/s, "
             f"away for {BACK_AFTER_S} s\n", "| kill -9 of | read | answered | failed | largest lag, ms | all fresh again, s after it is back |", "|---" * 6 + "|"]
    for name, rows in out.items():
        for row in rows:
            killed = " (killed)" if row["killed"] else ""
            lines.append(f"| {name} | {row['of']}{killed} | {row['reads']:,} | {row['failed']:,} | {row['lag_ms_max']:,} | "
                         f"{report.number(row['fresh_again_s'])} |")
    return "\n".join(lines)


def trouble_faults(out):
    return [f"{row['failed']} reads of {row['of']} failed while {name} was gone: {row['failures']}" for name, rows in out.items()
            for row in rows if row["failed"] and not row["killed"]]


def main():
    # Whoever ends it early leaves nothing running either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = command_line()
    results, faults = {}, []
    for part in PARTS if options.only is None else (options.only,):
        if part == "load":
            results[part] = load_part(options)
            print(load_tables(results[part], options), flush=True)
            faults += load_faults(results[part])
        elif part == "stream":
            results[part] = stream_part(options)
            print(stream_table(results[part]), flush=True)
            faults += stream_faults(results[part], options)
        else:
            results[part] = trouble_part(options)
            print(trouble_table(results[part]), flush=True)
            faults += trouble_faults(results[part])
    report.write("reads.json", {"machine": report.machine(), "options": vars(options), "results": results, "faults": faults})
    print("\n" + ("\n".join(faults) if faults else "no read failed that must not"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
