#!/bin/sh
# Installs a package of Debian, if apt is available and the user is root. The caller checks whether it helped.
set -eu
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && apt-get update; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" || true
fi
