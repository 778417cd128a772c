#!/usr/bin/env bash
# Plants one bug at a time in a copy of the last commit and requires that a test fails.
#
#   tests/mutations.sh [NAME…]     all of tests/mutations/list, or these
#
#   RESUME=1      leaves out bugs that were caught before, if only documents have changed since
#   SIM_SEEDS=N   worlds of the simulation in which a bug must show (default 300)
#
# tests/mutations/list names for each bug a file and a sed expression. tests/mutations/stages says which tests
# read which files. The first stage that fails ends a bug: cheap tests run first, and nothing is built for others.
#
# Prints a table: the bug, the seconds that it took, and the tests that caught it. Fails when a bug survives, cannot
# be planted or does not compile. The working tree is not touched: the copy and its build are in .run/mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
work=$root/.run/mutants
copy=$work/tree
list=$root/tests/mutations/list
stages=$root/tests/mutations/stages
caught_before=$work/caught
# The last commit without its documents.
state=$(git ls-tree -r HEAD | grep -v '\.md$' | sha256sum | cut -d ' ' -f 1)

# Seconds for the tests of one stage, without their build: a bug that makes a test wait for ever is caught.
readonly BOUND=600
# The tests use the copy's programs and a running stack, where a stage needs them.
export CARGO_TARGET_DIR=$work/target BIN_DIR=$work/target/release RUN_DIR=${RUN_DIR:-$root/.run}
export SIM_SEEDS=${SIM_SEEDS:-300} RUST_BACKTRACE=0 CARGO_INCREMENTAL=1 RUST_TEST_THREADS=${RUST_TEST_THREADS:-2}

# Dependencies are built once, as in `make build`. Our own crates are built again for each bug: without optimisation,
# but for those two in which the simulation spends its time.
quick=()
for crate in cli=0 schemas=1 streams=1 producer=0 processor=0 tests=0; do
    for setting in opt-level="${crate#*=}" debug=false codegen-units=16; do
        quick+=(--config "profile.release.package.${crate%=*}.$setting")
    done
done

sync() { # The last commit, by content: what did not change is not built again.
    local fresh=$work/fresh
    rm -rf "$fresh" && mkdir -p "$fresh" "$copy"
    git archive HEAD | tar -x -C "$fresh"
    (cd "$fresh" && find . -type f) | while IFS= read -r path; do
        cmp -s "$fresh/$path" "$copy/$path" || install -D -m "$(stat -c %a "$fresh/$path")" "$fresh/$path" "$copy/$path"
    done
    (cd "$copy" && find . -type f) | while IFS= read -r path; do
        [ -f "$fresh/$path" ] || rm "$copy/$path"
    done
}

