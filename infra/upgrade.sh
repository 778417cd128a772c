#!/usr/bin/env bash
# upgrade.sh REVISION: the processor of a git revision is built in .run/upgrade, and its members are replaced by the
# current version, one at a time under load, and back again. A table of lost and doubled records, as in make chaos.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -eq 1 ] || die "usage: make upgrade PREVIOUS=REVISION"
folder=$ROOT/.run/upgrade
revision=$(git -C "$ROOT" rev-parse --verify "$1^{commit}") || die "no revision $1: git log"
rm -rf "$folder/tree" && mkdir -p "$folder/tree"
git -C "$ROOT" archive "$revision" | tar -x -C "$folder/tree"
(cd "$folder/tree" && CARGO_TARGET_DIR=$folder/target cargo build --release --locked -p processor)
export PREVIOUS_BIN_DIR=$folder/target/release CHAOS='version replaced'
exec "$ROOT/infra/chaos.sh"
