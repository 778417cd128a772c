#!/usr/bin/env python3
"""How long a member is away when it is restarted, with and without static membership. Run it with `make restart`.

One member holds the state of many pairs and computes under load. It is ended by SIGTERM, then by kill -9, and started
again at once; the time is taken until it runs every partition. Under the classic protocol the group waits for a member
that was killed and has no instance id; under the consumer protocol the broker refuses a static one until its session ends.
"""
import argparse
import subprocess
import sys
import time

import report
import restore
import stack

PORT = 39311
PROTOCOLS = ("classic", "consumer")
# The load goes on for as long as all restarts of a member take.
LOAD_S = 240


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000, help="pairs of currencies (default 1,000,000)")
    parser.add_argument("--times", type=int, default=2, help="restarts of each kind (default 2)")
    return parser.parse_args()


def away(side, end):
    """Seconds from the end of the member until its next process runs every partition."""
    side.wait_processed(side.processed(side.metrics()) + restore.RATE * restore.SETTLE_S)
    end()
    ended = time.monotonic()
    side.start().wait_running()
    return time.monotonic() - ended


def restarts(input_prefix, made, protocol, static, options):
    name = ["--group-instance-id", "m1"] if static else []
    side = restore.OursShort(input_prefix, PORT, extra=["--group-protocol", protocol, *name])
    flags = {"events": restore.RATE * LOAD_S, "keys": options.keys, "event-rate": restore.RATE, "pick": "in-turn", "seed": 2}
    producer = None
    try:
        side.prepare()
        side.start().wait_processed(options.keys)
        producer = subprocess.Popen(stack.load_command(input_prefix, flags, restore.RATE, made["last_event_ms"] + 1),
                                    env=stack.addresses(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times = {}
        for kind, end in (("SIGTERM", side.stop), ("kill -9", side.kill)):
            times[kind] = [away(side, end) for _ in range(options.times)]
        return {"protocol": protocol, "static": static, "seconds": times}
    finally:
        if producer:
            producer.kill()
            producer.wait()
        side.clean()


def show(results):
    print("\n| protocol | instance id | after SIGTERM, s | after kill -9, s |\n|---|---|---|---|")
    for row in results:
        cells = ["; ".join(f"{seconds:.2f}" for seconds in row["seconds"][kind]) for kind in ("SIGTERM", "kill -9")]
        print(f"| {row['protocol']} | {'yes' if row['static'] else 'no'} | " + " | ".join(cells) + " |")


def main():
    options = command_line()
    results = []
    for protocol in PROTOCOLS:
        for static in (False, True):
            load = {"events": options.keys, "keys": options.keys, "pick": "in-turn", "event-rate": max(1, options.keys // 90)}
            input_prefix = stack.name("restart")
            try:
                made = stack.fill(input_prefix, load, int(time.time() * 1000) - 100_000)
                results.append(restarts(input_prefix, made, protocol, static, options))
            finally:
                stack.delete_topics(input_prefix)
            stack.say(str(results[-1]))
    report.write("restart.json", {"machine": report.machine(), "options": vars(options), "results": results})
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
