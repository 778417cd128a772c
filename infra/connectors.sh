#!/usr/bin/env bash
# The sinks: connectors.sh register|status|delete [TABLE…], TABLE being a file of connect/ (default: all).
# For a set of one's own beside the default one: TOPIC_PREFIX, PG_SCHEMA and CONNECTOR_PREFIX;
# KAFKA_CLIENT_FILE names a properties file on the worker with the security settings of the sinks' producer.
# SINK_MAX_POLL_INTERVAL_MS shortens the poll interval, for tests of an outage longer than it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${TOPIC_PREFIX:=}" "${PG_SCHEMA:=public}" "${CONNECTOR_PREFIX:=}" "${KAFKA_CLIENT_FILE:=}" "${SINK_MAX_POLL_INTERVAL_MS:=300000}"
: "${REGISTER_SECONDS:=60}"

request() { curl -sS -m 90 -o "$answer" -w '%{http_code}' -H 'Content-Type: application/json' "$@"; }
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The worker answers 409 while its group rebalances: that passes by itself.
put_config() {
  local name=$1 config=$2 code started=$SECONDS
  while :; do
    code=$(request -X PUT -d "$config" "$CONNECT_URL/connectors/$name/config") ||
      die "Kafka Connect does not answer at $CONNECT_URL: is the stack up (make up)?"
    case $code in
      200 | 201) return ;;
      409) ((SECONDS - started < REGISTER_SECONDS)) || break ;;
      *) break ;;
    esac
    sleep 0.5
  done
  die "connector $name was refused (HTTP $code): $(jq -r '.message // .' "$answer" 2>/dev/null || cat "$answer")"
}

# connector state, then one line for each task: state and, when there is one, its trace.
states() {
  [ "$(request "$CONNECT_URL/connectors/$1/status")" = 200 ] || { echo UNASSIGNED; return; }
  jq -r '.connector.state, (.tasks[] | .state)' "$answer"
}

wait_running() {
  local name=$1 now started=$SECONDS
  while :; do
    now=$(states "$name" | sort | uniq -c | awk '{print $2 "x" $1}' | tr '\n' ' ')
    # Two lines at least: a connector that runs but has no task yet is not there.
    if [[ $now =~ ^RUNNINGx([0-9]+)\ $ ]] && [ "${BASH_REMATCH[1]}" -ge 2 ]; then return; fi
    if [[ $now == *FAILED* ]]; then
      jq -r '.connector.trace // empty, (.tasks[].trace // empty)' "$answer" | head -n 30 >&2
      die "connector $name failed (see above)"
    fi
    ((SECONDS - started < REGISTER_SECONDS)) || die "connector $name is not running after $REGISTER_SECONDS s (REGISTER_SECONDS): $now"
    sleep 0.3
  done
}

tables() {
  local file
  if [ $# -gt 0 ]; then printf '%s\n' "$@"; return; fi
  for file in "$ROOT"/connect/*.json; do basename "$file" .json; done
}

config_of() {
  [ -f "$ROOT/connect/$1.json" ] || die "there is no connect/$1.json"
  render "$ROOT/connect/$1.json" POSTGRES_HOST POSTGRES_PORT POSTGRES_DB POSTGRES_USER \
    BOOTSTRAP_SERVERS KAFKA_CLIENT_FILE TOPIC_PREFIX PG_SCHEMA SINK_MAX_POLL_INTERVAL_MS
}

command=${1:-status}
[ $# -eq 0 ] || shift
mapfile -t wanted < <(tables "$@")
for table in "${wanted[@]}"; do
  name=$CONNECTOR_PREFIX$table
  case $command in
    register) config=$(config_of "$table"); put_config "$name" "$config" ;;
    status) printf '%-16s %s\n' "$name" "$(states "$name" | tr '\n' ' ')" ;;
    delete) request -X DELETE "$CONNECT_URL/connectors/$name" >/dev/null ;;
    *) die "usage: connectors.sh register|status|delete [table…]" ;;
  esac
done
[ "$command" = register ] || exit 0
for table in "${wanted[@]}"; do wait_running "$CONNECTOR_PREFIX$table"; done
say "connectors run: ${wanted[*]/#/$CONNECTOR_PREFIX}"
