#!/usr/bin/env bash
# heal-sinks.sh PID: restarts failed sinks of the Connect worker of that process, and ends with it.
# Connect leaves a failed task as it is, and the sink tries again only what fails in some of its ways: a
# database that shuts down between two of its statements ends it. Offsets and upserts make a restart harmless.
# Speaks HTTP by itself: the broker's image has neither curl nor jq.
set -uo pipefail
worker=$1
: "${HEAL_SECONDS:=5}" "${CONNECT_PORT:=8083}"

http() {
  exec 3<>"/dev/tcp/127.0.0.1/$CONNECT_PORT" || return 1
  printf '%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}

while :; do
  # In short steps: when the worker is gone nothing of it stays behind.
  for ((step = 0; step < 4 * HEAL_SECONDS; step++)); do
    kill -0 "$worker" 2>/dev/null || exit 0
    sleep 0.25
  done
  names=$(http GET /connectors 2>/dev/null | tail -n 1 | grep -o '"[^"]*"' | tr -d '"') || continue
  for name in $names; do
    # Quotes inside a trace are escaped: this is the state and nothing else.
    http GET "/connectors/$name/status" 2>/dev/null | grep -q '"state":"FAILED"' || continue
    echo "$(date -u +%FT%TZ) restarting $name"
    http POST "/connectors/$name/restart?includeTasks=true&onlyFailed=true" >/dev/null 2>&1
  done
done
