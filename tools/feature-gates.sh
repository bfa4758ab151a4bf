#!/bin/sh
# Checks that feature gates stand on modules and imports, and on hydrate() in lib.rs, but never on a statement, so that
# a reader need not evaluate them while reading. Prints every gate that stands elsewhere in the named folders.
find "$@" -name '*.rs' -exec awk '
    function offend(line) { print FILENAME ":" gate ": " line; bad = 1 }
    function judge(line) {
        if (line ~ /^[[:space:]]*(pub(\([a-z]+\))?[[:space:]]+)?(mod|use)[[:space:]]/) return
        if (FILENAME ~ /(^|\/)lib\.rs$/ && line ~ /^pub fn hydrate\(\)/) return
        offend(line)
    }
    FNR == 1 { waiting = 0 }
    /^[[:space:]]*\/\// { next }
    # A gate in an attribute of its own; the gated item follows on the same line or on a later one.
    /^[[:space:]]*#\[cfg\(.*feature/ {
        gate = FNR
        rest = $0
        sub(/^[[:space:]]*#\[cfg\([^]]*\)\][[:space:]]*/, "", rest)
        if (rest == $0) { offend($0); next }
        if (rest == "") waiting = 1
        else judge(rest)
        next
    }
    # A gate in any other form: cfg!, cfg_attr, cfg_if, an inner attribute, a cfg over several lines.
    /feature[[:space:]]*=[[:space:]]*"/ || /cfg_if/ { gate = FNR; offend($0); next }
    waiting && (/^[[:space:]]*$/ || /^[[:space:]]*#\[/) { next }
    waiting { judge($0); waiting = 0 }
    END { exit bad }
' {} + && exit 0
echo "A feature gate stands on something other than a module, an import or hydrate()." >&2
exit 1
