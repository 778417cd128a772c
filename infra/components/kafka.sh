# Kafka: KRaft, each node broker and controller at once, kafka-1 … kafka-N. Sourced by stack.sh.
# shellcheck shell=bash

# Fixed, so that a run folder and the containers are formatted alike.
KAFKA_CLUSTER_ID=bWFya2V0LWRhdGEtMDAwMQ

kafka_folder() { echo "$RUN_DIR/kafka/of-$KAFKA_BROKERS/$1"; }

# The shared settings followed by this node's addresses: of two equal keys the later one counts.
kafka_settings() {
  local id=$1 peer voters=
  for ((peer = 1; peer <= KAFKA_BROKERS; peer++)); do
    voters+=${voters:+,}$peer@127.0.0.1:$(controller_port "$peer")
  done
  cat "$ROOT/infra/kafka/server.properties"
  [ "$KAFKA_BROKERS" -lt 3 ] || cat "$ROOT/infra/kafka/three-brokers.properties"
  cat <<SETTINGS
node.id=$id
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$(broker_port "$id"),CONTROLLER://127.0.0.1:$(controller_port "$id"),PROXIED://127.0.0.1:$(proxied_port "$id")
advertised.listeners=PLAINTEXT://127.0.0.1:$(broker_port "$id"),PROXIED://127.0.0.1:$(($(proxied_port "$id") + 1))
log.dirs=$(kafka_folder "$id")/data
SETTINGS
}

kafka_start() {
  local id=$1 folder
  folder=$(kafka_folder "$id")
  require_free "kafka-$id" "$(broker_port "$id")" KAFKA_PORT
  require_free "kafka-$id" "$(controller_port "$id")" KAFKA_CONTROLLER_PORT
  require_free "kafka-$id" "$(proxied_port "$id")" KAFKA_PROXIED_PORT
  mkdir -p "$folder/data"
  kafka_settings "$id" >"$folder/server.properties"
  [ -f "$folder/data/meta.properties" ] ||
    kafka_java kafka.tools.StorageTool format -t "$KAFKA_CLUSTER_ID" -c "$folder/server.properties" >/dev/null ||
    die "kafka-$id: $folder/data could not be formatted"
  spawn "kafka-$id" java -Xms128m -Xmx"$KAFKA_HEAP" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$ROOT/infra/kafka/log4j2.properties" \
    -cp "$CACHE_DIR/kafka/*" kafka.Kafka "$folder/server.properties"
}

# The port opens before the broker serves: the log says when it does.
kafka_healthy() {
  port_open "$(broker_port "$1")" && grep -q 'Kafka Server started' "$LOG_DIR/kafka-$1.log" 2>/dev/null
}
