#!/usr/bin/env bash
# Plants one bug at a time in a copy of the last commit and requires that a test fails.
#
#   tests/mutations.sh [NAME…]     all of tests/mutations/list, or these
#
# Prints a table: the bug, and the tests that caught it. Fails when one is not caught. The working
# tree is not touched: the copy and its build are in .run/mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$PWD/.run/mutants/tree
list=$PWD/tests/mutations/list
# CARGO_TARGET_DIR=target builds faster, and waits for other builds.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-.run/mutants/target} RUST_BACKTRACE=0 CARGO_INCREMENTAL=1
CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
# Worlds of the simulation in which a bug must show.
export SIM_SEEDS=${SIM_SEEDS:-300}

sync() { # The last commit, by content: what did not change is not built again.
    local fresh=$copy/../fresh
    rm -rf "$fresh" && mkdir -p "$fresh" "$copy"
    git archive HEAD | tar -x -C "$fresh"
    (cd "$fresh" && find . -type f) | while IFS= read -r path; do
        cmp -s "$fresh/$path" "$copy/$path" || install -D "$fresh/$path" "$copy/$path"
    done
    (cd "$copy" && find . -type f) | while IFS= read -r path; do
        [ -f "$fresh/$path" ] || rm "$copy/$path"
    done
}

tests() { # Runs the tests of the copy; prints the names of those that failed.
    local log=$copy/../log
    : >"$log"
    # Both packages in one command: the features, and so the dependencies, are those of the workspace.
    (cd "$copy" && cargo test --release -q --no-fail-fast -p streams -p tests --lib --test memory --test simulation) >>"$log" 2>&1 || true
    if grep -q '^error\(\[E[0-9]*\]\)\?:.*' "$log" && ! grep -q '^test result\|^failures:' "$log"; then
        echo "does not compile"
        return
    fi
    sed -n 's/^    \([a-z_0-9:]*\)$/\1/p' "$log" | sed 's/.*:://' | sort -u
}

sync
baseline=$(tests)
if [ -n "$baseline" ]; then
    echo "without a bug these fail: $baseline" >&2
    exit 1
fi

missed=0
total=0
printf '%-44s %s\n' 'bug' 'caught by'
while IFS='|' read -r name file expression; do
    name=$(xargs <<<"$name")
    case $name in '' | '#'*) continue ;; esac
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    file=$(xargs <<<"$file")
    expression=${expression# }
    cp "$copy/$file" "$copy/../before"
    sed -i "$expression" "$copy/$file"
    total=$((total + 1))
    if cmp -s "$copy/$file" "$copy/../before"; then
        printf '%-44s %s\n' "$name" "NOT PLANTED: $file has changed"
        missed=$((missed + 1))
        continue
    fi
    caught=$(tests)
    # A new time, so that it is built again.
    cat "$copy/../before" >"$copy/$file"
    case $caught in
        '') caught='NOT CAUGHT' && missed=$((missed + 1)) ;;
        'does not compile') caught='DOES NOT COMPILE' && missed=$((missed + 1)) ;;
    esac
    count=$(wc -l <<<"$caught")
    more=''
    if [ "$count" -gt 2 ]; then more=" and $((count - 2)) more"; fi
    printf '%-44s %s%s\n' "$name" "$(head -2 <<<"$caught" | paste -sd, | sed 's/,/, /')" "$more"
done <"$list"
echo "$((total - missed)) of $total caught"
[ "$missed" = 0 ]
