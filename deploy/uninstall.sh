#!/bin/sh
# Remove what install.sh has put: make uninstall-service, as root. The settings, the credentials,
# the state and the logs stay, and so do modules of your own. PURGE=yes removes them too.
set -eu

name=${NAME:-fitten-gateway}
root=${DESTDIR:-}
program=$root/opt/$name
units=$root/etc/systemd/system
list=$program/.installed
# Not from the folder that goes away.
cd /

case $name in
*[!a-z0-9-]* | '' | -*) echo "NAME may have small letters, digits and - only" >&2 && exit 2 ;;
esac
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "uninstall-service removes files in /opt and /etc: run it as root, or set DESTDIR" >&2
    exit 1
fi
if [ ! -e "$program" ] && [ ! -e "$units/$name.service" ]; then
    echo "There is no service $name." >&2
    exit 1
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now "$name.socket" "$name.service" || true
fi

rm -f "$units/$name.service" "$units/$name.socket" "$units/$name.service.d/notify-reload.conf"
rm -f "$root/usr/local/bin/$name"
if [ -e "$list" ]; then
    # Of the middlewares only those that are as they were installed.
    sed -n "s|^\([0-9a-f]*\)  /opt/$name/middlewares/|\1 |p" "$list" | while read -r digest file; do
        file=$program/middlewares/$file
        if [ -e "$file" ] && [ "$(sha256sum < "$file" | cut -d ' ' -f 1)" = "$digest" ]; then
            rm "$file"
        fi
    done
fi
for part in gateway emulator docs requirements deploy .venv .venv.former .installed Makefile \
    pyproject.toml README.md README.zh-CN.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE; do
    rm -rf "${program:?}/$part"
done
if [ -d "$program" ]; then
    find "$program" -type d -name __pycache__ -prune -exec rm -rf {} +
    find "$program" -depth -type d -empty -delete
fi
if [ "${PURGE:-}" = yes ]; then
    rm -rf "${program:?}" "$root/etc/$name" "$units/$name.service.d" "$units/$name.socket.d"
    for folder in "$root/var/lib" "$root/var/log"; do
        rm -rf "$folder/private/$name" "${folder:?}/$name"
    done
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi

for left in "$program" "$root/etc/$name" "$units/$name.service.d" "$units/$name.socket.d" \
    "$root/var/lib/private/$name" "$root/var/log/private/$name"; do
    if [ -e "$left" ]; then echo "kept: $left"; fi
done
