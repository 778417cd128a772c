"""What is read of running processes: processor time, memory, disk, open files, metrics, percentiles.

Everything comes from /proc or from a side's own /metrics; nothing here waits or starts anything.
"""
import os
import statistics
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    """User and system time of the whole process, in seconds."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid, field):
    """VmRSS or VmHWM, in MiB."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


def written_mb(pid):
    """What it has written to disks, in MB."""
    with open(f"/proc/{pid}/io") as io:
        line = next(line for line in io if line.startswith("write_bytes:"))
    return int(line.split()[1]) / 1e6


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def metrics(port):
    """Every sample of a Prometheus text page by its name and labels; empty when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    rows = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def total(rows, name):
    """The sum over all labels of a metric."""
    return sum(value for key, value in rows.items() if key.split("{")[0] == name)


def since(rows, earlier):
    """What counters have grown by."""
    return {name: value - earlier.get(name, 0) for name, value in rows.items()}


def percentile(rows, name, share):
    """Of a histogram, in milliseconds, interpolated within its bucket; None when it is empty."""
    bound = lambda key: float(key.split('le="')[1].rstrip('"}').replace("+Inf", "inf"))
    buckets = sorted((bound(key), value) for key, value in rows.items() if key.startswith(name + "_bucket"))
    if not buckets or not buckets[-1][1]:
        return None
    wanted, below, start = share * buckets[-1][1], 0.0, 0.0
    for end, count in buckets:
        if count >= wanted and count > below:
            if end == float("inf"):
                return start * 1e3
            return (start + (end - start) * (wanted - below) / (count - below)) * 1e3
        below, start = count, end
    return start * 1e3


def spread(values):
    """Minimum, median and maximum of what is known."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"min": min(known), "median": statistics.median(known), "max": max(known)}
