#!/bin/sh
# Entry point of the container: turns environment variables into flags for rqlited, and becomes it.
#
#   docker run rqlite/rqlite                              a node with the defaults below
#   docker run rqlite/rqlite -bootstrap-expect 3 -join …  the same, with these flags as well
#   docker run rqlite/rqlite rqlite -H db1                any other command, as given
#
# A flag that is given by hand wins over its variable.

set -e

extensions_home=${RQLITE_EXTENSIONS_HOME:-/opt/extensions}

# given NAME ARGS...: does one of ARGS set the flag -NAME (also as -NAME=value)?
given() {
    name=$1
    shift
    for word in "$@"; do
        case $word in "-$name"*) return 0 ;; esac
    done
    return 1
}

fail() {
    echo "$1" >&2
    exit 1
}

# The extension paths that SQLITE_EXTENSIONS (keys) and CUSTOM_SQLITE_EXTENSIONS_PATH stand for.
extension_paths() {
    paths=
    for key in $(echo "${SQLITE_EXTENSIONS:-}" | tr ',' ' '); do
        [ -f "$extensions_home/$key.zip" ] || fail "SQLite extension $key does not exist"
        paths=${paths:+$paths,}$extensions_home/$key.zip
    done
    if [ -n "${CUSTOM_SQLITE_EXTENSIONS_PATH:-}" ]; then
        paths=${paths:+$paths,}$CUSTOM_SQLITE_EXTENSIONS_PATH
    fi
    echo "$paths"
}

# advertised NAME ADDRESS IP PORT DEFAULT_PORT: NAME's address for others.  IP and PORT are the names of v6.
advertised() {
    if [ -n "$1" ]; then
        echo "$1"
    elif [ -n "$2" ] || [ -n "$3" ]; then
        echo "${2:-$(hostname -i | cut -d ' ' -f 1)}:${3:-$4}"
    else
        echo "$(hostname -f):$4"
    fi
}

case ${1:-run} in
run | rqlite) # v5 to v8 spelled it "rqlite"; with arguments that is the shell
    if [ "${1:-run}" = run ] || [ $# -eq 1 ]; then
        [ $# -eq 0 ] || shift
    else
        exec "$@"
    fi
    ;;
-*) ;;
*) exec "$@" ;;
esac

# On Kubernetes an answer of the headless service's DNS is cached for half a minute when it is asked too early.
if [ -n "${KUBERNETES_SERVICE_HOST:-}" ]; then
    START_DELAY=${START_DELAY:-5}
fi
if [ "${START_DELAY:-0}" != 0 ]; then
    sleep "$START_DELAY"
fi

if given extensions-path "$@"; then
    [ -z "${SQLITE_EXTENSIONS:-}" ] || fail "Setting both -extensions-path and SQLITE_EXTENSIONS is not allowed"
    [ -z "${CUSTOM_SQLITE_EXTENSIONS_PATH:-}" ] ||
        fail "Setting both -extensions-path and CUSTOM_SQLITE_EXTENSIONS_PATH is not allowed"
else
    extensions=$(extension_paths)
    [ -z "$extensions" ] || set -- "-extensions-path=$extensions" "$@"
fi
given http-addr "$@" || set -- "-http-addr=${HTTP_ADDR:-0.0.0.0:4001}" "$@"
given http-adv-addr "$@" ||
    set -- "-http-adv-addr=$(advertised "${HTTP_ADV_ADDR:-}" "${HTTP_ADV_ADDR_IP:-}" "${HTTP_ADV_ADDR_PORT:-}" 4001)" "$@"
given raft-addr "$@" || set -- "-raft-addr=${RAFT_ADDR:-0.0.0.0:4002}" "$@"
given raft-adv-addr "$@" ||
    set -- "-raft-adv-addr=$(advertised "${RAFT_ADV_ADDR:-}" "${RAFT_ADV_ADDR_IP:-}" "${RAFT_ADV_ADDR_PORT:-}" 4002)" "$@"
given node-id "$@" || set -- "-node-id=${NODE_ID:-$(hostname)}" "$@"
given fk "$@" || [ -z "${ENABLE_FK:-}" ] || set -- -fk "$@"

exec rqlited "$@" "${DATA_DIR:-/rqlite/file/data}"
