#!/bin/bash
# Run by systemd inside the machine that run.sh boots: what can only be seen with systemd as first
# process. Patient, since everything there is ten times slower than elsewhere.
exec > /dev/ttyS0 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
unit=fitten-gateway.service
settings=/etc/fitten-gateway/config.yaml
state=/var/lib/private/fitten-gateway
admin=/run/fitten-gateway/admin.sock

check() { if eval "$2"; then echo "ok   $1"; else echo "FAIL $1"; fi; }
until_true() { for _ in $(seq 90); do eval "$1" && return 0; sleep 1; done; return 1; }
main() { systemctl show -p MainPID --value $unit; }
status() { systemctl show -p StatusText --value $unit; }
ask() { # key, text, stream -> the status; the answer is in /tmp/answer
    curl -s -m 120 -o /tmp/answer -w '%{http_code}' http://127.0.0.1:5000/v1/chat/completions \
        -H "Authorization: Bearer ${1:-the-gateway-key-123}" -H 'Content-Type: application/json' \
        -d "{\"messages\":[{\"role\":\"user\",\"content\":\"${2:-hello}\"}],\"stream\":${3:-false}}"
}
always() { for _ in $(seq 8); do [ "$(ask "$2")" = "$1" ] || return 1; done; } # status, key
cli() { timeout 120 /usr/local/bin/fitten-gateway "$@"; }
new_key() { cli keys add "$1" --json > "/root/$1.json" && key "$1" > /dev/null; }
key() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["key"])' "/root/$1.json"; }
admin() { # key, port -> the status
    curl -s -m 60 -o /tmp/answer -w '%{http_code}' http://127.0.0.1:${2:-5001}/admin/api/v1/health \
        -H "Authorization: Bearer $1"
}
only_owner() { # of a folder and all in it: one owner, who is not root, and nobody else's rights
    [ "$(find "$1" -printf '%u\n' | sort -u | wc -l)" = 1 ] && [ "$(stat -c %u "$1")" -ge 61184 ] &&
        ! find "$1" ! -type l -perm /077 | grep -q .
}
load() { python3 /root/load.py "$1" & loading=$!; }
restarted() { [ "$(main)" != 0 ] && [ "$(main)" != "$1" ] && systemctl is-active -q $unit && [ "$(ask)" = 200 ]; }

cat > /root/load.py <<'PYTHON'
"""Four callers without pause; exit status 1 unless every answer was 200."""
import collections, json, sys, threading, time, urllib.request

seen, over = collections.Counter(), time.monotonic() + float(sys.argv[1])
head = {"Authorization": "Bearer the-gateway-key-123", "Content-Type": "application/json"}
body = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()

def call():
    while time.monotonic() < over:
        request = urllib.request.Request("http://127.0.0.1:5000/v1/chat/completions", body, head)
        try:
            seen[urllib.request.urlopen(request, timeout=60).status] += 1
        except Exception as error:
            seen[repr(error)] += 1

