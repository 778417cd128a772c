# Settings, messages and small helpers that every script shares. Sourced, never run.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=versions.env
source "$ROOT/infra/versions.env"

# Everything written at run time is below RUN_DIR; the cache alone may live elsewhere, to be shared.
RUN_DIR=$(cd "$ROOT" && realpath -m "${RUN_DIR:-.run}")
CACHE_DIR=$(cd "$ROOT" && realpath -m "${CACHE_DIR:-$RUN_DIR/cache}")
LOG_DIR=$RUN_DIR/log
PID_DIR=$RUN_DIR/pid
TOOLS_DIR=$RUN_DIR/tools
# Our own programs, as cargo leaves them.
: "${BIN_DIR:=$ROOT/target/release}"

: "${KAFKA_PORT:=9092}" "${KAFKA_CONTROLLER_PORT:=9093}" "${KAFKA_PROXIED_PORT:=9292}" "${KAFKA_BROKERS:=1}"
# The secured broker of the test; its controller listens on the port above.
: "${KAFKA_SECURE_PORT:=9492}"
: "${REGISTRY_PORT:=8081}" "${CONNECT_PORT:=8083}"
: "${POSTGRES_HOST:=127.0.0.1}" "${POSTGRES_PORT:=5433}" "${POSTGRES_DB:=market}" "${POSTGRES_USER:=postgres}"
: "${PROCESSOR_PORT:=8080}" "${PROCESSOR_2_PORT:=8090}"
: "${PRODUCER_METRICS_PORT:=9101}" "${SIMULATOR_PORT:=9201}"
: "${PRODUCTS:=BTC-USD,ETH-USD,SOL-USD}"

# Heaps are bounded: the whole stack fits beside a compiler on a small machine.
: "${KAFKA_HEAP:=512m}" "${REGISTRY_HEAP:=256m}" "${CONNECT_HEAP:=512m}"
# How long a component may take to become healthy (a broker that was killed reads its logs anew, beside
# all the others), and to stop before it is killed.
: "${START_SECONDS:=300}" "${STOP_SECONDS:=20}"

# Broker I of N listens on KAFKA_PORT + 2 (I - 1), so that the defaults leave room for the controllers.
broker_port() { echo $((KAFKA_PORT + 2 * ($1 - 1))); }
controller_port() { echo $((KAFKA_CONTROLLER_PORT + 2 * ($1 - 1))); }
# The same broker for clients whose network a test breaks: it sends them to the port above this one,
# where the test's proxy listens (tests/support/proxy.rs).
proxied_port() { echo $((KAFKA_PROXIED_PORT + 2 * ($1 - 1))); }

bootstrap_servers() {
  local id list=
  for ((id = 1; id <= KAFKA_BROKERS; id++)); do list+=${list:+,}127.0.0.1:$(broker_port "$id"); done
  echo "$list"
}

# In containers the addresses are other ones; natively they follow from the ports.
: "${BOOTSTRAP_SERVERS:=$(bootstrap_servers)}"
: "${REGISTRY_URL:=http://127.0.0.1:$REGISTRY_PORT}"
: "${CONNECT_URL:=http://127.0.0.1:$CONNECT_PORT}"
SCHEMA_REGISTRY_URL=$REGISTRY_URL/apis/ccompat/v7

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# render FILE NAME…: the file with each ${NAME} replaced by the variable's value; anything else that
# looks like a placeholder is an error, not an empty string.
render() {
  local file=$1 text name left
  shift
  text=$(<"$file")
  for name in "$@"; do text=${text//"\${$name}"/"${!name}"}; done
  left=$(grep -v '^#' <<<"$text" | grep -o '\${[A-Z_]*}' | sort -u | tr '\n' ' ') || true
  [ -z "$left" ] || die "$file: no value for ${left% }"
  printf '%s\n' "$text"
}

sql() {
  PGCONNECT_TIMEOUT=3 psql -X -q -v ON_ERROR_STOP=1 -h "$POSTGRES_HOST" -p "$POSTGRES_PORT" \
    -U "$POSTGRES_USER" -d "$POSTGRES_DB" "$@"
}

# A Java program of Kafka's own folder: kafka_java CLASS ARG…
kafka_java() {
  java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
    -Dlog4j2.configurationFile="$ROOT/infra/kafka/log4j2-tools.properties" -cp "$CACHE_DIR/kafka/*" "$@"
}

# Debian keeps the server's programs out of the PATH, one folder for each major version.
postgres_bin() {
  local folder
  for folder in /usr/lib/postgresql/"$POSTGRES_VERSION"/bin $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V -r); do
    [ -x "$folder/initdb" ] && { echo "$folder"; return; }
  done
  folder=$(command -v initdb || true)
  [ -z "$folder" ] || dirname "$(realpath "$folder")"
}
