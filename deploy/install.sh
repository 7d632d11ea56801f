#!/bin/sh
# Put the gateway under /opt and /etc as a service of systemd; again for an update.
# To be run as root from a checkout: make install-service. With DESTDIR set, for packagers,
# only files are put, below it. PYTHON names the interpreter, which others must be able to run.
set -eu
cd "$(dirname "$0")/.."

root=${DESTDIR:-}
program=$root/opt/fitten-gateway
settings=$root/etc/fitten-gateway
units=$root/etc/systemd/system

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install-service writes to /opt and /etc: run it as root, or set DESTDIR" >&2
    exit 1
fi

umask 022
install -d "$program" "$settings" "$units"
install -d -m 0700 "$settings/credentials"
for part in gateway middlewares emulator docs requirements deploy; do
    rm -rf "${program:?}/$part"
    find "$part" -type d -name __pycache__ -prune -o -type f -print | while read -r file; do
        install -D -m 0644 "$file" "$program/$file"
    done
done
for file in Makefile pyproject.toml README.md README.zh-CN.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE; do
    install -m 0644 "$file" "$program/$file"
done
# What an administrator has changed stays.
[ -e "$settings/config.yaml" ] || install -m 0644 deploy/config.yaml "$settings/config.yaml"
for unit in fitten-gateway.service fitten-gateway.socket; do
    install -m 0644 "deploy/$unit" "$units/$unit"
done

[ -z "$root" ] || exit 0

make -C "$program" PYTHON="${PYTHON:-python3}" install
# The service itself may not write there.
(cd "$program" && .venv/bin/python -m compileall -q gateway middlewares)
dropin=$units/fitten-gateway.service.d/notify-reload.conf
if [ "$(systemctl --version | awk 'NR == 1 { print $2 + 0 }')" -ge 253 ]; then
    install -D -m 0644 deploy/notify-reload.conf "$dropin"
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
  2. look at $settings/config.yaml
  3. systemctl enable --now fitten-gateway.socket fitten-gateway.service

After an update: systemctl restart fitten-gateway.service
TEXT
