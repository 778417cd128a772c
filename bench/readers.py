"""Views and those who read them, as a measurement of reads sees them.

One installation: a member that writes, views that follow, and a load whose event times go on from
one part of the measurement to the next, so that no trade comes twice.
"""
import json
import os
import resource
import subprocess
import time

import figures
import sides
import stack

PORT = 39331
# The history that there is before anything is measured: an hour of every pair.
HISTORY_EVENTS, HISTORY_S = 400_000, 3_600
# From the first event of a load until member and views are at their pace.
SETTLE_S = 3
# An offered rate that is taken to this share counts as taken.
TAKEN = 0.97
# Streaming clients and server have a socket each.
OPEN_FILES = 20_000


class View(sides.Ours):
    """`processor serve` over what a member writes; reads of one address are not limited."""

    def __init__(self, member, port, extra=()):
        super().__init__(member.input, port, extra=extra)
        self.member, self.prefix = member, member.prefix
        self.state = f"{member.state}-view-{port}"
        self.log = f"{member.log}-view-{port}"

    def prepare(self):
        os.makedirs(self.state, exist_ok=True)

    def command(self):
        return [os.path.join(stack.BIN, "processor"), "serve", "--topologies", "prices", "--topic-prefix", self.prefix,
                "--state-dir", self.state,
                "--listen", self.address, "--rate", "0", *self.extra]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def wait_running(self):
        wait_ready(self)

    def clean(self):
        """The topics are the member's."""
        if self.process and self.process.poll() is None:
            self.kill()
        sides.shutil.rmtree(self.state, ignore_errors=True)


def wait_ready(side):
    def ready():
        try:
            with stack.urllib.request.urlopen(f"http://127.0.0.1:{side.port}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False
    stack.wait_until(f"port {side.port} to be ready", ready, 0.05, side.process)


def lag_ms(side):
    """How old its answers say that they are; None when it does not answer, or does not know."""
    try:
        with stack.urllib.request.urlopen(f"http://127.0.0.1:{side.port}/v1/exchanges", timeout=5) as answer:
            lag = answer.headers.get("lag-ms")
            return int(lag) if lag is not None else None
    except OSError:
        return None


class Installation:
    """A member and views over topics of their own, with an hour of history."""

    def __init__(self, keys, views=1, pick="zipf", history=True, extra=()):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, OPEN_FILES), limit))
        self.keys, self.pick = keys, pick
        self.member = sides.Ours(stack.name("reads"), PORT, extra=[*extra, "--rate", "0"])
        self.views = [View(self.member, PORT + 1 + index) for index in range(views)]
        self.history, self.load, self.seed = history, None, 1
        # A whole minute, so that the history's windows are where they are in each run.
        self.from_ms = (int(time.time()) // 60 - 10 * HISTORY_S // 60) * 60_000
        self.event_ms = self.from_ms

    def __enter__(self):
        try:
            if self.history:
                load = {"events": HISTORY_EVENTS, "keys": self.keys, "event-rate": HISTORY_EVENTS // HISTORY_S, "pick": self.pick}
                self.event_ms = stack.fill(self.member.input, load, self.from_ms)["last_event_ms"]
            else:
                stack.create_topics(self.member.input)
            for side in (self.member, *self.views):
                side.prepare()
                side.start()
            self.member.wait_running()
            if self.history:
                self.member.wait_processed(HISTORY_EVENTS)
            for view in self.views:
                view.wait_running()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.stop_load()
        for side in (*self.views, self.member):
            side.stop()
        for side in (*self.views, self.member):
            side.clean()
        stack.delete_topics(self.member.input)

    def start_load(self, rate, now=False, keys=None):
        """An endless load, in windows in which there is nothing yet; `now` if its times are the clock's."""
        self.seed += 1
        self.event_ms = int(time.time() * 1000) if now else (self.event_ms // 60_000 + 2) * 60_000
        flags = {"events": rate * 3_600, "keys": keys or self.keys, "event-rate": rate, "pick": self.pick, "seed": self.seed}
        self.load = subprocess.Popen(stack.load_command(self.member.input, flags, rate, self.event_ms), env=stack.addresses(),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.started = time.monotonic()
        time.sleep(SETTLE_S)

    def stop_load(self):
        if self.load and self.load.poll() is None:
            self.load.kill()
            self.load.wait()
            self.event_ms += int((time.monotonic() - self.started) * 1000)

    def caught_up(self):
        """The member has nothing left to do."""
        lag = lambda: figures.total(self.member.metrics(), "processor_consumer_lag_records")
        stack.wait_until("the member to catch up", lambda: lag() == 0 and (time.sleep(0.5) or lag() == 0), 0.2, self.member.process)

    def read_command(self, seconds, views, rate, mix=None, connections=16):
        targets = [word for view in views for word in ("--address", f"127.0.0.1:{view.port}", "--pid", str(view.pid))]
        return [os.path.join(stack.BIN, "bench-reads"), *targets, "--rate", str(rate), "--seconds", str(seconds), "--keys",
                str(self.keys), "--from-ms", str(self.from_ms), "--connections", str(connections), *(["--mix", mix] if mix else [])]

    def read(self, seconds, views, rate, mix=None, connections=16):
        """Reads beside whatever load there is: the client's report, and what the member took meanwhile."""
        before, started = self.member.processed(self.member.metrics()), time.monotonic()
        done = subprocess.run(self.read_command(seconds, views, rate, mix, connections), text=True, capture_output=True, timeout=stack.TOOL_S)
        if done.returncode:
            raise RuntimeError(f"bench-reads ended with {done.returncode}: {done.stderr[-1000:]}")
        taken = self.member.processed(self.member.metrics()) - before
        return {**json.loads(done.stdout), "writes_per_s": taken / (time.monotonic() - started)}


def cpu_per_read(report, idle_us_per_s=0.0):
    """Processor time of the views for each read, less what they use without any."""
    cpu = sum(target["cpu_us"] or 0 for target in report["targets"])
    reads = sum(target["reads"] for target in report["targets"])
    return (cpu - idle_us_per_s * report["seconds"]) / reads if reads else None


def idle(views, seconds=4):
    """What views use a second while nobody reads."""
    before, started = sum(figures.cpu_s(view.pid) for view in views), time.monotonic()
    time.sleep(seconds)
    return (sum(figures.cpu_s(view.pid) for view in views) - before) * 1e6 / (time.monotonic() - started)
