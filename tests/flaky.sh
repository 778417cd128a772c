#!/usr/bin/env bash
# Runs the tests that depend on time, threads or other processes again and again, and lists every failure.
#
#   tests/flaky.sh [TARGET…]     all of tests/timing, or these
#
#   RUNS=20       how often each target runs
#
# tests/timing names the targets. Those that need the stack expect it to run (make up). The log of each run that
# failed stays in .run/flaky. Fails when any run failed.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${RUNS:-20}
logs=$PWD/.run/flaky
# Tests of the whole system have the stack to themselves.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-1}
rm -rf "$logs" && mkdir -p "$logs"

failures=0
printf '%-24s %5s %7s  %s\n' target runs failed tests
while read -r target arguments; do
    case $target in '' | '#'*) continue ;; esac
    if [ $# -gt 0 ] && [[ " $* " != *" $target "* ]]; then continue; fi
    failed=0
    names=''
    for run in $(seq "$runs"); do
        log=$logs/$target-$run.log
        # The features of the whole workspace: nothing is built twice.
        # shellcheck disable=SC2086
        if infra/with-addresses.sh cargo test --release --workspace --locked -q $arguments </dev/null >"$log" 2>&1; then
            rm "$log"
        else
            failed=$((failed + 1))
            names+=$(sed -n 's/^    \([A-Za-z_0-9:]*\)$/ \1/p' "$log" | sort -u | tr -d '\n')
        fi
    done
    failures=$((failures + failed))
    printf '%-24s %5s %7s %s\n' "$target" "$runs" "$failed" "$(tr ' ' '\n' <<<"$names" | sed '/^$/d' | sort | uniq -c |
        awk '{ printf " %s (%s)", $2, $1 }')"
done <tests/timing
[ "$failures" = 0 ] || echo "the logs of $failures failed runs are in $logs"
[ "$failures" = 0 ]
