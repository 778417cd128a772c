#!/usr/bin/env bash
# Creates the tables in the schema PG_SCHEMA (default public), and the schema itself. Idempotent.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${PG_SCHEMA:=public}"

export PGOPTIONS="-c search_path=$PG_SCHEMA -c client_min_messages=warning"
sql -c "CREATE SCHEMA IF NOT EXISTS \"$PG_SCHEMA\"" -f "$ROOT/infra/postgres/tables.sql" ||
  die "the tables could not be created in $POSTGRES_DB at $POSTGRES_HOST:$POSTGRES_PORT"
say "tables are in place (database $POSTGRES_DB, schema $PG_SCHEMA)"
