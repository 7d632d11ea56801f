#!/bin/sh
# Resolve pyproject.toml into locks that hold for every platform and Python from 3.11 on.
set -eu
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${1:-python3}" -m venv "$tools"
"$tools/bin/pip" --quiet install uv==0.13.9
lock() {
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate "$@"
}
lock pyproject.toml --output-file requirements/runtime.txt
lock pyproject.toml --extra dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
"$tools/bin/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))
    ["project"]["optional-dependencies"]["openai1"], sep="\n")' > "$tools/openai1.in"
lock "$tools/openai1.in" --output-file requirements/openai1.txt
