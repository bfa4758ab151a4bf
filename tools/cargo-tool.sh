#!/bin/sh
# Installs a program of a package of cargo in one version, unless it is there: prebuilt where cargo binstall is on PATH,
# else built with little optimisation, because a fast build matters more than a fast tool.
#
# Usage: tools/cargo-tool.sh PROGRAM PACKAGE VERSION
set -eu
program=$1 package=$2 version=$3

case "$($program --version 2>/dev/null || true)" in
*" $version"*) exit 0 ;;
esac
if command -v cargo-binstall >/dev/null 2>&1 && cargo binstall --no-confirm "$package@$version"; then
    exit 0
fi
echo "Building $package $version, once; this takes some minutes."
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install "$package" --version "$version" --locked || {
    echo "$package $version could not be installed: see cargo's words above. Then run make again." >&2
    exit 1
}
