# The schema registry, its storage in Kafka: ids survive a restart, and a database outage does not
# reach the clients that need a schema. Sourced by stack.sh.
# shellcheck shell=bash

registry_start() {
  local runner
  runner=$(find "$CACHE_DIR/registry" -maxdepth 1 -name '*-runner.jar' | head -n 1)
  [ -n "$runner" ] || die "registry is not unpacked in $CACHE_DIR/registry: run 'make install'"
  require_free registry "$REGISTRY_PORT" REGISTRY_PORT
  cd "$CACHE_DIR/registry" && spawn registry java -Xmx"$REGISTRY_HEAP" -XX:+UseSerialGC \
    -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC \
    -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$REGISTRY_PORT" \
    -Dapicurio.storage.kind=kafkasql -Dapicurio.kafkasql.bootstrap.servers="$BOOTSTRAP_SERVERS" \
    -jar "$runner"
  cd "$ROOT" || exit
}

registry_healthy() { curl -fs -m 3 -o /dev/null "$SCHEMA_REGISTRY_URL/subjects"; }
