#!/usr/bin/env bash
# render-worker.sh FILE [PROGRAM]: writes the worker's settings with this place's addresses to FILE, then becomes PROGRAM FILE.
# Native stack and container both start the worker through it. WORKER_SETTINGS names a file of further settings,
# such as those of a secured broker and registry (docs/security.md): of two equal keys the later one counts.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${LISTEN:=http://127.0.0.1:$CONNECT_PORT}" "${ADVERTISED_HOST:=127.0.0.1}" "${PLUGINS:=$CACHE_DIR/plugins}"
: "${REPLICATION:=$((KAFKA_BROKERS < 3 ? 1 : 3))}" "${WORKER_SETTINGS:=}"

render "$ROOT/connect/worker.properties" BOOTSTRAP_SERVERS REGISTRY_URL LISTEN ADVERTISED_HOST PLUGINS REPLICATION >"$1"
[ -z "$WORKER_SETTINGS" ] || cat "$WORKER_SETTINGS" >>"$1"
[ $# -eq 1 ] && exit
"$ROOT/infra/heal-sinks.sh" $$ &
exec "$2" "$1"
