#!/usr/bin/env python3
"""Has an event become dearer? Instructions of a fixed run, against the committed count. `make bench-check`.

callgrind counts the instructions of `bench-fixed`, with trades and without any; the difference,
for each trade, is held to bench/baseline.json within five per cent, either way: cheaper is a new
baseline. No time is measured, so other work on the machine changes nothing. `--renew` writes the
baseline.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get("BIN_DIR", os.path.join(ROOT, "target/release"))
BASELINE = os.path.join(ROOT, "bench/baseline.json")
EVENTS = 60_000
TOLERANCE = 0.05
# The C library picks memcpy and its like by what the processor can: the plain ones are everywhere.
PLAIN = "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2_Usable,-AVX2,-AVX,-AVX512F,-AVX512VL,-ERMS,-FSRM"
# A run of a few seconds under callgrind; beyond this it hangs.
LIMIT_S = 600


def instructions(events):
    """Of the whole program, and what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", os.path.join(BIN, "bench-fixed"), "--events", str(events)],
            env={"GLIBC_TUNABLES": PLAIN, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        sys.exit(f"bench-fixed ended with {done.returncode}: {done.stderr[-2000:]}")
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1)), done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--renew", action="store_true", help="write the baseline instead of comparing")
    options = parser.parse_args()
    (bare, _), (whole, outputs) = instructions(0), instructions(EVENTS)
    measured = {"events": EVENTS, "instructions_per_event": round((whole - bare) / EVENTS, 1), "outputs": outputs}
    if options.renew:
        with open(BASELINE, "w") as file:
            json.dump(measured, file, indent=1)
            file.write("\n")
        print(f"{BASELINE}: {measured}")
        return 0
    with open(BASELINE) as file:
        baseline = json.load(file)
    change = measured["instructions_per_event"] / baseline["instructions_per_event"] - 1
    print(f"instructions per event: {measured['instructions_per_event']:,}, baseline {baseline['instructions_per_event']:,} ({change:+.2%})")
    if measured["outputs"] != baseline["outputs"]:
        sys.exit(f"the run wrote {measured['outputs']}, the baseline's {baseline['outputs']}: if that is meant, "
                 "python3 bench/check.py --renew, and say why in the commit")
    if abs(change) > TOLERANCE:
        sys.exit(f"more than {TOLERANCE:.0%} from the baseline: if that is meant, python3 bench/check.py --renew, and say why in the commit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