threads = [threading.Thread(target=call) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("    ", dict(seen))
sys.exit(set(seen) != {200})
PYTHON

echo "== $(systemctl --version | head -1)"
check "active after the boot" 'until_true "systemctl is-active -q $unit"'
check "the status line is there" 'status | grep -q "1 of 1 accounts healthy"'
check "a chat is answered" '[ "$(ask)" = 200 ]'
check "a wrong key is not" '[ "$(ask wrong-key)" = 401 ]'

echo "== confinement"
pid=$(main)
check "a user of its own" '[ "$(stat -c %u /proc/$pid)" -ge 61184 ]'
check "no capabilities" 'grep -q "CapEff:.0000000000000000" /proc/$pid/status'
check "system calls are filtered" 'grep -q "Seccomp:.2" /proc/$pid/status'
check "no secret in the environment" '! tr "\0" "\n" < /proc/$pid/environ | grep -q "horse\|the-gateway-key"'
check "tokens are nobody else's" '[ "$(stat -c %a /var/lib/private/fitten-gateway/fitten.json)" = 600 ]'
check "exposure below 1.2" 'systemd-analyze security --no-pager --threshold=12 $unit > /dev/null'

echo "== store and admin API"
check "the store is in the state folder" '[ -s $state/team.db ] && only_owner $state'
check "the admin socket is in the runtime directory" '[ -S $admin ] && only_owner ${admin%/*}'
check "no second port is open" '[ "$(admin nobody)" = 000 ]'
check "root makes a key while it runs" 'new_key alice && [ "$(ask "$(key alice)")" = 200 ]'
check "the audit has root" 'cli audit | grep -q local:root'
check "another user is refused" \
    '! setpriv --reuid=65534 --clear-groups /usr/local/bin/fitten-gateway keys list 2> /tmp/answer && grep -q "Run this as root" /tmp/answer'
check "a blocked key is refused at once" 'cli keys block alice > /dev/null && [ "$(ask "$(key alice)")" = 403 ]'
systemctl stop fitten-gateway.socket $unit
check "root makes a key while it is stopped" 'new_key bob'
check "and unblocks one" 'cli keys unblock alice > /dev/null'
check "and files keep their owner, also when read" '{ cli usage && cli db verify; } > /dev/null && only_owner $state'
systemctl start fitten-gateway.socket $unit
check "both work after the start" '[ "$(ask "$(key alice)")" = 200 ] && [ "$(ask "$(key bob)")" = 200 ]'
check "and are in the usage" 'sleep 3; cli usage --by key | grep -q bob && cli requests --key bob | grep -q bob'
check "the database is whole" 'cli db verify > /dev/null'
check "and is backed up" '(umask 077; cli db backup --to /root/team.db > /dev/null) && [ -s /root/team.db ]'
cli admin-keys add dana --role admin --json > /root/dana.json
sed -i 's/^# admin: /admin: /' $settings
check "a reload opens the second port" 'systemctl reload $unit && until_true "[ \$(admin \$(key dana)) = 200 ]"'
check "which wants an admin key" '[ "$(admin "$(key bob)")" = 401 ]'
check "the first has none of its routes" \
    '[ "$(admin the-gateway-key-123 5000)" = 404 ] && [ "$(admin "$(key dana)" 5000)" = 401 ]'

echo "== reload"
pid=$(main)
check "succeeds" 'systemctl reload $unit'
check "in the same process" '[ "$(main)" = "$pid" ] && [ "$(ask)" = 200 ]'
cp $settings /root/good.yaml
echo "nonsense: 1" >> $settings
check "of a bad file fails" '! systemctl reload $unit 2> /dev/null'
kill -HUP "$pid"
check "the status names the bad line" 'until_true "status | grep -q config.yaml:"'
check "and all is as before" '[ "$(main)" = "$pid" ] && [ "$(ask)" = 200 ]'
cp /root/good.yaml $settings

echo "== under load"
load 60; for _ in 1 2 3 4 5; do sleep 3; systemctl restart $unit; done
check "five restarts lose no request" 'wait $loading'
load 20; for _ in $(seq 10); do sleep 0.4; systemctl reload $unit; done
check "ten reloads lose no request" 'wait $loading'

echo "== ends"
pid=$(main); kill -9 "$pid"
check "a killed process is replaced" 'until_true "restarted $pid"'
ask the-gateway-key-123 "[[endless]]" true > /tmp/code & stream=$!
sleep 3; began=$(date +%s)
systemctl stop fitten-gateway.socket $unit; wait $stream
check "a stream without end is told after the drain time" \
    'grep -q draining /tmp/answer && ! grep -q DONE /tmp/answer && [ $(($(date +%s) - began)) -le 40 ]'
check "and that is a success" '[ "$(systemctl show -p Result --value $unit)" = success ]'
mkdir -p /run/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=10\n' > /run/systemd/system/$unit.d/watchdog.conf
systemctl daemon-reload; systemctl start fitten-gateway.socket $unit
pid=$(main); kill -STOP "$pid"
check "the watchdog replaces a process that hangs" 'until_true "restarted $pid"'

echo "== workers"
sed -i 's/server: {/server: {workers: 3, /' $settings
systemctl restart $unit
check "three serve" 'until_true "status | grep -q \"3 of 3 workers\"" && [ "$(ask)" = 200 ]'
check "a key made now works in each" 'new_key carol && always 200 "$(key carol)"'
check "a key blocked now works in none" 'cli keys block carol > /dev/null && always 403 "$(key carol)"'
kill -9 "$(pgrep -f gateway.workers.worker | head -1)"
check "a killed one is replaced" 'sleep 3; until_true "status | grep -q \"3 of 3 workers\""'
check "a reload reaches all" 'systemctl reload $unit && [ "$(ask)" = 200 ]'
load 60; for _ in 1 2 3; do sleep 4; systemctl restart $unit; done
check "three restarts lose no request" 'wait $loading'
group=/sys/fs/cgroup$(systemctl show -p ControlGroup --value $unit)
check "memory stayed below MemoryHigh" 'grep -qx "high 0" $group/memory.events'
echo "     peak of this start: $(($(cat "$group/memory.peak") >> 20)) MiB"
pid=$(main); kill -9 "$pid"
check "a killed parent is replaced" 'until_true "restarted $pid" && [ "$(pgrep -cf gateway.workers.worker)" = 3 ]'
systemctl stop fitten-gateway.socket $unit
check "a stop leaves nobody" '! pgrep -f gateway.workers.worker'
check "and no socket" '[ ! -e ${admin%/*} ]'
check "all files are still the service's own" 'cli db verify > /dev/null && only_owner $state'

echo "== journal"
check "holds no secret" '! journalctl --no-pager -u $unit | grep -q "horse\|the-gateway-key\|fga\?-[a-z2-7]\{12\}-"'
check "holds no traceback" '! journalctl --no-pager -u $unit | grep -q Traceback'
journalctl --no-pager -u $unit -o cat | grep '"level":"error"' | cut -c1-200
echo "== end"
poweroff
