#!/usr/bin/env bash
# Creates the project's topics. Which ones, and how, is known to schemas::topic alone. Idempotent.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ -x "$BIN_DIR/processor" ] || die "$BIN_DIR/processor does not exist: run 'make build'"
exec "$BIN_DIR/processor" topics create --bootstrap-servers "$BOOTSTRAP_SERVERS"
