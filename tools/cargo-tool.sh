#!/bin/sh
# Installs a program of a package of cargo in one version, unless it is there: prebuilt where cargo binstall is on PATH,
# else built without optimisation, because a fast build matters more than a fast tool.
#
# Usage: tools/cargo-tool.sh PROGRAM PACKAGE VERSION ABOUT [FLAG...]; ABOUT is how long it takes to build.
set -eu
program=$1 package=$2 version=$3 about=$4
shift 4

case "$($program --version 2>/dev/null || true)" in
*" $version"*) exit 0 ;;
esac
if command -v cargo-binstall >/dev/null 2>&1; then
    cargo binstall --no-confirm --disable-strategies compile "$package@$version" && exit 0
else
    echo "$package is built from source. It would be there at once with cargo binstall (https://github.com/cargo-bins/cargo-binstall)."
fi
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0
sh "$(dirname "$0")/step.sh" "$package $version" "$about" cargo install "$package" --version "$version" --locked "$@" || {
    echo "$package $version could not be installed: see cargo's words above. Then run make again." >&2
    exit 1
}
