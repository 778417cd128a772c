# The project's own programs, as make demo runs them. Sourced by stack.sh.
# shellcheck shell=bash

market_binary() {
  local file=$BIN_DIR/$1
  [ -x "$file" ] || die "$file does not exist: run 'make build'"
  echo "$file"
}

simulator_start() {
  local binary
  binary=$(market_binary producer)
  require_free simulator "$SIMULATOR_PORT" SIMULATOR_PORT
  spawn simulator "$binary" simulate --venue coinbase --listen "127.0.0.1:$SIMULATOR_PORT"
}
simulator_healthy() { port_open "$SIMULATOR_PORT"; }

producer_start() {
  local binary
  binary=$(market_binary producer)
  require_free producer "$PRODUCER_METRICS_PORT" PRODUCER_METRICS_PORT
  spawn producer "$binary" run --venue coinbase --url "ws://127.0.0.1:$SIMULATOR_PORT" \
    --products "$PRODUCTS" --bootstrap-servers "$BOOTSTRAP_SERVERS" \
    --schema-registry-url "$SCHEMA_REGISTRY_URL" --metrics "127.0.0.1:$PRODUCER_METRICS_PORT"
}
producer_healthy() { curl -fs -m 3 -o /dev/null "http://127.0.0.1:$PRODUCER_METRICS_PORT/metrics"; }

# Member 1 answers on PROCESSOR_PORT, each further one ten higher (member 2: PROCESSOR_2_PORT).
processor_port() {
  case $1 in
    1) echo "$PROCESSOR_PORT" ;;
    2) echo "$PROCESSOR_2_PORT" ;;
    *) echo $((PROCESSOR_PORT + 10 * ($1 - 1))) ;;
  esac
}

processor_start() {
  local member=$1 port binary
  port=$(processor_port "$member")
  binary=$(market_binary processor)
  require_free "processor-$member" "$port" "$([ "$member" = 2 ] && echo PROCESSOR_2_PORT || echo PROCESSOR_PORT)"
  mkdir -p "$RUN_DIR/state/$member"
  spawn "processor-$member" "$binary" run --bootstrap-servers "$BOOTSTRAP_SERVERS" \
    --schema-registry-url "$SCHEMA_REGISTRY_URL" --state-dir "$RUN_DIR/state/$member" --listen "127.0.0.1:$port" --standby
}
# Ready, not merely alive: its schemas are registered and its tasks restored.
processor_healthy() { curl -fs -m 3 -o /dev/null "http://127.0.0.1:$(processor_port "$1")/readyz"; }
