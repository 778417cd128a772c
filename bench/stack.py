"""The stack as a measurement sees it: topics, the load, the broker's processor time and its disk.

Addresses come from infra/with-addresses.sh. Every run has topics of its own, deleted afterwards.
"""
import json
import os
import random
import re
import subprocess
import sys
import time
import urllib.request

import figures

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get("BIN_DIR", os.path.join(ROOT, "target/release"))
RUN_DIR = os.environ.get("RUN_DIR", os.path.join(ROOT, ".run"))
CACHE_DIR = os.environ.get("CACHE_DIR", os.path.join(RUN_DIR, "cache"))
BOOTSTRAP = os.environ.get("BOOTSTRAP_SERVERS", "127.0.0.1:9092")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")
RESULTS = os.path.join(ROOT, "target/bench")
PARTITIONS = 4
# An answer of a tool that has not come by then will not come.
TOOL_S = 900
# Something that is waited for and has not happened by then has failed.
LIMIT_S = 900


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def addresses():
    """What our own programs read from their environment."""
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": BOOTSTRAP, "SCHEMA_REGISTRY_URL": REGISTRY}


def program(name, *arguments):
    """One of our programs, run to its end: its standard output."""
    done = subprocess.run([os.path.join(BIN, name), *map(str, arguments)], env=addresses(), text=True,
                          capture_output=True, timeout=TOOL_S)
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(map(str, arguments))} ended with {done.returncode}: "
                           f"{done.stdout[-500:]} {done.stderr[-2000:]}")
    return done.stdout


def kafka_tool(tool, *arguments):
    done = subprocess.run(["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                           f"-Dlog4j2.configurationFile={ROOT}/infra/kafka/log4j2-tools.properties", "-cp",
                           f"{CACHE_DIR}/kafka/*", tool, "--bootstrap-server", BOOTSTRAP, *arguments],
                          text=True, capture_output=True, timeout=TOOL_S)
    if done.returncode:
        raise RuntimeError(f"{tool} {arguments}: {done.stdout[-500:]} {done.stderr[-1000:]}")
    return done.stdout


def create_topics(prefix, partitions=PARTITIONS, group=None):
    """Those of a prefix; with a group, its repartition topics, too."""
    of_group = ["--application-id", group] if group else []
    program("processor", "topics", "create", "--topic-prefix", prefix, "--partitions", partitions, *of_group)


def delete_topics(prefix):
    """Every topic whose name begins so."""
    kafka_tool("org.apache.kafka.tools.TopicCommand", "--delete", "--if-exists", "--topic", re.escape(prefix) + ".*")


def written_records(prefix):
    """Log entries of all topics whose names begin so, transactions' markers included."""
    lines = kafka_tool("org.apache.kafka.tools.GetOffsetShell", "--topic-partitions", re.escape(prefix) + ".*")
    return sum(int(line.rsplit(":", 1)[1]) for line in lines.split() if line.rsplit(":", 1)[1])


def event_schema_id(prefix):
    """Registers the input's schema, as the producer does, and returns its id: the same for the same text."""
    with open(os.path.join(ROOT, "schemas/avro/market_event.avsc")) as file:
        body = json.dumps({"schemaType": "AVRO", "schema": file.read()}).encode()
    request = urllib.request.Request(f"{REGISTRY}/subjects/{prefix}events-value/versions", body,
                                     {"content-type": "application/vnd.schemaregistry.v1+json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["id"]


def load_command(prefix, load, rate=0, start_ms=None):
    """`load` maps flags of `producer load` to values."""
    flags = [word for name, value in load.items() for word in (f"--{name}", str(value))]
    start = ["--start-ms", str(start_ms)] if start_ms else []
    return [os.path.join(BIN, "producer"), "load", "--topic-prefix", prefix, "--rate", str(rate), *flags, *start]


def fill(prefix, load, start_ms=None):
    """Puts a whole load into a new topic."""
    create_topics(prefix, load.get("partitions", PARTITIONS))
    flags = {name: value for name, value in load.items() if name != "partitions"}
    done = subprocess.run(load_command(prefix, flags, 0, start_ms), env=addresses(), text=True,
                          capture_output=True, timeout=TOOL_S)
    if done.returncode:
        raise RuntimeError(f"the load failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def broker_pid():
    with open(os.path.join(RUN_DIR, "pid/kafka-1")) as file:
        return int(file.read().split()[0])


def broker_cpu_s():
    return figures.cpu_s(broker_pid())


def disk(without):
    """Bytes of each partition's log segments, except those of topics that begin so."""
    data = os.path.join(RUN_DIR, "kafka/of-1/1/data")
    sizes = {}
    for folder in os.listdir(data):
        if folder.startswith(without) or folder.endswith("-delete"):
            continue
        try:
            files = [entry for entry in os.scandir(os.path.join(data, folder)) if entry.name.endswith(".log")]
            sizes[folder] = sum(entry.stat().st_size for entry in files)
        except (NotADirectoryError, FileNotFoundError):
            continue
    return sizes


def disk_of(prefix):
    """Bytes of each partition's log segments of topics that begin so."""
    return {folder: size for folder, size in disk(without="\0").items() if folder.startswith(prefix)}


def grown(before, after):
    """Bytes by which the logs that are there afterwards have grown."""
    return sum(size - before.get(folder, 0) for folder, size in after.items())


def name(what):
    """A prefix that no other run has."""
    return f"bench-{what}-{random.randrange(1 << 32):08x}."


def wait_until(what, holds, every=0.05, alive=None):
    """Waits with a bound; `alive` names the process whose end ends the wait."""
    started = time.monotonic()
    while True:
        result = holds()
        if result:
            return result
        if alive is not None and alive.poll() is not None:
            raise RuntimeError(f"{what}: the program ended with {alive.returncode}")
        if time.monotonic() - started > LIMIT_S:
            raise RuntimeError(f"{what}: not within {LIMIT_S} s")
        time.sleep(every)
