#!/bin/sh
# Looks for what a person has to install, and installs what the Rust toolchain lacks: the wasm target, rustfmt, clippy.
# A failure ends with one sentence.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "$1 Then run make again." >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

has cargo || fail "Install Rust with rustup (https://rustup.rs)."
has npm || fail "Install Node.js 20 or newer with npm (https://nodejs.org)."
has cc || fail "Install a C compiler, which Rust links with (on Debian: apt-get install build-essential)."

# rustup installs the toolchain of rust-toolchain.toml by itself, unless that is turned off.
sysroot=$(rustc --print sysroot) || fail "Install the Rust toolchain that rust-toolchain.toml names, with rustup."
if [ ! -d "$sysroot/lib/rustlib/wasm32-unknown-unknown/lib" ]; then
    has rustup || fail "Install rustup (https://rustup.rs): this Rust has no wasm32-unknown-unknown target."
    rustup target add wasm32-unknown-unknown || fail "Install the target with: rustup target add wasm32-unknown-unknown."
fi
for component in rustfmt clippy; do
    "cargo-${component#rust}" --version >/dev/null 2>&1 || rustup component add "$component" ||
        fail "Install the component with: rustup component add $component."
done
