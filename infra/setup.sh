#!/usr/bin/env bash
# Topics, tables and sinks for docker-compose.yml: what demo.sh does between starting servers and members.
# setup.sh topics | setup.sh sinks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case ${1:-} in
  topics) ./topics.sh && ./tables.sh ;;
  sinks) ./connectors.sh register ;;
  *) echo "usage: setup.sh topics|sinks" >&2; exit 2 ;;
esac
