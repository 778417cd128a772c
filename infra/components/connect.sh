# Kafka Connect, one distributed worker. Sourced by stack.sh.
# The clock zone is UTC by option: the sink writes times in the zone of its JVM.
# shellcheck shell=bash

connect_start() {
  require_free connect "$CONNECT_PORT" CONNECT_PORT
  mkdir -p "$RUN_DIR/connect"
  "$ROOT/infra/render-worker.sh" "$RUN_DIR/connect/worker.properties"
  spawn connect java -Xms128m -Xmx"$CONNECT_HEAP" -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError \
    -Duser.timezone=UTC -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$ROOT/infra/kafka/log4j2.properties" \
    -cp "$CACHE_DIR/kafka/*" org.apache.kafka.connect.cli.ConnectDistributed "$RUN_DIR/connect/worker.properties"
  # Both end with the worker, so they have no pid files of their own.
  CONNECT_PORT=$CONNECT_PORT setsid "$ROOT/infra/heal-sinks.sh" "$(pid_of connect)" \
    >"$LOG_DIR/heal-sinks.log" 2>&1 </dev/null 9>&- &
  setsid "$ROOT/infra/keep-tables.sh" "$(pid_of connect)" >"$LOG_DIR/keep-tables.log" 2>&1 </dev/null 9>&- &
}

# /health answers 200 only after the worker has read its own topics to their ends.
connect_healthy() { curl -fs -m 3 -o /dev/null "$CONNECT_URL/health"; }
