#!/bin/sh
# Installs what the build needs and the machine lacks: the wasm target, split-wasm, the npm packages.
# What is installed already is only looked up. `make` passes the versions and the PATH. A failure ends with one
# sentence.
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
has cc || fail "Install a C compiler, which Rust links with (on Debian: apt-get install build-essential)."
has npm || fail "Install Node.js 20 or newer with npm (https://nodejs.org)."

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

# What is built of it stays until it is installed, so that an interrupted installation goes on where it was. The sum
# of its sources exists only beside a complete installation.
sources=$(cat tools/split-wasm/Cargo.toml tools/split-wasm/Cargo.lock tools/split-wasm/src/*.rs | cksum)
if ! has split-wasm || [ "$(cat "$TOOLS/split-wasm.sum" 2>/dev/null || true)" != "$sources" ]; then
    CARGO_TARGET_DIR=target/tools sh tools/step.sh "split-wasm" "2 minutes" \
        cargo install --path tools/split-wasm --root "$TOOLS" --locked --force ||
        fail "split-wasm could not be installed: see cargo's words above."
    echo "$sources" >"$TOOLS/split-wasm.sum"
    rm -rf target/tools
fi

# npm ci empties the folder first, so the copy of the lock file exists only after a complete installation.
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund || fail "The npm packages could not be installed: see npm's words above."
    cp package-lock.json node_modules/.installed
fi
