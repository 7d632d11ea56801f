#!/bin/sh
# Build the sdist and the wheel of the last commit, and SHA256SUMS, into dist/: make dist.
# The same sources and the same lock give the same bytes: times, owners, modes and the order of
# files are set here. Usage: dist.sh PYTHON [FOLDER TREE]
#   PYTHON  an interpreter whose environment has what requirements/dev.txt pins
#   FOLDER  where to put the files instead of dist/; what is in it is removed
#   TREE    sources to build instead of the last commit; SOURCE_DATE_EPOCH is needed then
set -eu
root=$(dirname "$0")/..
python=$1
folder=${2:-$root/dist}
tree=${3:-}
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "$tree" ]; then
    commit=$(git -C "$root" rev-parse --verify --short HEAD) || {
        echo "make dist builds the last commit: it needs a clone and git" >&2
        exit 1
    }
    tree=$work/tree
    mkdir "$tree"
    git -C "$root" archive --output "$work/tree.tar" HEAD
    # Root without the right to change owners cannot give files the owner of the archive.
    tar -xf "$work/tree.tar" --no-same-owner -C "$tree"
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct)
    if [ -n "$(git -C "$root" status --porcelain)" ]; then
        echo "Changes that are not committed are left out: this is $commit." >&2
    fi
fi
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:?}"

build() {
    "$python" -m build --quiet --no-isolation "$@"
}

# The backend gives an sdist today's times and this user's name: it is packed anew.
build --sdist --outdir "$work/sdist" "$tree"
name=$(basename "$work/sdist"/*.tar.gz .tar.gz)
tar -xzf "$work/sdist/$name.tar.gz" --no-same-owner -C "$work"
tar -cf "$work/$name.tar" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --mode=u=rwX,go=rX \
    --owner=0 --group=0 --numeric-owner --format=pax \
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    -C "$work" "$name"
rm -rf "$folder"
mkdir -p "$folder"
gzip -9n < "$work/$name.tar" > "$folder/$name.tar.gz"
build --wheel --outdir "$folder" "$folder/$name.tar.gz"
cd "$folder"
sha256sum -- *.tar.gz *.whl > SHA256SUMS
cat SHA256SUMS