stages_of() { # FILE: the stages of its longest prefix, a line each.
    local file=$1 best='' found='' prefix rest
    while IFS='|' read -r prefix rest; do
        prefix=${prefix//[[:space:]]/}
        case $prefix in '' | '#'*) continue ;; esac
        if [[ $file == "$prefix"* ]] && [ ${#prefix} -gt ${#best} ]; then best=$prefix found=$rest; fi
    done <"$stages"
    tr ';' '\n' <<<"$found" | sed 's/^ *//; s/ *$//'
}

build() { # STAGE: its tests, and the programs when it needs the stack.
    local stage=$1 programs=()
    if [[ $stage == 'stack '* ]]; then programs=(-p producer -p processor --bins); fi
    # shellcheck disable=SC2086
    (cd "$copy" && cargo test --release -q --locked --no-run "${quick[@]}" "${programs[@]}" ${stage#stack }) </dev/null >"$work/log" 2>&1
}

run() { # STAGE: its tests; prints the names of those that failed.
    local stage=$1 by=() code=0
    # Tests on the stack have it to themselves.
    if [[ $stage == 'stack '* ]]; then by=(env RUST_TEST_THREADS=1 infra/with-addresses.sh); fi
    # shellcheck disable=SC2086
    (cd "$copy" && timeout "$BOUND" "${by[@]}" cargo test --release -q --locked "${quick[@]}" ${stage#stack }) </dev/null >"$work/log" 2>&1 || code=$?
    [ "$code" != 0 ] || return 0
    if [ "$code" = 124 ]; then
        echo "no end within $BOUND s"
        return
    fi
    local failed
    failed=$(sed -n 's/^    \([A-Za-z_0-9:]*\)$/\1/p' "$work/log" | sed 's/.*:://' | sort -u)
    echo "${failed:-a test that ended with code $code}"
}

verdict() { # STAGES: what caught the bug that is planted, or why none can.
    local stage failed
    while IFS= read -r stage; do
        build "$stage" || { echo 'DOES NOT COMPILE' && return; }
        failed=$(run "$stage")
        if [ -n "$failed" ]; then
            echo "$failed"
            return
        fi
    done <<<"$1"
    echo 'NOT CAUGHT'
}

fields() { # LINE: name, file and expression, a line each.
    local name file expression
    IFS='|' read -r name file expression <<<"$1"
    printf '%s\n%s\n%s\n' "$(xargs <<<"$name")" "$(xargs <<<"$file")" "${expression# }"
}

shown() { # Names of tests in one line.
    local count
    count=$(wc -l <<<"$1")
    head -2 <<<"$1" | paste -sd, | sed 's/,/, /' | tr -d '\n'
    if [ "$count" -gt 2 ]; then printf ' and %s more' $((count - 2)); fi
}

sync
chosen=()
while IFS= read -r line; do
    case ${line//[[:space:]]/} in '' | '#'*) continue ;; esac
    name=$(xargs <<<"${line%%|*}")
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    if [ -n "${RESUME:-}" ] && grep -qxF "$state $name" "$caught_before" 2>/dev/null; then continue; fi
    chosen+=("$line")
done <"$list"
echo "${#chosen[@]} bugs to plant in $(git rev-parse HEAD)"

# Without a bug every stage that is needed passes.
needed=$(for line in "${chosen[@]}"; do stages_of "$(fields "$line" | sed -n 2p)"; done | sort -u)
while IFS= read -r stage; do
    [ -n "$stage" ] || continue
    echo "without a bug: cargo test $stage" >&2
    build "$stage" || { cat "$work/log" >&2 && exit 1; }
    failed=$(run "$stage")
    if [ -n "$failed" ]; then
        echo "without a bug these fail: $failed" >&2
        tail -40 "$work/log" >&2
        exit 1
    fi
done <<<"$needed"

missed=0
total=0
printf '%-9s %-52s %5s  %s\n' '' 'bug' 's' 'caught by'
for line in "${chosen[@]}"; do
    { read -r name && read -r file && IFS= read -r expression; } < <(fields "$line")
    total=$((total + 1))
    started=$SECONDS
    if [ ! -f "$copy/$file" ]; then
        caught="NOT PLANTED: there is no $file"
    else
        cp "$copy/$file" "$work/before"
        sed -i "$expression" "$copy/$file"
        if cmp -s "$copy/$file" "$work/before"; then
            caught="NOT PLANTED: $file has changed"
        elif [ -z "$(stages_of "$file")" ]; then
            caught="NOT CAUGHT: tests/mutations/stages has no tests for $file"
        else
            caught=$(verdict "$(stages_of "$file")")
        fi
        # A new time, so that it is built again.
        cat "$work/before" >"$copy/$file"
    fi
    case $caught in
        'NOT '* | 'DOES NOT '*) missed=$((missed + 1)) ;;
        *) echo "$state $name" >>"$caught_before" ;;
    esac
    printf '%-9s %-52s %5s  %s\n' "$total/${#chosen[@]}" "$name" $((SECONDS - started)) "$(shown "$caught")"
done
echo "$((total - missed)) of $total caught"
[ "$missed" = 0 ]
