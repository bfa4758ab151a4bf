#!/bin/sh
# Runs the release under callgrind, for `make check-perf`. What callgrind writes is read by end2end/fixtures/callgrind.ts.
set -eu
cd "$(dirname "$0")/.."
mkdir -p target/callgrind
# One worker, as on one core: how several divide the work differs from run to run.
export TOKIO_WORKER_THREADS=1
# callgrind counts each byte that "rep stosb" sets as an instruction. So memset sets large blocks with vectors, too.
export GLIBC_TUNABLES=glibc.cpu.x86_rep_stosb_threshold=1000000000
exec valgrind --quiet --tool=callgrind --compress-strings=no --callgrind-out-file="$PWD/target/callgrind/out.%p" target/release/wirewise "$@"
