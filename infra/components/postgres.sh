# PostgreSQL, a cluster of our own in the run folder. Sourced by stack.sh.
# shellcheck shell=bash

POSTGRES_DATA=$RUN_DIR/postgres

# The server refuses to run as root: then it runs as the system user of the Debian package. That user
# may not be able to enter the folders above the run folder (a clone below /root): the capability
# to read past them is all it is given.
as_postgres() {
  [ "$(id -u)" -eq 0 ] || { "$@"; return; }
  setpriv --reuid postgres --regid postgres --init-groups "${POSTGRES_CAPABILITIES[@]}" -- "$@"
}

postgres_prepare_user() {
  POSTGRES_CAPABILITIES=()
  [ "$(id -u)" -eq 0 ] || return 0
  id postgres >/dev/null 2>&1 || die "there is no system user postgres, and PostgreSQL does not run as root"
  chown postgres "$POSTGRES_DATA"
  as_postgres test -x "$RUN_DIR" ||
    POSTGRES_CAPABILITIES=(--inh-caps +dac_read_search --ambient-caps +dac_read_search)
}

postgres_start() {
  local bin settings
  bin=$(postgres_bin)
  [ -n "$bin" ] || die "PostgreSQL is not installed: run 'make install'"
  require_free postgres "$POSTGRES_PORT" POSTGRES_PORT
  mkdir -p "$POSTGRES_DATA" && chmod 700 "$POSTGRES_DATA"
  postgres_prepare_user
  if [ ! -f "$POSTGRES_DATA/PG_VERSION" ]; then
    # Trust, on the loopback interface only: a development database without a password to leak.
    (cd / && as_postgres "$bin/initdb" -D "$POSTGRES_DATA" -U "$POSTGRES_USER" -E UTF8 --locale=C.UTF-8 \
      --auth=trust --no-instructions >/dev/null) || die "initdb failed in $POSTGRES_DATA"
  fi
  mapfile -t settings < <(sed -n 's/^\([a-z_]*\) *= *\(.*\)/--\1=\2/p' "$ROOT/infra/postgres/postgresql.conf" | tr -d "'")
  # The folder is left first: the postgres user may not be allowed to stand in it.
  pushd / >/dev/null
  as_postgres_spawn "$bin/postgres" -D "$POSTGRES_DATA" --port="$POSTGRES_PORT" \
    --listen_addresses=127.0.0.1 --unix_socket_directories= "${settings[@]}"
  popd >/dev/null
}

# setpriv replaces itself by the server, so the pid in the file is the server's own.
as_postgres_spawn() {
  if [ "$(id -u)" -eq 0 ]; then
    spawn postgres setpriv --reuid postgres --regid postgres --init-groups "${POSTGRES_CAPABILITIES[@]}" -- "$@"
  else
    spawn postgres "$@"
  fi
}

# Healthy means: the database of this project answers. It is created at the first time of asking.
postgres_healthy() {
  sql -c 'SELECT 1' >/dev/null 2>&1 && return
  POSTGRES_DB=postgres sql -c "CREATE DATABASE \"$POSTGRES_DB\"" >/dev/null 2>&1
  sql -c 'SELECT 1' >/dev/null 2>&1
}
