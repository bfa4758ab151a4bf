#!/bin/sh
# Checks what the application is made of against deny.toml: licences, sources, banned and duplicated crates, and known
# vulnerabilities. Those need the RustSec database: it is fetched; where that fails, the copy of an earlier run is used;
# without one the rest is checked, and the last line says so. `make audit` passes the version of cargo-deny.
set -eu
cd "$(dirname "$0")/.."

sh tools/cargo-tool.sh "cargo deny" cargo-deny "$CARGO_DENY" "5 minutes"

# An entry of deny.toml that nothing needs any more is an error too.
cargo deny check -D unmatched-skip -D license-not-encountered bans licenses sources

# The same folder as `db-path` of cargo deny has by default.
databases=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
if cargo deny --log-level off fetch db >/dev/null 2>&1; then
    cargo deny check advisories
elif [ -n "$(ls -d "$databases"/*/.git 2>/dev/null)" ]; then
    echo "The database of vulnerabilities cannot be fetched; the copy in $databases is used."
    cargo deny --offline check advisories
else
    echo "The database of vulnerabilities cannot be fetched, and there is no copy of it in $databases." \
        "Known vulnerabilities were not checked; licences, sources, bans and duplicates are in order."
fi
