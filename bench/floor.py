#!/usr/bin/env python3
"""The floor: what librdkafka alone costs on the same topic, beside the processor. `make bench-floor`.

The bare consumer, the consumer with decoding, and a transactional pass-through, each by the batch
calls that the engine uses; then the processor on the same bytes. What lies between the floor and
the processor is what computing and storing cost.
"""
import argparse
import json
import sys

import measure
import report
import sides
import stack

PORT = 39311
MODES = ["consume", "decode", "pass"]


def once(mode, prefix):
    output = stack.name("floor")
    if mode == "pass":
        stack.create_topics(output)
    try:
        return json.loads(stack.program("bench-floor", mode, "--input-prefix", prefix, "--topic-prefix", output))
    finally:
        if mode == "pass":
            stack.delete_topics(output)


def run(events, keys, runs):
    """Each mode in its turn, then the processor; all on one input."""
    prefix = stack.name("input")
    rows = {mode: [] for mode in [*MODES, sides.Ours.name]}
    try:
        stack.fill(prefix, {"events": events, "keys": keys})
        for _ in range(runs):
            for mode in MODES:
                rows[mode].append(once(mode, prefix))
            rows[sides.Ours.name].append(measure.catching_up(sides.Ours(prefix, PORT), events))
    finally:
        stack.delete_topics(prefix)
    names = ("events_per_s", "cpu_us_per_event")
    return {mode: {name: report.figures.spread([row[name] for row in list_]) for name in names} for mode, list_ in rows.items()}


def table(floor):
    lines = ["\n| floor, catching up | events/s | CPU-us/event | min to max |", "|---|---|---|---|"]
    for mode, row in floor.items():
        cpu = row["cpu_us_per_event"]
        lines.append(f"| {mode} | {report.number(row['events_per_s']['median'])} | {report.number(cpu['median'])} "
                     f"| {report.number(cpu['min'])} to {report.number(cpu['max'])} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    floor = run(options.events, options.keys, options.runs)
    report.write("floor.json", {"machine": report.machine(), "options": vars(options), "floor": floor})
    print(table(floor))
    return 0


if __name__ == "__main__":
    sys.exit(main())
