# The tests on one core that two loops keep busy, as on a slow machine: with three seeds of
# hashes, and with the files in reverse.   usage: PYTEST=.venv/bin/pytest sh tests/slow.sh [SEEDS]
loops=
trap 'kill $loops 2> /dev/null' EXIT
trap 'exit 130' INT TERM HUP
for _ in 1 2; do
  # It ends without this shell, too, if that is killed.
  taskset -c 0 sh -c 'while kill -0 "$1" 2> /dev/null; do :; done' sh $$ &
  loops="$loops $!"
done

failed=
for seed in ${1:-1 2 3}; do
  files=tests
  if [ "$seed" = 3 ]; then
    # test_agents.py is for an environment of its own.
    files=$(find tests -name 'test_*.py' ! -name test_agents.py | sort -r)
  fi
  echo "== PYTHONHASHSEED=$seed"
  PYTHONHASHSEED=$seed taskset -c 0 "$PYTEST" --timeout=600 $files || failed="$failed $seed"
done

[ -z "$failed" ] || { echo "failed with PYTHONHASHSEED:$failed" >&2; exit 1; }
