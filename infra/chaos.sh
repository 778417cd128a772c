#!/usr/bin/env bash
# make chaos: three brokers of its own, in a run folder and on ports of its own, so that it neither needs nor
# touches a stack that runs; every fault under both group protocols; a table; and nothing is left running.
# CHAOS=PART runs the faults whose name holds PART, CHAOS_PORT moves it to other ports. After a failure the logs
# stay, in the run folder.
set -euo pipefail
export KAFKA_BROKERS=3
# Whatever ports a running stack was given, these are others.
: "${CHAOS_PORT:=29092}"
export KAFKA_PORT=$CHAOS_PORT KAFKA_CONTROLLER_PORT=$((CHAOS_PORT + 1))
export KAFKA_PROXIED_PORT=$((CHAOS_PORT + 20)) REGISTRY_PORT=$((CHAOS_PORT + 40))
unset BOOTSTRAP_SERVERS REGISTRY_URL
export CACHE_DIR=${CACHE_DIR:-${RUN_DIR:-.run}/cache} RUN_DIR=${RUN_DIR:-.run}/chaos
export CHAOS=${CHAOS:-all}
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

finish() {
  local code=$?
  trap '' INT TERM
  trap - EXIT
  "$ROOT/infra/stack.sh" stop || code=1
  [ "$code" -ne 0 ] || "$ROOT/infra/clean.sh"
  exit "$code"
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# What a failed run left is of no use to this one.
"$ROOT/infra/stack.sh" stop && "$ROOT/infra/clean.sh"
"$ROOT/infra/stack.sh" start kafka registry
"$ROOT/infra/with-addresses.sh" cargo test --release --workspace --locked --test chaos -- --nocapture
