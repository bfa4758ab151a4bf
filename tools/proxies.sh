#!/bin/sh
# Finds or fetches what `make test-proxies` drives: nginx, Caddy and openssl, those on PATH, else those of Debian. The
# packages of Debian start a service when they are installed, so they are only unpacked, into target/proxies.
set -eu
cd "$(dirname "$0")/.."
# The folders are those of end2end/fixtures/reverse-proxy.ts.
PATH="$PATH:/usr/sbin:$PWD/target/proxies/usr/bin:$PWD/target/proxies/usr/sbin"

missing=""
for name in nginx caddy openssl; do
    command -v "$name" >/dev/null 2>&1 || missing="$missing $name"
done
[ -z "$missing" ] && exit 0

mkdir -p target/proxies
cd target/proxies
if command -v apt-get >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && apt-get update || true
    for name in $missing; do
        rm -f "$name"_*.deb
        apt-get download "$name" && dpkg --extract "$name"_*.deb . || true
        rm -f "$name"_*.deb
    done
fi
for name in $missing; do
    command -v "$name" >/dev/null 2>&1 || {
        echo "Install $name so that it is found on PATH (on Debian: apt-get install $name). Then run make again." >&2
        exit 1
    }
done
