#!/usr/bin/env bash
# Usage: ./run.sh build | app OPTIONS | restore OPTIONS | verify OPTIONS
#
#   build    mvn clean package (MVN_OPTS is passed on) -> target/peer.jar
#   app      --input T --prefix OUT- --app-id ID --state-dir DIR [--threads 2] [--cache-mb 64]
#            [--guarantee exactly_once_v2|at_least_once] [--expect N] [--listen PORT]
#            [--emit every-commit|on-close] [--event-id ID] [--set STREAMS_CONFIG=VALUE]...
#            With --expect, prints one JSON line when N records are processed and committed, and ends;
#            without, runs until SIGTERM. --emit on-close: hours and days once, when their window closes.
#   restore  the options of app without --expect; DIR holds no state of ID, ID has consumed its input
#   verify   --input T --prefix OUT- [--latest T] [--ohlc-1m T] [--ohlc-1h T] [--ohlc-1d T] [--grace-ms 10000]
#            [--emit every-commit|on-close]
#            Exits 1 on any mismatch.
#
# All but build take --bootstrap HOST:PORT (default 127.0.0.1:9092) and the environment's JAVA_OPTS
# (default -Xmx2g -XX:+UseG1GC).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
java_opts=${JAVA_OPTS:--Xmx2g -XX:+UseG1GC}

run() {
  # shellcheck disable=SC2086 # options are meant to be split
  exec java $java_opts -cp "$here/target/peer.jar" "$@"
}

mode=${1:-}
[ $# -gt 0 ] && shift
case $mode in
  build) cd "$here" && exec mvn -q -B ${MVN_OPTS:-} clean package ;;
  app) run peer.App "$@" ;;
  restore) run peer.App --restore-only "$@" ;;
  verify) run peer.Verify "$@" ;;
  *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
