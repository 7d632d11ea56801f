# Makes each target, those joined by + at the same time, whatever became of the others;
# says at the end which failed.   usage: MAKE=make sh tests/parts.sh lint one+another
failed=
parts=
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'stopped; exit 130' INT TERM HUP

# Shows what the parts that still ran had printed, so that one that hangs can be found.
stopped() {
  for part in $parts; do
    [ ! -e "$folder/$part.failed" ] || [ -e "$folder/$part.shown" ] || {
      echo "== $part (stopped)"
      tail -n 60 "$folder/$part"
    }
  done
}

for group in "$@"; do
  case $group in
    *+*)
      parts=$(echo "$group" | tr + ' ')
      for part in $parts; do
        # The mark is there unless it is removed: a part that is killed has failed, too.
        : > "$folder/$part.failed"
        { "$MAKE" --no-print-directory "$part" > "$folder/$part" 2>&1 &&
          rm "$folder/$part.failed"; } &
        echo $! > "$folder/$part.pid"
      done
      for part in $parts; do
        wait "$(cat "$folder/$part.pid")"
        echo "== $part"
        cat "$folder/$part"
        : > "$folder/$part.shown"
        [ ! -e "$folder/$part.failed" ] || failed="$failed $part"
      done
      parts= ;;
    *)
      echo "== $group"
      "$MAKE" --no-print-directory "$group" || failed="$failed $group" ;;
  esac
done

[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
