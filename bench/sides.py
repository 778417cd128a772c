"""The sides: how each is started, what its metrics are called, and how its output is verified.

A side is started with topics, a group and a state folder of its own, on an input that others read
too. Both commit every 100 ms under exactly-once, have one stream thread unless told otherwise, and
are verified by a fold that shares no code with them.
"""
import json
import os
import shutil
import signal
import subprocess

import figures
import stack

STATE = os.path.join(stack.RUN_DIR, "bench")
# Leaving the group takes a commit and a round trip.
STOP_S = 90


class Side:
    """One run of one side. What differs is in the subclasses."""

    label = name = ""
    # What it emits when, as it stands beside its figures.
    emits = ""

    def __init__(self, input_prefix, port, partitions=stack.PARTITIONS, threads=1, commit_ms=100, extra=()):
        self.input, self.port, self.partitions = input_prefix, port, partitions
        self.threads, self.commit_ms, self.extra = threads, commit_ms, list(extra)
        self.prefix = stack.name(self.name)
        self.state = os.path.join(STATE, self.prefix + "state")
        self.log = os.path.join(stack.RESULTS, "log", self.prefix + "log")
        self.process = None

    def prepare(self):
        """Topics and folders, before anything is measured."""
        os.makedirs(os.path.dirname(self.log), exist_ok=True)
        os.makedirs(self.state, exist_ok=True)

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command(), env=self.environment(), stdout=log, stderr=log)
        return self

    @property
    def pid(self):
        return self.process.pid

    def metrics(self):
        return figures.metrics(self.port)

    def wait_running(self):
        stack.wait_until(f"{self.name} to run", lambda: self.running(self.metrics()), 0.02, self.process)

    def wait_processed(self, events):
        stack.wait_until(f"{self.name} to process {events}", lambda: self.processed(self.metrics()) >= events, 0.05, self.process)

    def stop(self):
        """SIGTERM: the last commit, and out of the group."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                stack.say(f"{self.name} did not stop within {STOP_S} s: killed")
                self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def lose_disk(self):
        shutil.rmtree(self.state)
        os.makedirs(self.state)

    def clean(self):
        """Whatever happened: nothing runs, nothing stays."""
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.state, ignore_errors=True)
        stack.delete_topics(self.prefix)


class Ours(Side):
    """The processor with its defaults: minutes and latest at each commit, hours and days as minutes close."""

    name, label = "processor", "processor"
    emits = "latest and minutes at each commit, hours and days when a minute closes"
    commits = "processor_commit_duration_seconds"

    def prepare(self):
        super().prepare()
        stack.create_topics(self.prefix, self.partitions)

    def command(self):
        # The peer computes prices only.
        return [os.path.join(stack.BIN, "processor"), "run", "--topologies", "prices", "--topic-prefix", self.prefix, "--input-prefix", self.input,
                "--application-id", self.prefix + "app", "--state-dir", self.state, "--listen", f"127.0.0.1:{self.port}",
                "--threads", str(self.threads), "--commit-interval", f"{self.commit_ms}ms", *self.extra]

    def environment(self):
        return stack.addresses()

    def running(self, rows):
        return sum(v for k, v in rows.items() if "task_state" in k and 'state="running"' in k) >= self.partitions

    def processed(self, rows):
        return figures.total(rows, "processor_records_processed_total")

    def restored(self, rows):
        return figures.total(rows, "processor_restore_records_total")

    def verify(self):
        said = stack.program("bench-verify", "--input-prefix", self.input, "--topic-prefix", self.prefix, *self.fold())
        return json.loads(said)

    def fold(self):
        return []


class Peer(Side):
    """Kafka Streams, every store's update emitted at each commit."""

    name, label = "kafka-streams", "Kafka Streams"
    emits = "latest, minutes, hours and days at each commit"
    # Of the application and of its verifier.
    emission = []
    commits = "peer_commit_duration_seconds"
    java = "-Xmx2g -XX:+UseG1GC"
    # The verifier is no part of what is measured, and holds every key of input and outputs.
    verifier_java = "-Xmx8g -XX:+UseG1GC"

    def run(self, mode):
        return [os.path.join(stack.ROOT, "bench/kafka-streams/run.sh"), mode, "--bootstrap", stack.BOOTSTRAP,
                "--input", self.input + "events", "--prefix", self.prefix, *self.emission]

    def command(self):
        return [*self.run("app"), "--app-id", self.prefix + "app", "--state-dir", self.state, "--listen", str(self.port),
                "--threads", str(self.threads), "--event-id", str(stack.event_schema_id(self.input)),
                "--set", f"commit.interval.ms={self.commit_ms}", *self.extra]

    def environment(self):
        return {**os.environ, "JAVA_OPTS": os.environ.get("PEER_JAVA_OPTS", self.java)}

    def running(self, rows):
        return figures.total(rows, "peer_running") == 1

    def processed(self, rows):
        return figures.total(rows, "peer_records_processed_total")

    def restored(self, rows):
        return figures.total(rows, "peer_restore_records_total")

    def verify(self):
        environment = {**self.environment(), "JAVA_OPTS": self.verifier_java}
        done = subprocess.run(self.run("verify"), env=environment, text=True, capture_output=True, timeout=stack.TOOL_S)
        if done.returncode:
            raise RuntimeError(f"the peer's output is not the fold of its input: {done.stdout} {done.stderr[-2000:]}")
        return json.loads(done.stdout)


class PeerOnClose(Peer):
    """Kafka Streams as nearly as its DSL can emit as ours does: an hour and a day only when they close."""

    name, label = "kafka-streams-on-close", "Kafka Streams, hours and days on close"
    emits = "latest and minutes at each commit, hours and days once, when they close"
    emission = ["--emit", "on-close"]
