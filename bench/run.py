#!/usr/bin/env python3
"""The processor beside Kafka Streams, on the same bytes, in turns. Run it with `make bench`.

What is measured and how is in bench/README.md. It writes target/bench/result.json and plots, and
exits with 1 when any output was not what the fold says; whether goals are met changes nothing.
"""
import argparse
import sys
import time

import floor
import measure
import plot
import report
import sides
import stack

# The ports of the sides' metrics; a side is gone before the next one starts.
PORT = 39311


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and one pair: does it work at all")
    parser.add_argument("--pairs", type=int, help="turns of each side (default 3; quick 1)")
    parser.add_argument("--events", type=int, help="trades, catching up (default 6,000,000; quick 1,500,000)")
    parser.add_argument("--keys", type=int, default=5_000, help="pairs of currencies (default 5,000)")
    parser.add_argument("--many-keys", type=int, help="the large state (default 1,000,000; quick 100,000; 0: not at all)")
    parser.add_argument("--event-rate", type=int, default=75_000, help="trades in a second of event time (default 75,000)")
    parser.add_argument("--live-rate", type=int, default=75_000, help="trades a second, live (default 75,000; 0: not at all)")
    parser.add_argument("--live-seconds", type=int, help="how long (default 50; quick 20)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    defaults = {"pairs": (3, 1), "events": (6_000_000, 1_500_000), "many_keys": (1_000_000, 100_000), "live_seconds": (50, 20)}
    for name, (full, quick) in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


# Both ways of the peer to emit are shown; goals are against the first, which is the DSL's own.
BOTH = [sides.Ours, sides.Peer]
ALL = [*BOTH, sides.PeerOnClose]


def turns(what, kinds, pairs, run):
    """A B C A B C: `run` takes a kind of side and returns its verified figures."""
    rows = {kind.name: [] for kind in kinds}
    for turn in range(pairs):
        for kind in kinds:
            started = time.monotonic()
            rows[kind.name].append(run(kind))
            last = rows[kind.name][-1]
            stack.say(f"{what}, turn {turn + 1} of {pairs}, {kind.label}: {last['events_per_s']:,.0f} events/s, "
                      f"{last['cpu_us_per_event']:.2f} CPU-us/event, verified ({time.monotonic() - started:.0f} s)")
    section = report.section(rows, sides.Peer.name, sides.PeerOnClose.name)
    return {**section, "labels": {kind.name: kind.label for kind in kinds}, "emits": {kind.name: kind.emits for kind in kinds}}


def catching_up(options, kinds, keys, events, pairs):
    """One input, generated once, for all turns."""
    prefix = stack.name("input")
    load = {"events": events, "keys": keys, "seed": options.seed, "event-rate": options.event_rate}
    try:
        made = stack.fill(prefix, load)
        section = turns(f"catching up, {keys:,} keys", kinds, pairs,
                        lambda kind: measure.catching_up(kind(prefix, PORT), events))
    finally:
        stack.delete_topics(prefix)
    return {**section, "load": {**load, **made}}


def live(options):
    load = {"keys": options.keys, "seed": options.seed}
    start_ms = int(time.time() * 1000)
    warm_s = max(5, options.live_seconds * 2 // 5)
    section = turns(f"live, {options.live_rate:,}/s", ALL, options.pairs, lambda kind: measure.live(
        kind(stack.name("live"), PORT), load, options.live_rate, options.live_seconds, warm_s, start_ms))
    return {**section, "load": {**load, "rate": options.live_rate, "seconds": options.live_seconds, "warm_s": warm_s,
                                "start_ms": start_ms}}


def median_ratio(section, figure):
    ratio = section and section["figures"].get(figure, {}).get("ratio", {}).get(sides.Ours.name)
    return ratio and ratio["median"]


def median_ours(section, figure):
    spread = section and section["figures"].get(figure, {}).get("sides", {}).get(sides.Ours.name)
    return spread and spread["median"]


def goals(few, many, now):
    """The goals of the issue; each is a ratio within this run or a bound on our own figure."""
    most = lambda bound: lambda value: value <= bound
    growth = None
    if many:
        growth = median_ours(many, "cpu_us_per_event") / median_ours(few, "cpu_us_per_event")
    rows = [
        ("CPU per event, catching up, to the peer's", median_ratio(few, "cpu_us_per_event"), "<= 1/15", most(1 / 15)),
        ("CPU per event, live, to the peer's", median_ratio(now, "cpu_us_per_event"), "<= 1/10", most(1 / 10)),
        ("events/s, catching up, to the peer's", median_ratio(few, "events_per_s"), ">= 10", lambda value: value >= 10),
        ("peak RSS, few keys, MB", median_ours(few, "rss_peak_mb"), "<= 100", most(100)),
        ("peak RSS, many keys, to the peer's", median_ratio(many, "rss_peak_mb"), "<= 1/3", most(1 / 3)),
        ("records to the broker per event, live, to the peer's", median_ratio(now, "broker_records_per_event"), "<= 1/2", most(1 / 2)),
        ("bytes to the broker per event, live, to the peer's", median_ratio(now, "broker_bytes_per_event"), "<= 1/2", most(1 / 2)),
        ("produced to visible, live, p50, to the peer's", median_ratio(now, "visible_p50_ms"), "<= 1/2", most(1 / 2)),
        ("produced to visible, live, p99, to the peer's", median_ratio(now, "visible_p99_ms"), "<= 1/2", most(1 / 2)),
        ("produced to visible, live, p99, ms", median_ours(now, "visible_p99_ms"), "<= 150", most(150)),
        ("CPU per event, many keys, to few keys", growth, "<= 1.5", most(1.5)),
    ]
    return [report.goal(*row) for row in rows if row[1] is not None]


def advantages(section, prefix):
    """Ratios turned so that more is better, for the plot."""
    rows = []
    for figure in section["figures"].values():
        ratio = figure["ratio"].get(sides.Ours.name)
        if ratio and not figure["more_is_better"]:
            ratio = {"min": 1 / ratio["max"], "median": 1 / ratio["median"], "max": 1 / ratio["min"]} if ratio["min"] > 0 else None
        rows.append((f"{prefix}{figure['unit']}", ratio))
    return rows


def main():
    options = command_line()
    result = {"machine": report.machine(), "options": vars(options)}
    few = result["catching_up"] = catching_up(options, ALL, options.keys, options.events, options.pairs)
    many = now = None
    print(report.table(f"catching up, {options.keys:,} keys", few), flush=True)
    if options.live_rate:
        now = result["live"] = live(options)
        print(report.table(f"live, {options.live_rate:,}/s, {options.keys:,} keys", now), flush=True)
    # What follows takes longest: were it to fail, this much is known, and not called verified.
    report.write("result.json", {**result, "verified": False})
    if options.many_keys:
        many = result["many_keys"] = catching_up(options, BOTH, options.many_keys, max(options.events, 3 * options.many_keys), 1)
    result["floor"] = floor.run(options.events // 2, options.keys, options.pairs)
    result["goals"] = goals(few, many, now)
    result["verified"] = all(part["verified"] for part in (few, many, now) if part)
    report.write("result.json", result)
    plot.bars("catching_up.svg", "Catching up: how many times better than Kafka Streams", advantages(few, ""))
    if now:
        behind = ", which did not keep up" if sides.Peer.name in now["behind"] else ""
        plot.bars("live.svg", f"Live at {options.live_rate:,}/s: how many times better than Kafka Streams{behind}", advantages(now, ""))
    if many:
        print(report.table(f"catching up, {options.many_keys:,} keys", many))
    print(floor.table(result["floor"]))
    print(report.goals_table(result["goals"]))
    return 0 if result["verified"] else 1


if __name__ == "__main__":
    sys.exit(main())
