#!/usr/bin/env bash
# Checks the Prometheus configuration and runs every alert against its situations.
# Installs promtool (Debian package prometheus) when it is missing; no server of it is started.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if ! command -v promtool >/dev/null; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  say "installing prometheus, for promtool"
  # Debian starts what it installs; policy-rc.d is the way to say no, only promtool is wanted.
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -y install prometheus >/dev/null 2>&1 ||
    die "promtool is missing and could not be installed: run as root: apt-get install prometheus"
fi

cd "$ROOT/infra/prometheus"
promtool check config --lint=all prometheus.yml
promtool test rules alerts_test.yml

# A rule without a situation is a rule that nobody has seen work.
untested=$(comm -23 <(sed -n 's/.*- alert: //p' alerts.yml | sort) <(sed -n 's/.*- name: \(.*\) is raised$/\1/p' alerts_test.yml | sort))
[ -z "$untested" ] || die "alerts without a test: $untested"
say "$(grep -c -- '- alert:' alerts.yml) alerts tested"
