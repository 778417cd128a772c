"""Pairs of runs as ratios: the table that a person reads and the JSON that a program reads.

A ratio is of one turn, ours to a peer's; what is printed is the median of the turns' ratios with their
least and greatest. `ratio` in the JSON is each side's to the peer's, `ours_to` is ours to each other's.
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


def section(runs, ours="processor", peer="kafka-streams"):
    """`runs` maps a side to its runs in order; every figure of every side, and the ratios."""
    out = {"pairs": min(len(rows) for rows in runs.values()),
           "verified": all(row.get("verified") is True for rows in runs.values() for row in rows),
           "behind": sorted({side for side, rows in runs.items() for row in rows if not row.get("kept_up", True)}),
           "figures": {}, "runs": runs}
    for figure, unit, more_is_better in FIGURES:
        sides = {side: figures.spread([row.get(figure) for row in rows]) for side, rows in runs.items()}
        if not any(sides.values()):
            continue
        compared = lambda one, other: figures.spread(ratios(runs[one], runs[other], figure))
        entry = {"unit": unit, "more_is_better": more_is_better, "sides": sides,
                 "ratio": {side: compared(side, peer) for side in runs if side != peer},
                 "ours_to": {side: compared(ours, side) for side in runs if side != ours}}
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


def table(title, section_, ours="processor"):
    sides = list(section_["runs"])
    others = [side for side in sides if side != ours]
    lines = [f"\n{title}: {section_['pairs']} turns, " + ("outputs verified" if section_["verified"] else "NOT VERIFIED"), ""]
    if section_["behind"]:
        lines[0] += f"; {' and '.join(section_['behind'])} did NOT KEEP UP, so latencies are not comparable"
    lines.append("| | " + " | ".join(sides) + " | " + " | ".join(f"{ours} to {side}, median (min to max)" for side in others) + " |")
    lines.append("|---" * (1 + len(sides) + len(others)) + "|")
    for figure in section_["figures"].values():
        medians = [number(figure["sides"][side] and figure["sides"][side]["median"]) for side in sides]
        compared = [ratio_text(figure["ours_to"][side]) for side in others]
        lines.append(f"| {figure['unit']} | " + " | ".join(medians + compared) + " |")
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
