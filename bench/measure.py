"""One run of one side, catching up or live: what it cost between warm and done, and whether it was right.

Warm: a share of the events (catching up) or a time (live) is let pass first, so that start-up and
just-in-time compilation are not in the figures. No figure is returned of a run whose output the
fold does not agree with.
"""
import json
import os
import subprocess
import time

import figures
import stack

# A side that takes less than this share of what is offered falls behind.
KEPT_UP = 0.97
# Between two looks at a side; a look costs it one small HTTP answer.
LOOK_S = 0.1


class Meter:
    """Readings of one side and of the broker; the figures are what lies between two of them."""

    def __init__(self, side):
        self.side = side

    def read(self):
        rows = self.side.metrics()
        return {"t": time.monotonic(), "cpu": figures.cpu_s(self.side.pid), "broker": stack.broker_cpu_s(),
                "events": self.side.processed(rows), "rows": rows}

    def between(self, first, last):
        events, seconds = last["events"] - first["events"], last["t"] - first["t"]
        rows = figures.since(last["rows"], first["rows"])
        return {
            "events": int(events),
            "seconds": seconds,
            "events_per_s": events / seconds,
            "cpu_us_per_event": (last["cpu"] - first["cpu"]) * 1e6 / events,
            "broker_cpu_us_per_event": (last["broker"] - first["broker"]) * 1e6 / events,
            "commit_p50_ms": figures.percentile(rows, self.side.commits, 0.5),
            "commit_p99_ms": figures.percentile(rows, self.side.commits, 0.99),
            "rss_peak_mb": figures.memory_mb(self.side.pid, "VmHWM"),
        }


def written(side, events, before):
    """What the broker got for an event, from start to stop: outputs, changelogs, offsets, markers."""
    sizes = stack.disk(side.input)
    return {
        "broker_bytes_per_event": stack.grown(before, sizes) / events,
        "broker_records_per_event": stack.written_records(side.prefix) / events,
    }


def verified(side, figures_of_run):
    """The figures, once the fold agrees; anything else is an error."""
    fold = side.verify()
    if fold["mismatched"] != 0 or fold["input_events"] <= 0:
        raise RuntimeError(f"{side.name}: the fold disagrees: {fold}")
    return {**figures_of_run, "verified": True, "fold": fold}


def catching_up(side, events, warm=0.2):
    """All of the input is there when the side starts."""
    side.prepare()
    before = stack.disk(side.input)
    try:
        meter = Meter(side.start())
        first = None
        while True:
            reading = meter.read()
            if first is None and reading["events"] >= warm * events:
                first = reading
            if reading["events"] >= events:
                break
            if side.process.poll() is not None:
                raise RuntimeError(f"{side.name} ended with {side.process.returncode}: see {side.log}")
            time.sleep(LOOK_S / 2)
        if first is reading:
            raise RuntimeError("the load is too small: it was over before it was warm; more --events")
        result = meter.between(first, reading)
        side.stop()
        result.update(written(side, events, before))
        return verified(side, result)
    finally:
        side.clean()


def live(side, load, rate, seconds, warm_s, start_ms):
    """The load arrives at its rate, with a probe among it; the side's input topic is its own.

    Event times begin at `start_ms` whenever the run is, so that every run reads the same bytes; the
    probe's follow the load's.
    """
    stack.create_topics(side.input, side.partitions)
    side.prepare()
    before, events = stack.disk(side.input), rate * seconds
    producer = probe = None
    try:
        meter = Meter(side.start())
        side.wait_running()
        shift = start_ms - int(time.time() * 1000)
        flags = {name: value for name, value in load.items() if name != "partitions"}
        flags.update({"events": events, "event-rate": rate})
        producer = subprocess.Popen(stack.load_command(side.input, flags, rate, start_ms), env=stack.addresses(),
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        probe = subprocess.Popen(
            [os.path.join(stack.BIN, "bench-probe"), "--input-prefix", side.input, "--topic-prefix", side.prefix,
             "--seconds", str(seconds), "--warm-up-seconds", str(warm_s), "--shift-ms", str(shift)],
            env=stack.addresses(), stdout=subprocess.PIPE, text=True)
        time.sleep(warm_s)
        first = meter.read()
        time.sleep(max(0.0, seconds - warm_s - 1))
        last = meter.read()
        said, probed = json.loads(producer.communicate(timeout=stack.LIMIT_S)[0]), probe.communicate(timeout=stack.LIMIT_S)[0]
        seen = json.loads(probed)
        side.wait_processed(events + seen["sent"])
        result = meter.between(first, last)
        result.update({"visible_p50_ms": seen["p50_ms"], "visible_p99_ms": seen["p99_ms"], "probe": seen,
                       "offered_per_s": said["events"] / said["seconds"]})
        # Of a side that falls behind, latency says only how long the run was.
        result["kept_up"] = result["events_per_s"] >= KEPT_UP * result["offered_per_s"]
        side.stop()
        result.update(written(side, events, before))
        return verified(side, result)
    finally:
        for process in filter(None, [producer, probe]):
            if process.poll() is None:
                process.kill()
                process.wait()
        side.clean()
        stack.delete_topics(side.input)
