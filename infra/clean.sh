#!/usr/bin/env bash
# Removes what a stopped stack left behind, except downloads and tools.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rm -rf "${RUN_DIR:?}"/{kafka,postgres,connect,state,log,pid,stack.lock}
say "state, logs and data are removed from $RUN_DIR"
