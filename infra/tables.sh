#!/usr/bin/env bash
# The tables in the schema PG_SCHEMA (default public). Idempotent.
#   tables.sh [create]                    creates the schema, the tables and the partitions around now
#   tables.sh maintain [--table-retention TABLE=DURATION,…]
#                                         creates partitions ahead, and drops those that are older; keep-tables.sh repeats it
#   tables.sh migrate [TABLE…]            gives tables of an earlier version partitions, without copying a row
# --table-retention (TABLE_RETENTION): 90d, 12w, 2y or forever, for ohlc_1m, ohlc_1h, spreads_1m, spreads_1h, pool_1m,
# token_5m, token_1h (default forever) and options_1m (default 90d). TABLES_METRICS is a file that maintain writes for node_exporter's textfile collector.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${PG_SCHEMA:=public}" "${TABLE_RETENTION:=}" "${TABLES_METRICS:=}"
PARTITIONED=(ohlc_1m ohlc_1h spreads_1m spreads_1h options_1m pool_1m token_5m token_1h)
DEFAULT_RETENTION=options_1m=90d

export PGOPTIONS="-c search_path=$PG_SCHEMA -c client_min_messages=warning"
where="$POSTGRES_DB at $POSTGRES_HOST:$POSTGRES_PORT"

is_partitioned() { [[ " ${PARTITIONED[*]} " == *" $1 "* ]]; }

# The entries one by one: a wrong one must not keep, or drop, other rows than those that were meant.
check_retention() {
  local entry entries
  IFS=, read -ra entries <<<"$1"
  for entry in "${entries[@]}"; do
    is_partitioned "${entry%%=*}" ||
      die "--table-retention: '$entry' names no table that is partitioned by time: use ${PARTITIONED[*]}"
    [[ $entry =~ ^[a-z0-9_]+=([1-9][0-9]{0,4}[dwy]|forever)$ ]] ||
      die "--table-retention: '$entry' is not TABLE=DURATION: write days, weeks or years, such as ${entry%%=*}=90d, or ${entry%%=*}=forever"
  done
}

# partitions MODE: the later entry of a table counts.
partitions() { sql -At -v mode="$1" -v retention="$DEFAULT_RETENTION${TABLE_RETENTION:+,$TABLE_RETENTION}" -f "$ROOT/infra/postgres/partitions.sql"; }

create() {
  local said
  sql -c "CREATE SCHEMA IF NOT EXISTS \"$PG_SCHEMA\"" -f "$ROOT/infra/postgres/tables.sql" ||
    die "the tables could not be created in $where"
  said=$(partitions create) || die "the partitions could not be created in $where"
  grep 'has no partitions' <<<"$said" || true
  say "tables are in place (database $POSTGRES_DB, schema $PG_SCHEMA)"
}

maintain() {
  partitions maintain || die "the partitions of schema $PG_SCHEMA in $where could not be maintained (see above): rows go to DEFAULT meanwhile; run it again"
  [ -z "$TABLES_METRICS" ] || write_metrics
}

# The time of this run, and the size of each table with its partitions and indexes. Replaced in one step: a reader never sees half of it.
write_metrics() {
  local sizes
  sizes=$(sql -At -c "SELECT format('market_table_bytes{table=\"%s\"} %s', relname, pg_total_relation_size(oid) + coalesce(
      (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(oid) WHERE relid <> oid), 0))
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname") ||
    die "the sizes of the tables could not be read from $where"
  {
    say "# HELP market_tables_maintained_timestamp_seconds When infra/tables.sh maintain last ended well."
    say "# TYPE market_tables_maintained_timestamp_seconds gauge"
    say "market_tables_maintained_timestamp_seconds $(date +%s)"
    say "# HELP market_table_bytes Disk of a table with its partitions and indexes, at that time."
    say "# TYPE market_table_bytes gauge"
    say "$sizes"
  } >"$TABLES_METRICS.new" && mv "$TABLES_METRICS.new" "$TABLES_METRICS" ||
    die "TABLES_METRICS: $TABLES_METRICS cannot be written: give the user of this job a folder that node_exporter reads"
}

# A view keeps reading the old table, which is a part of the new one afterwards.
views_of() {
  sql -At -c "SELECT DISTINCT ev_class::regclass FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
    WHERE classid = 'pg_rewrite'::regclass AND refobjid = '$1'::regclass"
}

migrate_one() {
  local name=$1 step=month kind views
  is_partitioned "$name" || die "'$name' is no table that is partitioned by time: use ${PARTITIONED[*]}"
  kind=$(sql -At -c "SELECT relkind FROM pg_class WHERE oid = to_regclass('$name')") || die "$where does not answer"
  case $kind in
    r) ;;
    p) say "$name has partitions already"; return ;;
    *) say "$name is not there: infra/tables.sh creates it with partitions"; return ;;
  esac
  views=$(views_of "$name" | tr '\n' ' ')
  [ -z "$views" ] || die "$name: the views ${views% } would read the old rows only: drop them, migrate, and create them again"
  case $name in *_1h) step=year ;; options_1m) step=day ;; esac
  sql -v name="$name" -v step="$step" -v before="${name}_before" -f "$ROOT/infra/postgres/migrate.sql" || {
    sql -c "ALTER TABLE IF EXISTS $name DROP CONSTRAINT IF EXISTS before_partitions" || true
    die "$name was not migrated (see above), and has all its rows: run 'infra/tables.sh migrate $name' again"
  }
  say "$name: its rows are in the partition ${name}_before"
}

migrate() {
  local name
  for name in "${@:-${PARTITIONED[@]}}"; do migrate_one "$name"; done
  create
}

command=${1:-create}
[ $# -eq 0 ] || shift
case $command in
  create | migrate) ;;
  maintain)
    while [ $# -gt 0 ]; do
      case $1 in
        --table-retention) TABLE_RETENTION=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
        *) die "unknown option '$1': tables.sh maintain [--table-retention TABLE=DURATION,…]" ;;
      esac
    done
    ;;
  *) die "unknown command '$command': tables.sh create|maintain|migrate" ;;
esac
check_retention "$TABLE_RETENTION"
"$command" "$@"
