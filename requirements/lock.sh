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
for extra in openai1 agents node audit anthropic1 openai2 ollama langchain llamaindex aider llm schemathesis; do
    "$tools/bin/python" -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))
        ["project"]["optional-dependencies"][sys.argv[1]], sep="\n")' "$extra" > "$tools/$extra.in"
done
lock "$tools/openai1.in" --output-file requirements/openai1.txt
lock "$tools/openai2.in" --output-file requirements/openai2.txt
lock "$tools/anthropic1.in" --output-file requirements/anthropic1.txt
lock "$tools/langchain.in" --output-file requirements/langchain.txt
# pip takes an extra only from a line that names it.
lock "$tools/llamaindex.in" --no-strip-extras --output-file requirements/llamaindex.txt
lock "$tools/ollama.in" --output-file requirements/ollama.txt
# What the other locks have too has the same version here.
sed -n 's/^\(certifi==[^ ;]*\).*/\1/p' requirements/openai1.txt > "$tools/certifi.txt"
lock "$tools/agents.in" --constraint requirements/dev.txt --constraint "$tools/certifi.txt" \
    --output-file requirements/agents.txt
lock "$tools/node.in" --output-file requirements/node.txt
lock "$tools/aider.in" --output-file requirements/aider.txt
lock "$tools/llm.in" --output-file requirements/llm.txt
lock "$tools/schemathesis.in" --output-file requirements/schemathesis.txt
lock "$tools/audit.in" --constraint requirements/agents.txt --constraint requirements/dev.txt \
    --output-file requirements/audit.txt
