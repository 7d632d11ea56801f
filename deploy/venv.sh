#!/bin/sh
# sh deploy/venv.sh check|build PROGRAM: the interpreter and the .venv of an installed gateway.
# check refuses an interpreter that the service cannot reach. build makes PROGRAM/.venv or updates
# it. PYTHON names the interpreter, else .venv keeps its own, and a first .venv gets python3.
set -eu
order=$1
program=$2
venv=$program/.venv
tool=$(dirname "$0")/interpreter.py

python=${PYTHON:-}
if [ -z "$python" ]; then
    python=python3
    if "$venv/bin/python" -c '' 2> /dev/null; then python=$venv/bin/python; fi
fi
command -v "$python" > /dev/null || { echo "There is no interpreter $python." >&2; exit 1; }
if [ "$order" = check ]; then
    "$python" "$tool" --check > /dev/null
    exit
fi

path=$("$python" "$tool")
former=
if [ -e "$venv" ] && [ "$("$venv/bin/python" "$tool" 2> /dev/null || true)" != "$path" ]; then
    former=$program/.venv.former
    rm -rf "$former"
    mv "$venv" "$former"
fi
if make -C "$program" PYTHON="$path" install; then
    [ -z "$former" ] || rm -rf "$former"
elif [ -n "$former" ]; then
    rm -rf "$venv"
    mv "$former" "$venv"
    echo "The former .venv is back in its place." >&2
    exit 1
else
    exit 1
fi
