#!/usr/bin/env bash
# Fuzzes every target, or those named, for so many seconds each: run.sh SECONDS [TARGET...].
#
# Prints a line for each target and fails when there was a finding. A finding stays in
# target/fuzz/findings/TARGET; once its bug is mended, its input becomes a fixture of an ordinary
# test. What a run has learned stays in target/fuzz/corpus; what every run begins with is in seeds/.
#
# No sanitizer: there is one file of unsafe code in this project, and none on these paths. Without
# one, the pinned stable compiler does.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?run.sh SECONDS [TARGET...]}
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(sed -n 's/^path = "targets\/\(.*\)\.rs"$/\1/p' fuzz/Cargo.toml | grep -v '^lib$')
fi

out=target/fuzz
options=(--fuzz-dir fuzz --target-dir "$out/build" --sanitizer none)
cargo fuzz build "${options[@]}"

stat() { # NAME LOG
  sed -n "s/^stat::$1: *//p" "$2" | tail -1
}

failed=0
for target in "${targets[@]}"; do
  corpus=$out/corpus/$target findings=$out/findings/$target log=$out/$target.log
  mkdir -p "$corpus" "$findings"
  status=0
  cargo fuzz run "${options[@]}" "$target" "$corpus" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$findings/" \
    >"$log" 2>&1 || status=$?
  runs=$(stat number_of_executed_units "$log")
  found=$(find "$findings" -type f | wc -l)
  printf '%-10s %12s runs %8s/s  corpus %5s  findings %s\n' "$target" "${runs:-none}" \
    "$(stat average_exec_per_sec "$log")" "$(find "$corpus" -type f | wc -l)" "$found"
  if [ "$status" -ne 0 ] || [ "$found" -ne 0 ] || [ -z "$runs" ]; then
    echo "  $log, $findings" >&2
    failed=1
  fi
done
exit "$failed"
