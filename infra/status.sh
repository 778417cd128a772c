#!/usr/bin/env bash
# What runs, how far consumers are behind, and how the sinks are.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/infra/stack.sh" status

say ""
say "CONSUMER LAG (an idle reader of transactions stays one behind on a partition: the last commit's marker)"
if (exec 3<>"/dev/tcp/127.0.0.1/$KAFKA_PORT") 2>/dev/null; then
  # One line for each group and topic; the registry's own readers of its journal are left out.
  kafka_java org.apache.kafka.tools.consumer.group.ConsumerGroupCommand \
    --bootstrap-server "$BOOTSTRAP_SERVERS" --describe --all-groups 2>/dev/null |
    awk '$1 !~ /^(GROUP|apicurio-.*)?$/ && $3 ~ /^[0-9]+$/ { key = $1 " " $2; parts[key]++; if ($6 ~ /^[0-9]+$/) lag[key] += $6 }
      END { printf "%-32s %-16s %10s %10s\n", "GROUP", "TOPIC", "PARTITIONS", "LAG"
            for (key in parts) { split(key, k, " "); printf "%-32s %-16s %10d %10d\n", k[1], k[2], parts[key], lag[key] | "sort" } }'
else
  say "Kafka does not run"
fi

say ""
say "CONNECTORS (state of the connector, then of its tasks)"
if names=$(curl -fs -m 5 "$CONNECT_URL/connectors?expand=status" 2>/dev/null); then
  jq -r 'to_entries[] | [.key, .value.status.connector.state, ([.value.status.tasks[].state] | join(" "))] | @tsv' <<<"$names" |
    awk -F '\t' '{printf "%-24s %-10s %s\n", $1, $2, $3} END {if (!NR) print "none registered"}'
else
  say "Kafka Connect does not run"
fi
