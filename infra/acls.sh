#!/usr/bin/env bash
# acls.sh [FILE]: gives the broker the ACLs of FILE (default infra/kafka/acls.txt). Idempotent; removes no ACL.
# BOOTSTRAP_SERVERS is the broker, and KAFKA_CLIENT_FILE the settings of an administrator for Kafka's Java clients.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${TOPIC_PREFIX:=}" "${APPLICATION_ID:=processor}" "${VIEW_ID:=view}" "${KAFKA_CLIENT_FILE:=}"
file=${1:-$ROOT/infra/kafka/acls.txt}
[ -f "$file" ] || die "there is no ACL list $file"

lines=$(render "$file" TOPIC_PREFIX APPLICATION_ID VIEW_ID)
count=$(kafka_java "$ROOT/infra/kafka/Acls.java" "$BOOTSTRAP_SERVERS" ${KAFKA_CLIENT_FILE:+"$KAFKA_CLIENT_FILE"} <<<"$lines") ||
  die "the ACLs of $file could not be set at $BOOTSTRAP_SERVERS (see above): is KAFKA_CLIENT_FILE that of an administrator?"
say "$count ACLs of ${file#"$ROOT/"} are in force at $BOOTSTRAP_SERVERS"
