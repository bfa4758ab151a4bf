#!/bin/sh
# Runs one step of a build. It says what the step does and about how long it takes, and repeats that with the time elapsed
# every 15 s, because a compiler and a linker may print nothing for minutes.
#
# Usage: tools/step.sh TITLE "5 minutes" COMMAND [ARGUMENT...]
set -eu
title=$1 about=$2
shift 2

elapsed() {
    seconds=$(($(date +%s) - began))
    echo "$((seconds / 60)) min $((seconds % 60)) s"
}

began=$(date +%s)
echo "== $title: about $about on two cores if nothing of it is built yet"
# The sleep holds no output open: a reader of this script's output need not wait for it.
while sleep 15 >/dev/null 2>&1; do echo "== $title: $(elapsed) of about $about"; done &
ticker=$!
status=0
"$@" || status=$?
kill "$ticker"
wait "$ticker" 2>/dev/null || true
[ "$status" = 0 ] && echo "== $title: done after $(elapsed)"
exit "$status"
