#!/usr/bin/env python3
"""What an event costs: one processor, one load, catching up and live. Run it with `make load`.

Catching up: the load is in the topic before the processor starts. Live: it arrives at a fixed rate.
The processor alone, from its first record to its last, without a warm-up: a first figure in a
minute. `make bench` is the measurement.
"""
import argparse
import json
import subprocess

import measure
import sides
import stack

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000, help="trades, catching up (default 2,000,000)")
    parser.add_argument("--keys", type=int, default=5_000, help="pairs (default 5,000)")
    parser.add_argument("--live-rate", type=int, default=37_500, help="trades a second, live (default 37,500; 0: not at all)")
    parser.add_argument("--live-seconds", type=int, default=30, help="how long (default 30)")
    parser.add_argument("--port", type=int, default=8099, help="for the processor's metrics")
    parser.add_argument("--processor", nargs=argparse.REMAINDER, default=[], help="everything after it goes to processor run")
    return parser.parse_args()


def run(options, events, rate):
    load = {"events": events, "keys": options.keys}
    side = sides.Ours(stack.name("load"), options.port, extra=options.processor)
    producer = None
    try:
        side.prepare()
        if rate:
            stack.create_topics(side.input)
            meter = measure.Meter(side.start())
            side.wait_running()
            producer = subprocess.Popen(stack.load_command(side.input, load, rate), env=stack.addresses(), **QUIET)
        else:
            stack.fill(side.input, load)
            meter = measure.Meter(side.start())
        side.wait_processed(1)
        first = meter.read()
        side.wait_processed(events)
        result = meter.between(first, meter.read())
        del result["seconds"]
        return {name: round(value, 2) for name, value in result.items()}
    finally:
        if producer and producer.poll() is None:
            producer.kill()
            producer.wait()
        side.stop()
        side.clean()
        stack.delete_topics(side.input)


def main():
    options = command_line()
    results = {"catching up": run(options, options.events, 0)}
    if options.live_rate:
        results[f"live, {options.live_rate:,}/s"] = run(options, options.live_rate * options.live_seconds, options.live_rate)
    names = list(next(iter(results.values())))
    print(f"{'':24}" + "".join(f"{name:>20}" for name in results))
    for name in names:
        print(f"{name:24}" + "".join(f"{result[name]:>20,}" for result in results.values()))
    print(json.dumps(results))


main()
