#!/usr/bin/env bash
# kcat.sh BOOTSTRAP TOPIC: partition, offset, and the key of each committed record: the magic byte, the number of its
# schema in the registry, and the Avro of it, in which each name follows its length. Debian's kcat knows no Avro; one
# that does prints values with: kcat -C -t TOPIC -b BOOTSTRAP -s avro -r REGISTRY
set -euo pipefail
kcat -C -q -e -b "$1" -t "$2" -X isolation.level=read_committed -s 'key=>bis' -f '%p %o %k\n'
