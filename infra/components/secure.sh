# A second Kafka, one node that is secured, with nobody's data: what the test of security runs against. Sourced by stack.sh.
# Its users are made when its folder is formatted, all with the one password of this run folder.
# shellcheck shell=bash

SECURE_FOLDER=$RUN_DIR/secure
SECURE_USERS=(broker admin topics producer processor view pairs connect)

secure_settings() {
  local CERTIFICATES=$SECURE_FOLDER/certificates KAFKA_SECURE_PASSWORD
  KAFKA_SECURE_PASSWORD=$(<"$SECURE_FOLDER/password")
  cat "$ROOT/infra/kafka/server.properties"
  render "$ROOT/infra/kafka/secure.properties" CERTIFICATES KAFKA_SECURE_PASSWORD
  cat <<SETTINGS
node.id=1
controller.quorum.voters=1@127.0.0.1:$((KAFKA_SECURE_PORT + 1))
listeners=SECURE://127.0.0.1:$KAFKA_SECURE_PORT,CONTROLLER://127.0.0.1:$((KAFKA_SECURE_PORT + 1))
advertised.listeners=SECURE://127.0.0.1:$KAFKA_SECURE_PORT
log.dirs=$SECURE_FOLDER/data
SETTINGS
}

# secure_client USER: the settings of a Java client.
secure_client() {
  cat <<SETTINGS
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location=$SECURE_FOLDER/certificates/ca.crt
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="$1" password="$(<"$SECURE_FOLDER/password")";
SETTINGS
}

# The same for a Connect worker: its own clients, and those of its connectors.
secure_worker() {
  local prefix
  for prefix in "" producer. consumer. admin.; do secure_client connect | sed "s/^/$prefix/"; done
}

secure_prepare() {
  local user scram=()
  mkdir -p "$SECURE_FOLDER/data"
  "$ROOT/infra/certificates.sh" "$SECURE_FOLDER/certificates"
  [ -f "$SECURE_FOLDER/password" ] || openssl rand -hex 16 >"$SECURE_FOLDER/password"
  secure_settings >"$SECURE_FOLDER/server.properties"
  for user in "${SECURE_USERS[@]}"; do
    secure_client "$user" >"$SECURE_FOLDER/$user.properties"
    scram+=(--add-scram "SCRAM-SHA-512=[name=$user,password=$(<"$SECURE_FOLDER/password")]")
  done
  secure_worker >"$SECURE_FOLDER/worker.properties"
  chmod -R go= "$SECURE_FOLDER"
  [ -f "$SECURE_FOLDER/data/meta.properties" ] ||
    kafka_java kafka.tools.StorageTool format -t "$KAFKA_CLUSTER_ID" -c "$SECURE_FOLDER/server.properties" "${scram[@]}" >/dev/null ||
    die "secure: $SECURE_FOLDER/data could not be formatted"
}

secure_start() {
  require_free secure "$KAFKA_SECURE_PORT" KAFKA_SECURE_PORT
  require_free secure "$((KAFKA_SECURE_PORT + 1))" KAFKA_SECURE_PORT
  secure_prepare
  spawn secure java -Xms128m -Xmx"$KAFKA_HEAP" -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC \
    -Djava.awt.headless=true -Dlog4j2.configurationFile="$ROOT/infra/kafka/log4j2.properties" \
    -cp "$CACHE_DIR/kafka/*" kafka.Kafka "$SECURE_FOLDER/server.properties"
}

secure_healthy() {
  port_open "$KAFKA_SECURE_PORT" && grep -q 'Kafka Server started' "$LOG_DIR/secure.log" 2>/dev/null
}
