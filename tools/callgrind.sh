#!/bin/sh
# Runs the release under callgrind, for `make check-perf`. What callgrind writes is read by end2end/fixtures/callgrind.ts.
set -eu
cd "$(dirname "$0")/.."
mkdir -p target/callgrind
# One worker, as on one core: how several divide the work differs from run to run.
export TOKIO_WORKER_THREADS=1
exec valgrind --quiet --tool=callgrind --compress-strings=no --callgrind-out-file="$PWD/target/callgrind/out.%p" target/release/wirewise "$@"
