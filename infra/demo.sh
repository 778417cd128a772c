#!/usr/bin/env bash
# make demo: from nothing to prices in PostgreSQL. At a terminal it shows them until Ctrl-C; otherwise, or
# with DEMO_ONCE=1, it waits for rows of two products in all four tables, prints them once and stops everything.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if [ ! -t 1 ]; then DEMO_ONCE=1; fi
: "${DEMO_ONCE:=0}"
# How long the first rows may take once everything runs, and how often the table is read.
: "${DEMO_SECONDS:=120}" "${DEMO_REFRESH:=1}"
STACK=$ROOT/infra/stack.sh

finish() {
  local code=$?
  trap '' INT TERM
  trap - EXIT
  printf '\n'
  "$STACK" stop || code=1
  exit "$code"
}

show_prices() {
  sql -P footer=off -P null=- <<'SQL'
\echo Latest prices
SELECT exchange, base || '-' || quote AS pair, trim_scale(price) AS price, trim_scale(size) AS size, basis,
       to_char(event_time AT TIME ZONE 'UTC', 'HH24:MI:SS.MS') AS event_time,
       round(extract(epoch FROM now() - event_time), 1) AS age_s
FROM latest WHERE exchange = 'coinbase' ORDER BY pair;
\echo Newest candles
WITH candles AS (
  SELECT '1m' AS interval, * FROM ohlc_1m UNION ALL SELECT '1h', * FROM ohlc_1h UNION ALL SELECT '1d', * FROM ohlc_1d
), newest AS (
  SELECT *, row_number() OVER (PARTITION BY interval, base, quote, exchange, basis ORDER BY open_time DESC) AS age FROM candles
)
SELECT interval, base || '-' || quote AS pair, to_char(open_time AT TIME ZONE 'UTC', 'MM-DD HH24:MI') AS open_time,
       trim_scale(open) AS open, trim_scale(high) AS high, trim_scale(low) AS low, trim_scale(close) AS close,
       round(base_volume, 4) AS volume, trades, status
FROM newest WHERE exchange = 'coinbase' AND basis = 'TRADE' AND age <= CASE interval WHEN '1m' THEN 2 ELSE 1 END
ORDER BY array_position(ARRAY['1m', '1h', '1d'], interval), pair, open_time DESC;
SQL
}

show_addresses() {
  cat <<TEXT
Kafka       $BOOTSTRAP_SERVERS
Registry    $SCHEMA_REGISTRY_URL
Connect     $CONNECT_URL/connectors?expand=status
PostgreSQL  psql -h $POSTGRES_HOST -p $POSTGRES_PORT -U $POSTGRES_USER $POSTGRES_DB
Page        http://127.0.0.1:$PROCESSOR_PORT/
Processor   http://127.0.0.1:$PROCESSOR_PORT/v1/latest  (member 2: http://127.0.0.1:$PROCESSOR_2_PORT)
Metrics     http://127.0.0.1:$PROCESSOR_PORT/metrics  http://127.0.0.1:$PRODUCER_METRICS_PORT/metrics
Simulator   ws://127.0.0.1:$SIMULATOR_PORT
Logs        $LOG_DIR
TEXT
}

# The smallest number of products that any of the four tables has.
products_everywhere() {
  sql -At <<'SQL'
SELECT min(n) FROM (
  SELECT count(DISTINCT (base, quote)) AS n FROM latest WHERE exchange = 'coinbase'
  UNION ALL SELECT count(DISTINCT (base, quote)) FROM ohlc_1m WHERE exchange = 'coinbase'
  UNION ALL SELECT count(DISTINCT (base, quote)) FROM ohlc_1h WHERE exchange = 'coinbase'
  UNION ALL SELECT count(DISTINCT (base, quote)) FROM ohlc_1d WHERE exchange = 'coinbase') AS t;
SQL
}

wait_for_rows() {
  local started=$SECONDS
  until [ "$(products_everywhere)" -ge 2 ]; do
    if ((SECONDS - started >= DEMO_SECONDS)); then
      "$ROOT/infra/status.sh" >&2 || true
      die "after $DEMO_SECONDS s (DEMO_SECONDS) not all four tables have rows of two products; the logs are in $LOG_DIR"
    fi
    sleep 0.5
  done
  say "rows of $(products_everywhere) products in all four tables after $((SECONDS - started)) s"
}

live() {
  local screen
  while :; do
    screen=$(show_prices 2>&1) || screen="PostgreSQL does not answer: $screen"
    # One write for each refresh: no flicker.
    printf '\033[H\033[2J%s\n\n%s\n\nCtrl-C stops everything.\n' "$screen" "$(show_addresses)"
    sleep "$DEMO_REFRESH"
  done
}

"$ROOT/infra/install.sh"
make -C "$ROOT" --no-print-directory programs

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"$STACK" start
"$ROOT/infra/topics.sh"
"$ROOT/infra/tables.sh"
# Members first: they register the schemas before any record, or sink, needs one.
"$STACK" start simulator processor-1 processor-2 producer
"$ROOT/infra/connectors.sh" register
wait_for_rows
if [ "$DEMO_ONCE" = 1 ]; then
  show_prices
  show_addresses
else
  live
fi
