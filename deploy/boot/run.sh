#!/bin/sh
# Install the service into a Debian of its own, boot that with systemd as first process in an
# emulated machine, and have checks.sh look at it there. As root, from a checkout: make boot-test.
# Needs debootstrap, qemu-system-x86, e2fsprogs and about 3 GB; takes ten minutes without KVM,
# which is not used, so that it runs everywhere. Exit status 1 when a check fails.
set -eu
cd "$(dirname "$0")/../.."

suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
folder=$(mktemp -d "${TMPDIR:-/var/tmp}/gateway-boot.XXXXXX")
trap 'rm -rf "$folder"' EXIT
root=$folder/root

packages=systemd,systemd-sysv,dbus,python3,python3-venv,make,curl,procps
packages=$packages,linux-image-cloud-amd64,initramfs-tools
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" \
    > "$folder/debootstrap.log" || { tail "$folder/debootstrap.log" >&2; exit 1; }
python=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# What the installer fetches, fetched here: the Debian inside has no network.
"${PIP:-pip}" download --quiet --require-hashes --only-binary=:all: --python-version "$python" \
    --dest "$root/root/wheels" --requirement requirements/runtime.txt
mkdir "$root/root/source"
git archive HEAD | tar x -C "$root/root/source"
chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels \
    make -C /root/source install-service > "$folder/install.log"

printf demo_user > "$root/etc/fitten-gateway/credentials/fitten-username"
printf 'correct horse' > "$root/etc/fitten-gateway/credentials/fitten-password"
printf the-gateway-key-123 > "$root/etc/fitten-gateway/credentials/gateway-key"
chmod 0600 "$root"/etc/fitten-gateway/credentials/*
emulator=http://127.0.0.1:7777
sed -i "s|^fitten:|fitten:\n  base_url: $emulator\n  models_url: $emulator|
        s/_per_minute: [0-9]*/_per_minute: 100000/; s/concurrency: [0-9]*/concurrency: 1000/" "$root/etc/fitten-gateway/config.yaml"
cp deploy/boot/checks.sh "$root/root/checks.sh"
cat > "$root/etc/systemd/system/emulator.service" <<UNIT
[Service]
WorkingDirectory=/opt/fitten-gateway
ExecStart=/opt/fitten-gateway/.venv/bin/python -m emulator --port 7777 --account "demo_user:correct horse"
[Install]
WantedBy=multi-user.target
UNIT
cat > "$root/etc/systemd/system/checks.service" <<UNIT
[Unit]
After=emulator.service
[Service]
ExecStart=/bin/bash /root/checks.sh
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl --quiet mask serial-getty@ttyS0.service  # the console is the checks'
chroot "$root" systemctl --quiet enable emulator checks fitten-gateway.socket fitten-gateway.service
echo '/dev/vda / ext4 rw 0 1' > "$root/etc/fstab"
cp "$root"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$root"/boot/initrd.img-* "$folder/initrd"
rm -rf "$root/root/wheels" "$root/root/source" "$root"/var/cache/apt/archives/*.deb
mke2fs -q -t ext4 -d "$root" "$folder/disk" 1400M

timeout 1800 qemu-system-x86_64 -m 1500 -smp 2 -accel tcg,thread=multi -cpu max \
    -kernel "$folder/vmlinuz" -initrd "$folder/initrd" \
    -append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0" \
    -drive "file=$folder/disk,format=raw,if=virtio" -nographic -no-reboot < /dev/null |
    sed -un '/== /,$p' | tee "$folder/console"
grep -q '^== end' "$folder/console" && ! grep -q '^FAIL' "$folder/console"
