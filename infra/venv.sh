#!/usr/bin/env bash
# venv.sh NAME PACKAGE==VERSION…: a Python environment of that name below the run folder, with these packages.
# Idempotent and quiet when nothing is missing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=$1
shift
folder=$RUN_DIR/venv/$name
wanted="$*"
[ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || exit 0
# Debian has the module of environments in a package of its own, without which there is no pip in one.
python3 -c 'import ensurepip' 2>/dev/null || "$ROOT/infra/install.sh" python3-venv:/usr/share/doc/python3-venv
say "installing $wanted"
rm -rf "$folder"
mkdir -p "$RUN_DIR/venv"
python3 -m venv "$folder"
"$folder/bin/pip" -q --disable-pip-version-check install --only-binary :all: "$@"
# Last: an environment that was not finished is made anew.
echo "$wanted" >"$folder/installed"
