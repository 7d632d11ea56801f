# Makes each target, those joined by + at the same time, whatever became of the others;
# says at the end which failed.   usage: MAKE=make sh tests/parts.sh lint one+another
failed=
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM HUP

for group in "$@"; do
  case $group in
    *+*)
      parts=$(echo "$group" | tr + ' ')
      for part in $parts; do
        # The mark is there unless it is removed: a part that is killed has failed, too.
        : > "$folder/$part.failed"
        { "$MAKE" --no-print-directory "$part" > "$folder/$part" 2>&1 &&
          rm "$folder/$part.failed"; } &
      done
      wait
      for part in $parts; do
        echo "== $part"
        cat "$folder/$part"
        [ ! -e "$folder/$part.failed" ] || failed="$failed $part"
      done ;;
    *)
      echo "== $group"
      "$MAKE" --no-print-directory "$group" || failed="$failed $group" ;;
  esac
done

[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
