#!/bin/sh
# Unpacks packages of Debian into a folder, if apt is available: packages of servers start a service when they are
# installed. Without root it goes by the lists that apt has. The caller checks whether it helped.
#
# Usage: tools/debian-unpack.sh FOLDER PACKAGE...
set -eu
folder=$1
shift

command -v apt-get >/dev/null 2>&1 || exit 0
mkdir -p "$folder"
cd "$folder"
if [ "$(id -u)" = 0 ]; then apt-get update || true; fi
for package in "$@"; do
    rm -f "$package"_*.deb
    if apt-get download "$package"; then dpkg --extract "$package"_*.deb . || true; fi
    rm -f "$package"_*.deb
done
