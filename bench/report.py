"""Pairs of runs as ratios: the table that a person reads and the JSON that a program reads.

A ratio is of one pair, ours to the peer's of the same turn; what is printed is the median of the
pairs' ratios with their least and greatest. Of a peer that also runs in another way, ours is
compared with both.
"""
import json
import os
import platform
import time

import figures
import stack

# The figure, its unit, and whether more is better.
FIGURES = [
    ("events_per_s", "events/s", True),
    ("cpu_us_per_event", "CPU-us/event", False),
    ("broker_cpu_us_per_event", "broker CPU-us/event", False),
    ("broker_bytes_per_event", "broker bytes/event", False),
    ("broker_records_per_event", "broker records/event", False),
    ("rss_peak_mb", "peak RSS, MB", False),
    ("commit_p50_ms", "commit p50, ms", False),
    ("commit_p99_ms", "commit p99, ms", False),
    ("visible_p50_ms", "visible p50, ms", False),
    ("visible_p99_ms", "visible p99, ms", False),
]


def ratios(ours, peers, figure):
    """One for each pair in which both sides have the figure."""
    pairs = [(a.get(figure), b.get(figure)) for a, b in zip(ours, peers)]
    return [a / b for a, b in pairs if a is not None and b]


def section(runs, peer="kafka-streams", other_peer=None):
    """`runs` maps a side to its runs in order; every figure of every side, and its ratio to the peer's.

    Where the peer's other way of running is among them, `ratio_to` has the ratio of ours to that.
    """
    out = {"peer": peer, "pairs": min(len(rows) for rows in runs.values()),
           "verified": all(row.get("verified") is True for rows in runs.values() for row in rows),
           "behind": sorted({side for side, rows in runs.items() for row in rows if not row.get("kept_up", True)}),
           "figures": {}, "runs": runs}
    for figure, unit, more_is_better in FIGURES:
        sides = {side: figures.spread([row.get(figure) for row in rows]) for side, rows in runs.items()}
        if not any(sides.values()):
            continue
        entry = {"unit": unit, "more_is_better": more_is_better, "sides": sides, "ratio": {}}
        for side in runs:
            if side != peer:
                entry["ratio"][side] = figures.spread(ratios(runs[side], runs[peer], figure))
        if other_peer in runs:
            entry["ratio_to"] = {other_peer: {side: figures.spread(ratios(runs[side], runs[other_peer], figure))
                                              for side in runs if side not in (peer, other_peer)}}
        out["figures"][figure] = entry
    return out


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def ratio_text(spread):
    if spread is None:
        return "-"
    if spread["median"] < 1 and spread["max"] > 0 and spread["min"] > 0:
        return f"1/{number(1 / spread['median'])} (1/{number(1 / spread['min'])} to 1/{number(1 / spread['max'])})"
    return f"{number(spread['median'])}x ({number(spread['min'])} to {number(spread['max'])})"


def compared(section_):
    """The columns of ratios: a side, what it is compared with, and how to read that of a figure."""
    peer, others = section_["peer"], next(iter(section_["figures"].values())).get("ratio_to", {})
    ours = [side for side in section_["runs"] if side != peer and side not in others]
    return [(side, peer, lambda figure, side=side: figure["ratio"][side]) for side in ours] + [
        (side, other, lambda figure, side=side, other=other: figure["ratio_to"][other][side]) for other in others for side in ours]


def table(title, section_):
    sides, labels = list(section_["runs"]), section_.get("labels", {})
    columns = compared(section_)
    lines = [f"\n{title}: {section_['pairs']} pairs, " + ("outputs verified" if section_["verified"] else "NOT VERIFIED"), ""]
    if section_["behind"]:
        lines[0] += f"; {' and '.join(section_['behind'])} did NOT KEEP UP, so latencies are not comparable"
    lines += [f"- {labels.get(side, side)} emits {what}" for side, what in section_.get("emits", {}).items()] + [""]
    lines.append("| | " + " | ".join(labels.get(side, side) for side in sides) + " | "
                 + " | ".join(f"{side} to {labels.get(other, other)}, median (min to max)" for side, other, _ in columns) + " |")
    lines.append("|---" * (1 + len(sides) + len(columns)) + "|")
    for figure in section_["figures"].values():
        medians = [number(figure["sides"][side] and figure["sides"][side]["median"]) for side in sides]
        lines.append(f"| {figure['unit']} | " + " | ".join(medians + [ratio_text(ratio(figure)) for _, _, ratio in columns]) + " |")
    return "\n".join(lines)


def goal(name, value, wanted, holds):
    return {"goal": name, "wanted": wanted, "measured": value, "met": bool(value is not None and holds(value))}


def goals_table(goals):
    lines = ["\n| goal | wanted | measured | met |", "|---|---|---|---|"]
    for row in goals:
        lines.append(f"| {row['goal']} | {row['wanted']} | {number(row['measured'])} | {'yes' if row['met'] else 'NO'} |")
    return "\n".join(lines)


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release(),
            "load_average": os.getloadavg(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def write(file, result):
    """Below target/bench; what stands there from another command is kept elsewhere."""
    os.makedirs(stack.RESULTS, exist_ok=True)
    path = os.path.join(stack.RESULTS, file)
    with open(path, "w") as out:
        json.dump(result, out, indent=1)
    stack.say(f"written: {path}")
