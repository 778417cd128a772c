#!/usr/bin/env bash
# The native stack: stack.sh start|stop|kill|restart|status [COMPONENT…]
# Components: postgres kafka (or kafka-1 …) registry connect, and the project's own
# simulator producer processor-1 processor-2; secure, a second and secured Kafka for a test. Without one: start starts the first four, stop stops all.
# Every start and stop is idempotent. kill is a crash: no goodbye, and only what is named.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/infra/process.sh"
for file in "$ROOT"/infra/components/*.sh; do source "$file"; done

kafka_nodes() { local id; for ((id = 1; id <= KAFKA_BROKERS; id++)); do echo "kafka-$id"; done; }
SERVERS=(postgres kafka registry connect)
APPS=(simulator processor-1 processor-2 producer)

# expand NAME…: kafka stands for all of its nodes.
expand() {
  local name
  for name in "$@"; do
    case $name in
      kafka) kafka_nodes ;;
      postgres | registry | connect | secure | simulator | producer | processor-[0-9]) echo "$name" ;;
      kafka-[0-9]) [ "${name#kafka-}" -ge 1 ] && [ "${name#kafka-}" -le "$KAFKA_BROKERS" ] ||
        die "there is no $name: KAFKA_BROKERS=$KAFKA_BROKERS"; echo "$name" ;;
      *) die "unknown component '$name': one of ${SERVERS[*]} kafka-1… ${APPS[*]}" ;;
    esac
  done
}

start_one() {
  case $1 in
    kafka-*) kafka_start "${1#kafka-}" ;;
    processor-*) processor_start "${1#processor-}" ;;
    *) "$1_start" ;;
  esac
}

healthy() {
  case $1 in
    kafka-*) kafka_healthy "${1#kafka-}" ;;
    processor-*) processor_healthy "${1#processor-}" ;;
    *) "$1_healthy" ;;
  esac
}

port_of() {
  case $1 in
    postgres) echo "$POSTGRES_PORT" ;;
    kafka-*) broker_port "${1#kafka-}" ;;
    registry) echo "$REGISTRY_PORT" ;;
    connect) echo "$CONNECT_PORT" ;;
    secure) echo "$KAFKA_SECURE_PORT" ;;
    simulator) echo "$SIMULATOR_PORT" ;;
    producer) echo "$PRODUCER_METRICS_PORT" ;;
    processor-*) processor_port "${1#processor-}" ;;
  esac
}

# PostgreSQL's fast shutdown is INT: TERM would wait for the sink to hang up.
signal_of() { [ "$1" = postgres ] && echo INT || echo TERM; }

# start_group NAME…: all of them at once, then waits for each.
start_group() {
  local name pid started=()
  for name in "$@"; do
    if pid=$(pid_of "$name"); then
      healthy "$name" && { printf '%-12s already running (pid %s)\n' "$name" "$pid"; continue; }
    else
      start_one "$name"
    fi
    started+=("$name")
  done
  for name in "${started[@]}"; do
    check() { healthy "$name"; }
    wait_healthy "$name" check
  done
}

# What needs Kafka is started after it: without a broker Connect and the registry give up.
start() {
  local wave name wanted
  wanted=" $(expand "$@" | tr '\n' ' ') "
  for wave in "postgres $(kafka_nodes | tr '\n' ' ') secure" "registry connect" "simulator processor-1 processor-2 processor-3 processor-4" "producer"; do
    local group=()
    for name in $wave; do [[ $wanted == *" $name "* ]] && group+=("$name"); done
    [ ${#group[@]} -eq 0 ] || start_group "${group[@]}"
  done
}

# In the order against the flow: nobody loses what it talks to before it has said goodbye.
stop() {
  local wave name wanted
  wanted=" $* "
  for wave in "producer" "simulator processor-1 processor-2 processor-3 processor-4" "connect" "registry" "$(cd "$PID_DIR" 2>/dev/null && ls -d kafka-* 2>/dev/null | tr '\n' ' ') secure postgres"; do
    for name in $wave; do [[ $wanted == *" $name "* ]] && ask_to_stop "$name" "$(signal_of "$name")"; done
    for name in $wave; do [[ $wanted == *" $name "* ]] && wait_stopped "$name"; done
  done
  return 0
}

crash() {
  local name
  for name in "$@"; do ask_to_stop "$name" KILL; done
  for name in "$@"; do wait_stopped "$name"; done
}

status() {
  local name pid state
  printf '%-12s %-8s %-6s %s\n' COMPONENT PID PORT HEALTH
  for name in "$@"; do
    state=stopped
    if pid=$(pid_of "$name"); then
      healthy "$name" && state=healthy || state="not healthy: see $LOG_DIR/$name.log"
    fi
    printf '%-12s %-8s %-6s %s\n' "$name" "${pid:--}" "$(port_of "$name")" "$state"
  done
}

# Those of the pid folder too: a third member, or brokers of a run with another KAFKA_BROKERS.
everything() {
  { expand "${SERVERS[@]}" "${APPS[@]}"; ls "$PID_DIR" 2>/dev/null; } | awk '!seen[$0]++'
}

command=${1:-status}
[ $# -eq 0 ] || shift
mkdir -p "$RUN_DIR" "$LOG_DIR" "$PID_DIR"
# One at a time: two scripts must not start the same component twice.
if [ "$command" != status ]; then
  exec 9>"$RUN_DIR/stack.lock"
  flock -w 120 9 || die "another stack.sh has held $RUN_DIR/stack.lock for two minutes"
fi
case $command in
  start) start "${@:-${SERVERS[@]}}" ;;
  stop)
    mapfile -t names < <(if [ $# -gt 0 ]; then expand "$@"; else everything; fi)
    stop "${names[@]}"
    [ $# -gt 0 ] || say "nothing of this project runs any more"
    ;;
  kill)
    [ $# -gt 0 ] || die "usage: stack.sh kill component…"
    mapfile -t names < <(expand "$@")
    crash "${names[@]}"
    ;;
  restart)
    mapfile -t names < <(expand "${@:-${SERVERS[@]}}")
    stop "${names[@]}"
    start "${names[@]}"
    ;;
  status) mapfile -t names < <(if [ $# -gt 0 ]; then expand "$@"; else everything; fi); status "${names[@]}" ;;
  *) die "usage: stack.sh start|stop|kill|restart|status [component…]" ;;
esac
