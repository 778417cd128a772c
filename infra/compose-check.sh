#!/usr/bin/env bash
# docker-compose.yml loads with the reference loader, and says what the native stack says: versions, heaps,
# ports, cluster id, the files mounted, the options of our own programs.
set -euo pipefail
# The file has the defaults, wherever a native stack runs at the moment.
unset KAFKA_PORT REGISTRY_PORT CONNECT_PORT POSTGRES_PORT PROCESSOR_PORT PROCESSOR_2_PORT PRODUCER_METRICS_PORT SIMULATOR_PORT PRODUCTS
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
COMPOSE=$ROOT/docker-compose.yml
failures=0

# expect WHAT TEXT [FILE]: the text that the native side implies stands in the file.
expect() {
  local what=$1 text=$2 file=${3:-$COMPOSE}
  grep -qF -- "$text" "$file" && return
  warn "${file#"$ROOT/"}: $what: expected '$text', as the native stack has it"
  failures=$((failures + 1))
}

# Without Go the loader cannot be built: said aloud, and the comparison below still runs.
load_with_reference() {
  local loader=$TOOLS_DIR/compose-go-$COMPOSE_GO_VERSION resolved
  if [ ! -x "$loader" ]; then
    if ! command -v go >/dev/null; then
      warn "SKIPPED: the reference loader of compose files needs Go, which is not installed"
      return
    fi
    say "building the compose reference loader $COMPOSE_GO_VERSION (once)"
    mkdir -p "$TOOLS_DIR/build"
    GOBIN=$TOOLS_DIR/build go install "github.com/compose-spec/compose-go/v2/cmd@$COMPOSE_GO_VERSION" >/dev/null 2>&1 ||
      die "the compose reference loader could not be built"
    mv "$TOOLS_DIR/build/cmd" "$loader"
  fi
  resolved=$("$loader" "$COMPOSE" 2>&1) || die "docker-compose.yml does not load: $resolved"
}
load_with_reference

expect "broker version" "image: apache/kafka:$KAFKA_VERSION"
expect "registry version" "image: apicurio/apicurio-registry:$REGISTRY_VERSION"
expect "database version" "image: postgres:$POSTGRES_VERSION"
expect "Prometheus version" "image: prom/prometheus:$PROMETHEUS_VERSION"
expect "disk exporter version" "image: prom/node-exporter:$NODE_EXPORTER_VERSION"
expect "Grafana version" "image: grafana/grafana:$GRAFANA_VERSION"
expect "worker version" "KAFKA_VERSION: $KAFKA_VERSION, MAVEN_IMAGE_VERSION: $MAVEN_IMAGE_VERSION"
expect "Rust version" "RUST_VERSION: \"$RUST_VERSION\""
expect "Rust version" "channel = \"$RUST_VERSION" "$ROOT/rust-toolchain.toml"

expect "cluster id" "CLUSTER_ID: $(sed -n 's/^KAFKA_CLUSTER_ID=//p' "$ROOT/infra/components/kafka.sh")"
expect "broker and worker heap" "KAFKA_HEAP_OPTS: -Xms128m -Xmx$KAFKA_HEAP"
expect "registry heap" "JAVA_OPTS_APPEND: -Xmx$REGISTRY_HEAP"
expect "registry storage" "APICURIO_STORAGE_KIND: $(grep -o 'storage.kind=[a-z]*' "$ROOT/infra/components/registry.sh" | cut -d= -f2)"
expect "database" "POSTGRES_DB: $POSTGRES_DB"
for port in "$REGISTRY_PORT:8080" "$CONNECT_PORT:8083" "$POSTGRES_PORT:5432" "$PROCESSOR_PORT:8080" "$PROCESSOR_2_PORT:8080" "$PRODUCER_METRICS_PORT:9101"; do
  expect "port" "\"127.0.0.1:$port\""
done
expect "products" "\"$PRODUCTS\""

# What is mounted must exist: Docker would make an empty folder of a misspelt file.
while read -r path; do
  [ -e "$ROOT/$path" ] || { warn "docker-compose.yml mounts $path, which does not exist"; failures=$((failures + 1)); }
done < <(grep -o '^ *- \./[^:]*' "$COMPOSE" | sed 's/^ *- //')
for file in infra/kafka/server.properties infra/postgres/postgresql.conf infra/prometheus/prometheus.yml infra/prometheus/alerts.yml; do
  expect "shared settings" "./$file:"
done

# The healer of the tables runs natively beside the worker.
for script in $(grep -o 'infra/keep-tables.sh' "$ROOT/infra/components/connect.sh" | sort -u); do
  expect "job of the tables" "\"$script\""
done

# Each option that the native start gives to our programs is given here too.
for option in $(grep -o -- ' --[a-z-]*' "$ROOT/infra/components/apps.sh" | sort -u); do
  expect "option of our programs" "\"$option\""
done

[ "$failures" -eq 0 ] || die "$failures differences between docker-compose.yml and the native stack"
say "docker-compose.yml loads and equals the native stack ($(grep -c '^    image:\|^    <<:' "$COMPOSE") services)"
