#!/usr/bin/env python3
"""Cost against one thing at a time: keys, partitions, members, commit interval, skew, disorder. `make bench-growth`.

Everything else stays as it is in `make bench`, catching up, except for the commit interval, which
is looked at live. Each point is one run a side unless --runs says more, its output verified; a plot
an axis is written to target/bench/.
"""
import argparse
import sys
import time

import figures
import measure
import plot
import report
import sides
import stack

PORT = 39311
KINDS = [sides.Ours, sides.Peer]


def axes(options):
    """For each axis its title and points: a name, what it changes in the load, and in the side."""
    keys = [1_000, 5_000, 20_000, 100_000] + ([options.most_keys] if options.most_keys > 100_000 else [])
    return {
        "keys": ("pairs of currencies", [(f"{n:,}", {"keys": n, "events": max(options.events, 2 * n)}, {}) for n in keys]),
        "partitions": ("partitions", [(n, {"partitions": n}, {"partitions": n}) for n in (1, 4, 16)]),
        "members": ("members, threads of one process", [(n, {}, {"threads": n}) for n in (1, 2)]),
        "commit_interval": ("commit interval, ms, live", [(n, {}, {"commit_ms": n}) for n in (50, 100, 250, 500, 1_000)]),
        "skew": ("which pair trades next", [("uniform", {}, {}), ("zipf", {"pick": "zipf"}, {})]),
        "disorder": ("trades out of order, per cent", [(n, {"disorder-percent": n}, {}) for n in (0, 5, 20)]),
    }


def point(axis, kind, load, change, options):
    if kind is sides.Ours:
        change = {**change, "extra": options.flags.split()}
    if axis == "commit_interval":
        side = kind(stack.name("growth"), PORT, **change)
        return measure.live(side, {"keys": load["keys"]}, options.live_rate, options.live_seconds,
                            max(4, options.live_seconds // 3), int(time.time() * 1000))
    prefix = stack.name("growth")
    try:
        stack.fill(prefix, load)
        return measure.catching_up(kind(prefix, PORT, **change), load["events"])
    finally:
        stack.delete_topics(prefix)


def run(axis, title, points, options):
    series = {kind.name: [] for kind in KINDS if kind.name in options.sides}
    for name, load, change in points:
        load = {"events": options.events, "keys": options.keys, **load}
        for kind in KINDS:
            if kind.name not in options.sides:
                continue
            rows = [point(axis, kind, load, change, options) for _ in range(options.runs)]
            series[kind.name].append({"at": name, "runs": rows, "cpu_us_per_event": figures.spread([row["cpu_us_per_event"] for row in rows])})
            rss = figures.spread([row.get("rss_peak_mb", 0) for row in rows])["median"]
            stack.say(f"{axis} {name}, {kind.label}: {series[kind.name][-1]['cpu_us_per_event']['median']:.2f} CPU-us/event, {rss:.0f} MB, verified")
    names = [name for name, _, _ in points]
    values = {side: [at["cpu_us_per_event"]["median"] for at in rows] for side, rows in series.items()}
    plot.lines(f"growth_{axis}.svg", f"Cost against {axis.replace('_', ' ')}", title, "CPU-us per event", names, values)
    # The peer's scale hides what ours does.
    ours = {side: row for side, row in values.items() if side == sides.Ours.name}
    plot.lines(f"growth_{axis}_processor.svg", f"Cost against {axis.replace('_', ' ')}, processor", title, "CPU-us per event", names, ours)
    return {"title": title, "points": series}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--most-keys", type=int, default=1_000_000)
    parser.add_argument("--live-rate", type=int, default=37_500)
    parser.add_argument("--live-seconds", type=int, default=30)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--flags", default="", help="further flags of the processor, as one word: '--store-engine sled'")
    parser.add_argument("--only", nargs="+", help="axes")
    parser.add_argument("--sides", nargs="+", default=[kind.name for kind in KINDS])
    options = parser.parse_args()
    chosen = {axis: row for axis, row in axes(options).items() if not options.only or axis in options.only}
    result = {"machine": report.machine(), "options": vars(options), "axes": {}}
    for axis, (title, points) in chosen.items():
        result["axes"][axis] = run(axis, title, points, options)
    report.write("growth.json", result)
    for axis, row in result["axes"].items():
        print(f"\n{row['title']}:")
        for side, points in row["points"].items():
            print(f"  {side:14}" + "  ".join(f"{at['at']}: {report.number(at['cpu_us_per_event']['median'])}" for at in points) + "  CPU-us/event")
    return 0


if __name__ == "__main__":
    sys.exit(main())
