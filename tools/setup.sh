#!/bin/sh
# Installs what the build needs and the machine lacks: cargo-leptos, wasm-bindgen, the npm packages.
# What is installed already is only looked up. `make` passes the versions and the PATH. A failure ends with one
# sentence.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "$1 Then run make again." >&2
    exit 1
}

# A build of cargo-leptos of this project's own: tools/cargo-leptos/Cargo.toml says why. What is built of it stays until it is
# installed, so that an interrupted installation goes on where it was.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' tools/cargo-leptos/Cargo.toml)
if [ "$(cargo leptos --version 2>/dev/null || true)" != "cargo-leptos $version" ]; then
    CARGO_TARGET_DIR=target/tools sh tools/step.sh "cargo-leptos $version" "11 minutes" \
        cargo install --path tools/cargo-leptos --root "$TOOLS" --locked --force ||
        fail "cargo-leptos could not be installed: see cargo's words above."
    rm -rf target/tools
fi
sh tools/cargo-tool.sh wasm-bindgen wasm-bindgen-cli "$WASM_BINDGEN" "3 minutes"

# npm ci empties the folder first, so the copy of the lock file exists only after a complete installation.
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund || fail "The npm packages could not be installed: see npm's words above."
    cp package-lock.json node_modules/.installed
fi
