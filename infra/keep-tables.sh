#!/usr/bin/env bash
# keep-tables.sh [PID]: runs `tables.sh maintain` at once and then every TABLES_SECONDS (default 3600), and ends with that process.
# TABLE_RETENTION and the other settings are those of tables.sh. A run that fails is logged, and the next one repeats it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
process=${1:-}
: "${TABLES_SECONDS:=3600}"

while :; do
  ./tables.sh maintain 2>&1 | sed "s/^/$(date -u +%FT%TZ) /"
  # In short steps: when the process is gone nothing of it stays behind.
  for ((step = 0; step < TABLES_SECONDS; step++)); do
    [ -z "$process" ] || kill -0 "$process" 2>/dev/null || exit 0
    sleep 1
  done
done
