#!/usr/bin/env python3
"""How long a member's partitions stand still when it is killed, with and without a standby. Run it with `make takeover`.

Two members share the state of many pairs. Under load one is killed with -9; the time is taken until
the other runs every partition. Of it the group waits for the member that is gone, which is the same
in both cases; what differs is the restore, whose longest is in the member's own log.
"""
import argparse
import os
import re
import subprocess
import sys
import time

import report
import restore
import stack

PORT = 39311
# The last records before the kill, and what a standby may still have to hear of.
SETTLE_S = 8
# The load goes on through the kill for as long as any takeover takes.
LOAD_S = 240


class Member(restore.OursShort):
    """One of two members of a group."""

    def __init__(self, first, input_prefix, port, standby):
        super().__init__(input_prefix, port, extra=["--standby"] if standby else [])
        if first:
            self.prefix = first.prefix
            self.state, self.log = first.state + "-2", first.log + "-2"

    def tasks(self):
        return sum(value for name, value in self.metrics().items() if "task_state" in name and 'state="running"' in name)

    def restores(self):
        """Records and milliseconds of each restore in the log, in order."""
        with open(self.log) as log:
            lines = [line for line in log if " restored task=" in line]
        return [(int(re.search(r"restored=(\d+)", line)[1]), int(re.search(r"milliseconds=(\d+)", line)[1])) for line in lines]


def command_line():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000, help="pairs of currencies (default 1,000,000)")
    return parser.parse_args()


def wait_both(what, one, two, holds):
    def both():
        two.process.poll()
        return holds()
    stack.wait_until(what, both, 0.05, one.process)


def run(keys, standby):
    load = {"events": keys, "keys": keys, "pick": "in-turn", "event-rate": max(1, keys // 90)}
    input_prefix = stack.name("takeover")
    one = Member(None, input_prefix, PORT, standby)
    two = Member(one, input_prefix, PORT + 1, standby)
    producer = None
    try:
        made = stack.fill(input_prefix, load, int(time.time() * 1000) - 100_000)
        one.prepare()
        os.makedirs(two.state, exist_ok=True)
        one.start()
        two.start()
        wait_both("both members to run", one, two, lambda: one.tasks() and two.tasks() and one.tasks() + two.tasks() == one.partitions)
        processed = lambda: one.processed(one.metrics()) + two.processed(two.metrics())
        wait_both("the load to be processed", one, two, lambda: processed() >= keys)
        flags = {"events": restore.RATE * LOAD_S, "keys": keys, "event-rate": restore.RATE, "pick": "in-turn", "seed": 2}
        producer = subprocess.Popen(stack.load_command(input_prefix, flags, restore.RATE, made["last_event_ms"] + 1),
                                    env=stack.addresses(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_both("events to flow", one, two, lambda: processed() >= keys + restore.RATE * SETTLE_S)
        earlier = len(one.restores())
        two.kill()
        killed = time.monotonic()
        one.wait_running()
        seconds = time.monotonic() - killed
        taken = one.restores()[earlier:]
        return {"standby": standby, "pairs": keys, "seconds": seconds, "of_which_session_timeout_at_most_s": restore.SESSION_MS / 1000,
                "restored_records": sum(records for records, _ in taken), "longest_restore_s": max(ms for _, ms in taken) / 1000}
    finally:
        if producer and producer.poll() is None:
            producer.kill()
            producer.wait()
        for member in (two, one):
            if member.process:
                member.clean()
        stack.delete_topics(input_prefix)


def main():
    options = command_line()
    results = [run(options.keys, standby) for standby in (False, True)]
    report.write("takeover.json", {"machine": report.machine(), "results": results})
    print("\n| pairs | standby | kill to running, s | longest restore, s | records restored |\n|---|---|---|---|---|")
    for row in results:
        print(f"| {row['pairs']:,} | {'yes' if row['standby'] else 'no'} | {row['seconds']:.1f} | {row['longest_restore_s']:.2f} | {row['restored_records']:,} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
