#!/usr/bin/env bash
# A small real cluster on one Linux machine: a head without CPUs for tasks, and worker nodes, each
# with a Ray node's own processes, with token authentication. The dashboard listens on 127.0.0.1
# and nodes meet on loopback addresses. Some of Ray's own sockets still listen on every address; the
# token guards them.
#
#   cluster/local.sh up [workers] [cpus of each]   start it (1 worker with all CPUs)
#   cluster/local.sh submit [options] -- command   ray job submit, from the repository root
#   cluster/local.sh ray ...                       any ray command with the cluster's address and token
#   cluster/local.sh status                        nodes and resources
#   cluster/local.sh down                          stop it: its own processes and no others
#
# Settings: RAYPIPE_CLUSTER, where it keeps its state (build/cluster); RAYPIPE_PYTHON, whose ray is
# used (.venv/bin/python, or else python3).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${RAYPIPE_CLUSTER:-$root/build/cluster}
python=${RAYPIPE_PYTHON:-$root/.venv/bin/python}
[[ -x $python ]] || python=$(command -v python3)

# Ray takes 127.0.0.1 for "find a public address", but no other address of the loopback device.
head=127.0.0.2
tmp='' gcs='' RAY_ADDRESS='' # `enter` knows them

fail() {
    echo "cluster/local.sh: $1" >&2
    exit "${2:-1}"
}

ray() { "$python" -m ray.scripts.scripts "$@"; }

# Everything that talks to the cluster needs its token and its addresses.
enter() {
    [[ -f $state/env ]] || fail "no cluster is up (state in $state)" 2
    # shellcheck disable=SC1091
    source "$state/env"
}

free_ports() {
    "$python" - "$head" <<'PYTHON'
import socket, sys
sockets = [socket.create_server((sys.argv[1], 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

# A node in a session of its own, so that `down` can end all that it started.
start_node() {
    local name=$1
    shift
    PATH=$(dirname "$python"):$PATH RAYPIPE_CLUSTER_OF=$tmp setsid \
        "$python" -m ray.scripts.scripts start --block --disable-usage-stats \
        --dashboard-agent-listen-port=0 "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >>"$state/pids"
}

wait_for_nodes() {
    local wanted=$1 pid alive
    for _ in $(seq 120); do
        while read -r pid; do
            kill -0 "$pid" 2>/dev/null || { tail -n 20 "$state"/*.log >&2; return 1; }
        done <"$state/pids"
        if alive=$("$python" - 2>/dev/null <<'PYTHON'
from ray.util.state import list_nodes
print(sum(node.state == "ALIVE" for node in list_nodes()))
PYTHON
        ) && ((alive >= wanted)); then
            return
        fi
        sleep 1
    done
    tail -n 20 "$state"/*.log >&2
    return 1
}

up() {
    local workers=${1:-1} cpus=${2:-} ports
    [[ $workers =~ ^[1-9][0-9]*$ ]] || fail "up takes a number of workers, at least 1, got $workers" 2
    [[ $cpus =~ ^([1-9][0-9]*)?$ ]] || fail "up takes a number of CPUs, at least 1, got $cpus" 2
    [[ ! -e $state/env ]] || fail "a cluster is up already (state in $state); down stops it" 2
    "$python" -c "import ray" || fail "RAYPIPE_PYTHON must name a Python that has Ray, got $python" 2
    mkdir -p "$state"
    (umask 077 && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$state/token")
    read -r -a ports <<<"$(free_ports)"
    tmp=$(mktemp -d /tmp/raypipe.XXXXXX) # short: Ray puts sockets below, whose paths are limited
    printf 'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=%q RAY_ADDRESS=%s\ntmp=%s gcs=%s\n' \
        "$state/token" "http://127.0.0.1:${ports[1]}" "$tmp" "$head:${ports[0]}" >"$state/env"
    : >"$state/pids"
    enter
    trap down EXIT # whatever fails from here on leaves nothing behind
    start_node head --head --num-cpus=0 --node-ip-address="$head" --port="${ports[0]}" \
        --dashboard-host=127.0.0.1 --dashboard-port="${ports[1]}" \
        --ray-client-server-port="${ports[2]}" --temp-dir="$tmp"
    wait_for_nodes 1
    for ((i = 1; i <= workers; i++)); do
        start_node "worker$i" --address="$gcs" --node-ip-address="127.0.0.$((i + 2))" \
            ${cpus:+"--num-cpus=$cpus"}
        wait_for_nodes $((i + 1)) # two at once would share names in their directory, and hang
    done
    trap - EXIT
    echo "up: 1 head, $workers worker(s); dashboard at $RAY_ADDRESS (token in $state/token)"
}

# Processes of the cluster: those that carry its directory, whose name no other cluster has, and the
# rest of the sessions of its nodes (an agent that has renamed itself shows no environment).
members() {
    local process stat session mine
    local -A marked=() sessions=()
    for process in /proc/[0-9]*; do
        [[ -O $process ]] || continue
        stat=$(<"$process/stat") || continue
        read -r _ _ _ session _ <<<"${stat##*) }"
        sessions[${process#/proc/}]=$session
        if grep -qsF "$tmp" "$process/environ" "$process/cmdline"; then
            marked[${process#/proc/}]=$session
        fi
    done 2>/dev/null # processes come and go
    mine=${sessions[$$]}
    for process in "${!sessions[@]}"; do
        session=${sessions[$process]}
        if [[ $session == "$mine" ]]; then
            continue # whoever calls this, in whatever environment
        elif [[ -n ${marked[$process]:-} ]]; then
            echo "$process"
        elif [[ -n ${marked[$session]:-} ]] && grep -qx "$session" "$state/pids"; then
            echo "$process"
        fi
    done
}

down() {
    local signal pid pids
    enter
    pids=$(members)
    for signal in TERM KILL; do
        for pid in $pids; do
            kill "-$signal" "$pid" 2>/dev/null || true
        done
        for _ in $(seq 6); do # seconds are enough: a cluster keeps nothing
            pids=$(for pid in $pids; do [[ ! -e /proc/$pid ]] || echo "$pid"; done)
            [[ -n $pids ]] || break 2
            sleep 0.5
        done
    done
    pids=$(members)
    [[ -z $pids ]] || fail "still running: $pids"
    rm -rf "$tmp" "$state"/{env,pids,token}
    echo "down: nothing of the cluster is left (logs of its nodes are in $state)"
}

status() {
    enter
    ray status --address "$gcs"
}

submit() {
    enter
    cd "$root"
    ray job submit --working-dir . "$@"
}

command=${1:-}
shift || true
case $command in
    up | down | status | submit) "$command" "$@" ;;
    ray) enter && ray "$@" ;;
    *) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
