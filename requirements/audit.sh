#!/bin/sh
# Look every package of the locks up among known vulnerabilities: make audit.
# Usage: audit.sh PIP_AUDIT [OPTION...]   options are pip-audit's own
# Status 0: every package was looked up, and nothing is known against any. 1: something is known.
# 2: a lock could not be looked up, so nothing is said of it and of those after it.
set -eu
audit=$1
shift
locks=$(dirname "$0")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
for path in "$locks"/*.txt; do
    lock=$(basename "$path")
    # Without its markers a lock is that of every platform and Python: all of it is looked up.
    sed 's/ *;.*\\$/ \\/' "$path" > "$work/$lock"
    rm -f "$work/found"
    # --strict, since packages that the service does not know are passed over otherwise, and the
    # status is 0. Found vulnerabilities and a failure both give 1; only the former write a table.
    if "$audit" --strict --disable-pip --require-hashes --requirement "$work/$lock" \
        --progress-spinner off --format columns --output "$work/found" "$@" 2> "$work/said"; then
        echo "$lock: $(grep -c '^[^ ].*==' "$path") packages, nothing known against any of them"
    elif [ -s "$work/found" ]; then
        status=1
        echo "$lock: known vulnerabilities"
        cat "$work/found"
    else
        {
            echo "$lock could not be looked up: $(tail -n 1 "$work/said")"
            echo
            echo "Nothing has been said about $lock and the locks after it. pip-audit asks the"
            echo "package index for advisories; that must be reachable, and a mirror may lack them."
            echo "Another service: make audit AUDIT='--vulnerability-service osv'"
        } >&2
        exit 2
    fi
done
exit $status
