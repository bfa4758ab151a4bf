#!/bin/sh
# Finds or fetches what `make test-proxies` drives: nginx, Caddy and openssl, those on PATH, else those of Debian, in
# target/proxies.
set -eu
cd "$(dirname "$0")/.."
# The folders are those of end2end/fixtures/reverse-proxy.ts.
PATH="$PATH:/usr/sbin:$PWD/target/proxies/usr/bin:$PWD/target/proxies/usr/sbin"

missing() {
    for name in nginx caddy openssl; do
        command -v "$name" >/dev/null 2>&1 || echo "$name"
    done
}

[ -z "$(missing)" ] && exit 0
# The names hold no spaces.
# shellcheck disable=SC2046
sh tools/debian-unpack.sh target/proxies $(missing)
for name in $(missing); do
    echo "Install $name so that it is found on PATH (on Debian: apt-get install $name). Then run make again." >&2
    exit 1
done
