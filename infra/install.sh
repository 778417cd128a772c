#!/usr/bin/env bash
# Installs what the stack and the build need from Debian, then fetches the Java parts. Idempotent and
# quiet when nothing is missing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# package:what shows that it is there. From gcc to pkg-config they are what librdkafka's own build asks for.
NEEDED=(
  maven:mvn zstd:zstd curl:curl jq:jq iproute2:ss postgresql-client:psql
  gcc:gcc g++:g++ make:make python3:python3 zlib1g-dev:/usr/include/zlib.h
  pkg-config:pkg-config libssl-dev:/usr/include/openssl/ssl.h
  valgrind:valgrind
  # connect/plugin is compiled where the stack is fetched.
  openjdk-17-jdk-headless:javac
  # What only some commands need is named by them.
  "$@"
)

have() { if [[ $1 == /* ]]; then [ -e "$1" ]; else command -v "$1" >/dev/null; fi; }

java_major() { java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1; }

missing=()
for entry in "${NEEDED[@]}"; do have "${entry#*:}" || missing+=("${entry%%:*}"); done
[ -n "$(postgres_bin)" ] || missing+=(postgresql)
major=$(command -v java >/dev/null && java_major || true)
[ "${major:-0}" -ge 17 ] || missing+=(openjdk-17-jre-headless)

if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these Debian packages are missing and this user is not root: run as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get here: ${missing[*]}"
  say "installing ${missing[*]}"
  # A package's own database cluster or service is not wanted: ours lives in the run folder.
  "${as_root[@]}" apt-get -qq update
  if [ ! -e /etc/postgresql-common/createcluster.conf ] && [[ " ${missing[*]} " == *" postgresql "* ]]; then
    "${as_root[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
    -o Dpkg::Options::=--force-confold install "${missing[@]}" >"${TMPDIR:-/tmp}/market-apt.log" 2>&1 || {
    tail -n 20 "${TMPDIR:-/tmp}/market-apt.log" >&2
    die "apt-get could not install ${missing[*]}"
  }
fi
exec "$ROOT/infra/fetch.sh"
