#!/usr/bin/env bash
# impatient-group.sh GROUP: a group of the consumer protocol (KIP-848) gives up silent members after six
# seconds instead of 45. Classic members say the same with --session-timeout.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -eq 1 ] || die "usage: impatient-group.sh GROUP"
kafka_java kafka.admin.ConfigCommand --bootstrap-server "$BOOTSTRAP_SERVERS" --alter \
  --entity-type groups --entity-name "$1" \
  --add-config consumer.session.timeout.ms=6000,consumer.heartbeat.interval.ms=2000 >/dev/null
