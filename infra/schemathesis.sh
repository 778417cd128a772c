#!/usr/bin/env bash
# schemathesis.sh URL: holds the interface at URL to the OpenAPI document that it serves. What is asked is made of
# the document, valid and not; no answer may be undocumented or a fault (infra/schemathesis/hooks.py).
# It has to have one place for streams: --stream-max-clients 1. EXAMPLES=N of each operation and run; SEED=N for others.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

URL=$1
FOLDER=$RUN_DIR/schemathesis
"$ROOT/infra/venv.sh" schemathesis "schemathesis==$SCHEMATHESIS_VERSION"
mkdir -p "$FOLDER"

# The place is taken, so that what is valid is answered and does not stream.
listen() { curl -sN "$@" "$URL/v1/events?channel=latest&base=none"; }
coproc HELD { listen -D -; }
trap 'kill "$HELD_PID" 2>/dev/null || true' EXIT
read -r -t 20 _ status _ <&"${HELD[0]}" || die "$URL does not stream"
[ "$status" = 200 ] || die "$URL/v1/events answers $status"
[ "$(listen -m 20 -o /dev/null -w '%{http_code}')" = 503 ] || die "$URL has to run with --stream-max-clients 1"

export SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$ROOT/infra/schemathesis PYTHONDONTWRITEBYTECODE=1
ask() {
  local what=$1
  shift
  say "== $what"
  # What it keeps of a run stays out of the sources.
  (cd "$FOLDER" && "$RUN_DIR/venv/schemathesis/bin/schemathesis" --no-color "$@" run "$URL/v1/openapi.json" \
    --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-100}" --seed "${SEED:-1}" \
    --checks all --exclude-checks not_a_server_error,positive_data_acceptance \
    --continue-on-failure --suppress-health-check all --request-timeout 30 --warnings off)
}
failed=0
ask "any names" || failed=1
ask "a pair that is there" --config-file "$ROOT/infra/schemathesis/known.toml" || failed=1
exit "$failed"
