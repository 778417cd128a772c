#!/usr/bin/env bash
# certificates.sh FOLDER [DAYS]: an authority of one's own and a certificate for the broker on this machine, for trials
# and tests. ca.crt is what clients trust; broker.pem is the broker's key and certificate. An authority that is in
# FOLDER signs, and what is there stays.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -ge 1 ] || die "usage: certificates.sh FOLDER [DAYS]"
folder=$1 days=${2:-30}
[ -f "$folder/broker.pem" ] && exit
umask 077
mkdir -p "$folder"
cd "$folder"
{
  [ -f ca.crt ] || openssl req -x509 -newkey rsa:2048 -nodes -days "$days" -subj "/CN=market test authority" -keyout ca.key -out ca.crt
  openssl req -newkey rsa:2048 -nodes -subj "/CN=broker" -keyout broker.key -out broker.csr
  openssl x509 -req -in broker.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" -out broker.crt \
    -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1")
} >openssl.log 2>&1 || die "openssl could not make certificates: see $folder/openssl.log"
# The whole file or none: a script that was stopped here starts again.
cat broker.key broker.crt >broker.pem.new
mv broker.pem.new broker.pem
