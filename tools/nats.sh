#!/bin/sh
# Finds or fetches nats-server: the one on PATH, else that of Debian, in target/nats. The folders are also those of
# tools/cluster.mjs.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:$PWD/target/nats/usr/sbin"

command -v nats-server >/dev/null 2>&1 && exit 0
sh tools/debian-unpack.sh target/nats nats-server
command -v nats-server >/dev/null 2>&1 || {
    echo "Install nats-server so that it is found on PATH (on Debian: apt-get install nats-server). Then run make again." >&2
    exit 1
}
