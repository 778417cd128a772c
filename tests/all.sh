#!/usr/bin/env bash
# make test: every test of the workspace, on a stack that runs and with everything built.
#
#   tests/all.sh
#
# Three groups, so that two cores do not wait for each other:
#   beside   tests without the stack, and those on the stack that need little of it; they run in the background
#   shared   every other test of the whole system, one after the other
#   alone    tests that stop parts of the stack, when the others have ended
#
# The targets come from `cargo metadata`: a new one runs in `shared` until it is named here.
# The log of the group in the background is in .run/test-beside.log, and printed at its end.
set -euo pipefail
cd "$(dirname "$0")/.."

beside=(tidy marks simulation errors exchanges venues book_faults security standby positions)
alone=(spool outage options)
log=${RUN_DIR:-.run}/test-beside.log
# Tests of the whole system are as many programs already.
export RUST_TEST_THREADS=1

targets() { # tests|others: the names of the test targets in the package `tests`, or in all other packages.
    cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if (package["name"] == "tests") == (sys.argv[1] == "tests"):
        for target in package["targets"]:
            if target["kind"] == ["test"]: print(target["name"])' "$1"
}

without() { # NAME…: the lines of standard input that are none of them.
    grep -vxF -f <(printf '%s\n' "$@")
}

run() { # ARGUMENTS…: cargo test with the features of the whole workspace, so that nothing is built again.
    infra/with-addresses.sh cargo test --release --workspace --locked "$@" </dev/null
}

flags() { # NAME…: each as `--test NAME`.
    local name
    for name in "$@"; do echo "--test=$name"; done
}

mapfile -t others < <(targets others)
mapfile -t shared < <(targets tests | without "${beside[@]}" "${alone[@]}")
mapfile -t beside_flags < <(flags "${others[@]}" "${beside[@]}" | sort -u)
mapfile -t shared_flags < <(flags "${shared[@]}")
mapfile -t alone_flags < <(flags "${alone[@]}")

in_background() { # Every part runs, whatever another has shown.
    local code=0
    run --no-fail-fast --lib --bins --examples || code=1
    run --no-fail-fast "${beside_flags[@]}" || code=1
    run --no-fail-fast --doc || code=1
    return "$code"
}

mkdir -p "$(dirname "$log")"
in_background >"$log" 2>&1 &
background=$!
trap 'kill "$background" 2>/dev/null || true' EXIT

echo "beside (log: $log): units, documentation, ${others[*]} ${beside[*]}"
failed=()
run --no-fail-fast "${shared_flags[@]}" || failed+=(shared)
wait "$background" || failed+=(beside)
trap - EXIT
cat "$log"
run --no-fail-fast "${alone_flags[@]}" || failed+=(alone)
[ ${#failed[@]} = 0 ] || { echo "tests failed: ${failed[*]}" >&2 && exit 1; }
