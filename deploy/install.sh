#!/bin/sh
# Put the gateway under /opt and /etc as a service of systemd; again for an update.
# To be run as root from a checkout: make install-service. With DESTDIR set, for packagers,
# only files are put, below it. PYTHON names the interpreter, which the service must reach. NAME
# gives the service another name, and PORT its first port, to run two versions side by side. The
# example of an admin port in config.yaml is the next one.
set -eu
cd "$(dirname "$0")/.."

name=${NAME:-fitten-gateway}
root=${DESTDIR:-}
program=$root/opt/$name
settings=$root/etc/$name
units=$root/etc/systemd/system
list=$program/.installed # digests of what was put where an operator may have files too

case $name in
*[!a-z0-9-]* | '' | -*) echo "NAME may have small letters, digits and - only" >&2 && exit 2 ;;
esac
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install-service writes to /opt and /etc: run it as root, or set DESTDIR" >&2
    exit 1
fi
# Before anything is written.
[ -n "$root" ] || sh deploy/venv.sh check "$program"

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
touch "$new/list"

named() { # a file with the service's name in place of fitten-gateway
    sed "s|fitten-gateway|$name|g" "$1"
}
digest() {
    sha256sum < "$1" | cut -d ' ' -f 1
}
is_ours() { # whether this file is as an installation left it
    [ -e "$list" ] && grep -qxF "$(digest "$1")  ${1#"$root"}" "$list"
}
save() { # a file that differs from what is to be put there
    mv "$1" "$1.saved"
    echo "$1 was not as installed: the new one replaces it, yours is $1.saved" >&2
}
put() { # source, target: for places where an operator may have files
    if [ -e "$2" ] && ! is_ours "$2" && ! cmp -s "$1" "$2"; then save "$2"; fi
    install -D -m "${3:-0644}" "$1" "$2"
    echo "$(digest "$2")  ${2#"$root"}" >> "$new/list"
}

umask 022
install -d "$program" "$settings" "$units"
install -d -m 0700 "$settings/credentials"
for part in gateway emulator docs requirements deploy; do
    rm -rf "${program:?}/$part"
    find "$part" -type d -name __pycache__ -prune -o -type f -print | while read -r file; do
        install -D -m 0644 "$file" "$program/$file"
    done
done
find middlewares -type d -name __pycache__ -prune -o -type f -print > "$new/middlewares"
while read -r file; do put "$file" "$program/$file"; done < "$new/middlewares"
# Those of a former version that are no more: unless the operator has changed them.
if [ -e "$list" ]; then
    sed -n "s|^[0-9a-f]*  /opt/$name/middlewares/|middlewares/|p" "$list" > "$new/former"
    while read -r file; do
        if ! grep -qxF "$file" "$new/middlewares" && [ -e "$program/$file" ] &&
            is_ours "$program/$file"; then
            rm "$program/$file"
        fi
    done < "$new/former"
fi
for file in Makefile pyproject.toml README.md README.zh-CN.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE; do
    install -m 0644 "$file" "$program/$file"
done
# What an administrator has changed stays.
if [ ! -e "$settings/config.yaml" ]; then
    first=${PORT:-5000}
    named deploy/config.yaml | sed "s|port: 5000,|port: $first,|
        s|127.0.0.1:5001|127.0.0.1:$((first + 1))|" > "$settings/config.yaml"
fi
named deploy/fitten-gateway.service > "$new/service"
put "$new/service" "$units/$name.service"
named deploy/fitten-gateway.socket | sed "s|:5000$|:${PORT:-5000}|" > "$new/socket"
socket=$units/$name.socket
if [ -z "${PORT:-}" ] && [ -e "$socket" ] && is_ours "$socket"; then
    # The port of the first installation stays.
    port=$(sed -n 's|^ListenStream=127.0.0.1:||p' "$socket")
    sed -i "s|:5000$|:$port|" "$new/socket"
fi
if [ ! -e "$socket" ] || is_ours "$socket" || cmp -s "$new/socket" "$socket"; then
    put "$new/socket" "$socket"
else
    echo "$socket was edited and stays; the new one is $program/deploy/fitten-gateway.socket" >&2
fi
named deploy/command.sh > "$new/command"
put "$new/command" "$root/usr/local/bin/$name" 0755
install -m 0644 "$new/list" "$list"

[ -z "$root" ] || exit 0

sh deploy/venv.sh build "$program"
# The service itself may not write there.
(cd "$program" && .venv/bin/python -m compileall -q gateway middlewares)
dropin=$units/$name.service.d/notify-reload.conf
if [ "$(systemctl --version | awk 'NR == 1 { print $2 + 0 }')" -ge 253 ]; then
    install -d "${dropin%/*}"
    named deploy/notify-reload.conf > "$dropin"
else
    rm -f "$dropin"
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi

cat <<TEXT
Installed. What is left to do:

  1. write the secrets, each into a file of its own in $settings/credentials:
     fitten-username, fitten-password, gateway-key  (mode 0600)
  2. look at $settings/config.yaml, and check it: $name check
  3. systemctl enable --now $name.socket $name.service

After an update: systemctl restart $name.service
TEXT
