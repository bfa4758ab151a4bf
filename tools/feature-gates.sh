#!/bin/sh
# Feature gates stand on modules and imports, and on hydrate(): never on a statement, so that a reader need not compile in
# their head. Prints every gate that stands elsewhere.
status=0
for file in $(find src -name '*.rs'); do
    awk -v file="$file" '
        /^[[:space:]]*#!?\[cfg\(.*feature/ { waiting = FNR; next }
        waiting && /^[[:space:]]*#\[/ { next }
        waiting {
            if ($0 !~ /^[[:space:]]*(pub(\([a-z]+\))? )?(mod|use) / && $0 !~ /^pub fn hydrate\(\)/) { print file ":" waiting ": " $0; bad = 1 }
            waiting = 0
        }
        END { exit bad }' "$file" || status=1
done
[ $status -eq 0 ] || echo "A feature gate stands on something other than a module, an import or hydrate()."
exit $status
