#!/usr/bin/env bash
# Brings the stack's Java parts into the cache and holds them to infra/digests.sha256.
# Maven runs only when a file is missing. `fetch.sh --record` writes the digests anew after a change
# of infra/versions.env; the change is then reviewed as a diff of that file.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
DIGESTS=$ROOT/infra/digests.sha256

versions_as_properties() {
  local name value
  while IFS='=' read -r name value; do
    [[ $name =~ ^[A-Z0-9_]+$ ]] && printf -- '-D%s=%s\n' "$name" "$value"
  done <"$ROOT/infra/versions.env"
}

download() {
  local properties
  command -v mvn >/dev/null || die "maven is missing: run 'make install' (or apt-get install maven)"
  mapfile -t properties < <(versions_as_properties)
  say "fetching Kafka, the registry and the connector with Maven into $CACHE_DIR (about 230 MB, once)"
  # The poms are copied out: Maven must not write beside the sources.
  local work=$CACHE_DIR/maven
  rm -rf "$work" && mkdir -p "$work" && cp -r "$ROOT/infra/maven/." "$work"
  TERM=dumb mvn -q -B -Dstyle.color=never -f "$work/pom.xml" package "${properties[@]}" -DoutputRoot="$CACHE_DIR" ||
    die "Maven could not fetch the stack (see above); the next run goes on where this one stopped"
  rm -rf "$work"
}

# The files that digests.sha256 is about: whatever lands on a class path, and the archives.
cached_files() {
  (cd "$CACHE_DIR" 2>/dev/null && find archives kafka plugins/apicurio-converter -type f \
    \( -name '*.jar' -o -name '*.tar.gz' \) 2>/dev/null | LC_ALL=C sort) || true
}

listed_files() { sed 's/^[0-9a-f]*  //' "$DIGESTS"; }

missing_files() { comm -23 <(listed_files | LC_ALL=C sort) <(cached_files); }

verify() {
  local wrong stray
  # A jar of an earlier version would still be on the class path.
  while read -r stray; do
    [ -n "$stray" ] || continue
    say "removing $stray: not part of these versions"
    rm -f "${CACHE_DIR:?}/$stray"
  done < <(comm -13 <(listed_files | LC_ALL=C sort) <(cached_files))
  wrong=$(cd "$CACHE_DIR" && sha256sum --check --quiet "$DIGESTS" 2>/dev/null | sed 's/: FAILED.*//') || true
  [ -z "$wrong" ] || die "digest mismatch: $CACHE_DIR/${wrong//$'\n'/, $CACHE_DIR/}." \
    "The file is damaged or not the one that was reviewed: delete it (and its copy in the local Maven repository) and run again." \
    "After an intended change of infra/versions.env run infra/fetch.sh --record."
}

# unpack ARCHIVE FOLDER: once for each digest of the archive, complete or not at all.
unpack() {
  local archive=$CACHE_DIR/archives/$1 folder=$CACHE_DIR/$2 digest
  digest=$(grep -F "archives/$1" "$DIGESTS" | cut -d' ' -f1)
  [ "$(cat "$folder/.digest" 2>/dev/null)" = "$digest" ] && return
  rm -rf "$folder" "$folder.new" && mkdir -p "$folder.new"
  tar -xzf "$archive" -C "$folder.new" "${@:3}"
  echo "$digest" >"$folder.new/.digest"
  mv "$folder.new" "$folder"
}

# Our part of the sink, in the folder of the connector that it extends: a plugin sees only its own folder.
build_plugin() {
  local source=$ROOT/connect/plugin folder=$CACHE_DIR/plugins/debezium-connector-jdbc digest work
  digest=$(cd "$source" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
  [ "$(cat "$folder/market-connect.digest" 2>/dev/null)" = "$digest" ] && return
  command -v javac >/dev/null || die "javac is missing: run 'make install' (or apt-get install openjdk-17-jdk-headless)"
  # The worker brings it: a plugin's copy would make other classes of the worker's REST interface.
  rm -f "$folder"/jakarta.ws.rs-api-*.jar
  work=$(mktemp -d)
  cp -r "$source/META-INF" "$work"
  # Connect runs on Java 17 and later.
  javac --release 17 -nowarn -proc:none -d "$work" -cp "$folder/*:$CACHE_DIR/kafka/*" "$source"/market/connect/*.java ||
    die "connect/plugin does not compile with $(javac -version 2>&1): see above"
  jar --create --file "$folder/market-connect.jar.new" -C "$work" .
  mv "$folder/market-connect.jar.new" "$folder/market-connect.jar"
  echo "$digest" >"$folder/market-connect.digest"
  rm -rf "$work"
}

mkdir -p "$CACHE_DIR"
if [ "${1:-}" = --record ]; then
  download
  (cd "$CACHE_DIR" && cached_files | xargs sha256sum) >"$DIGESTS"
  say "$(wc -l <"$DIGESTS") digests written to infra/digests.sha256"
elif [ -n "$(missing_files)" ]; then
  download
fi
missing=$(missing_files | tr '\n' ' ')
[ -z "$missing" ] || die "Maven did not bring ${missing% }: infra/digests.sha256 and infra/versions.env disagree; see infra/fetch.sh --record"
verify
unpack "apicurio-registry-app-$REGISTRY_VERSION-all.tar.gz" registry
unpack "debezium-connector-jdbc-$DEBEZIUM_VERSION-plugin.tar.gz" plugins/debezium-connector-jdbc --strip-components=1
build_plugin
say "stack files are complete in $CACHE_DIR"
