#!/bin/sh
# The gateway's command line with the configuration and the credentials of the service
# fitten-gateway. A --config of your own, and all other arguments, are passed on.
program=/opt/fitten-gateway
settings=/etc/fitten-gateway
export PYTHONPATH="$program${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1

case ${1:-} in
check | serve | doctor | usage | requests | db | keys | teams | admin-keys | grant | audit | \
    accounts | live | status)
    order=$1
    shift
    own=
    for argument; do
        case $argument in --c | --co | --con | --conf*) own=yes ;; esac
    done
    if [ -z "$own" ]; then
        # At the end: what is done with keys and teams stands between.
        set -- "$@" --config "$settings/config.yaml"
        if [ -z "${CREDENTIALS_DIRECTORY:-}" ]; then
            if [ -r "$settings/credentials" ]; then
                export CREDENTIALS_DIRECTORY="$settings/credentials"
            elif [ "$order" = check ]; then
                echo "Only root can read the credentials: checking without secrets." >&2
                set -- --without-secrets "$@"
            fi
        fi
    fi
    elsewhere=${FITTEN_GATEWAY_ADMIN_URL:-}
    for argument; do
        case $argument in --url*) elsewhere=yes ;; esac
    done
    case $order in
    keys | teams | admin-keys | grant | audit | accounts | live | status)
        # Else a new store would be made in the current folder, which no gateway uses.
        if [ -z "$own$elsewhere" ]; then
            # -L: other users than root cannot see what the link of DynamicUser= leads to.
            if [ ! -e "/var/lib/fitten-gateway" ] && [ ! -L "/var/lib/fitten-gateway" ]; then
                echo "The service has no state yet. Start it once, then try again." >&2
                exit 1
            fi
            export STATE_DIRECTORY="${STATE_DIRECTORY:-/var/lib/fitten-gateway}"
            export RUNTIME_DIRECTORY="${RUNTIME_DIRECTORY:-/run/fitten-gateway}"
        fi
        ;;
    *)
        if [ -w "/var/lib/fitten-gateway" ]; then
            export STATE_DIRECTORY="${STATE_DIRECTORY:-/var/lib/fitten-gateway}"
        fi
        ;;
    esac
    set -- "$order" "$@"
    ;;
esac
# -P: a folder `gateway` in the current one is not the program.
exec "$program/.venv/bin/python" -P -m gateway "$@"
