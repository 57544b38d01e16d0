#!/usr/bin/env bash
# Tries packaging/swarm on a swarm of one node, with a real Docker engine: replicas take turns, the name of the backends
# is followed, and what is updated under load loses no request.
#
#   tests/swarm.sh
#
# Prints one line for each check, `ok` or `FAIL`, and exits 0 only if all are ok. Needs docker, curl, wrk, openssl and bash 5.
# What cannot be tried here is no failure, and says so. An engine that is in a swarm already is left alone. The swarm, its
# services and its images are removed at the end.
#
# Clients come in through an `edge`: one more ronde, outside of the stack, that follows the names of the stack's own as a
# balancer in front of several nodes would. For the mesh of published ports needs ip_vs in the kernel, which small
# machines do not have; and where it is there, the published port is asked as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/checks.sh

not_tried() {
    echo "the swarm was NOT tried: $1"
    exit 0
}
for program in docker curl wrk openssl; do
    command -v "$program" >/dev/null || not_tried "$program is missing"
done
docker info >/dev/null 2>&1 || not_tried "no Docker engine answers here"
[[ $(docker info -f '{{.Swarm.LocalNodeState}}') == inactive ]] || not_tried "this engine is in a swarm already"

stack=ronde$$
scratch=$(mktemp -d)
edge='' load=''
gateway=$(docker network ls -q --filter name=docker_gwbridge) # made by the swarm, if it is not there
export RONDE_PORT RONDE_TLS_PORT
RONDE_PORT=$(free_port) RONDE_TLS_PORT=$(free_port)

# ---- Helpers ---------------------------------------------------------------------------------------

state() {
    docker service ls
    docker service ps --no-trunc --format '{{.Name}} {{.Image}} {{.DesiredState}} {{.CurrentState}} {{.Error}}' \
        "${stack}_proxy" "${stack}_app"
    docker service logs --tail 20 "${stack}_proxy"
    [[ -z $edge ]] || docker logs "$edge" 2>&1 | grep -v ' 200 ' | tail -n 20
}
no_container() { [[ -z $(docker ps -aq --filter "label=com.docker.stack.namespace=$stack") ]]; }
clean_up() {
    local status=$?
    # A second Ctrl-C must not interrupt the clean-up, and neither must a closed standard output.
    trap - EXIT
    trap '' INT TERM HUP PIPE
    set +e
    [[ -z $load ]] || kill "$load"
    [[ -z $edge ]] || quietly docker rm -f "$edge"
    quietly docker stack rm "$stack"
    within 20 no_container
    quietly docker swarm leave --force
    [[ -n $gateway ]] || within 5 quietly docker network rm docker_gwbridge
    quietly docker rmi "$stack:1" "$stack:2" "$stack-app:1" "$stack-app:2"
    if ((failures > 0 || status > 0)); then
        echo "---- at the first failure"
        cat "$scratch/failed"
        echo "---- the last output of docker"
        tail -n 20 "$scratch/log"
    fi 2>/dev/null
    rm -rf "$scratch"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP PIPE

# deploy [-c FILE]: as an admin would, with images of this machine.
deploy() {
    quietly docker stack deploy --resolve-image never -c "$scratch/stack.yaml" -c "$scratch/test.yaml" "$@" "$stack"
}
replicas() { # SERVICE
    docker service ls --filter "name=${stack}_$1" --format '{{.Replicas}}' | cut -d' ' -f1
}
# runs PROXIES APPS: so many tasks run, and are healthy: a task runs only from then on.
runs() {
    detail="ronde $(replicas proxy), backends $(replicas app)"
    [[ $detail == "ronde $1/$1, backends $2/$2" ]]
}
update_is() { # SERVICE STATE
    [[ $(docker service inspect -f '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}' "${stack}_$1") == "$2" ]]
}
a_ronde() { docker ps -q --filter "name=${stack}_proxy" --filter health=healthy | head -n 1; }

# ---- The checks ------------------------------------------------------------------------------------

# turns N: of N requests, how many each backend had, whichever ronde they came through.
turns() {
    local i
    : >"$scratch/served"
    for ((i = 0; i < $1; i++)); do
        ask -o /dev/null -D - | tr -d '\r' | sed -n 's/^x-served-by: //Ip' >>"$scratch/served"
    done
    sort "$scratch/served" | uniq -c | awk '{ printf "%s%s", (NR > 1 ? " " : ""), $1 }'
}
backends_share() { # N SHARES
    detail="shares of $1: $(turns "$1")"
    [[ $detail == "shares of $1: $2" ]]
}
# Other clients take turns in between, so that the shares of these thirty are not even.
so_many_share() { # BACKENDS
    detail="shares of 30: $(turns 30)"
    [[ $(wc -w <<<"${detail#*: }") == "$1" ]]
}
becomes() { # COMMAND...
    within 20 "$@" && detail+=", $took ms after the command"
}
# Both replicas of ronde had the same share, as the edge sees it.
rondes_share() {
    detail=$(docker exec "$edge" /ronde status | awk '/tasks\.proxy/ { sub(/^> */, ""); printf "%s ", $6 }')
    local one two
    read -r one two <<<"$detail"
    detail="turns: $detail"
    [[ -n $two ]] && ((one > 0 && one - two <= 1 && two - one <= 1))
}
one_ronde_sees() { # BACKENDS
    detail=$(docker exec "$(a_ronde)" /ronde status | grep -c 'app\.:8000 .* in ') || true
    [[ $detail == "$1" ]]
}

# Some 400 requests a second by 16 clients. Neither ronde nor the backends are at their limits, and each of them is asked
# at every moment of an update.
start_load() {
    echo 'function delay() return 35 end' >"$scratch/pace.lua"
    wrk -t 1 -c 16 -d 120s --timeout 10s --latency -s "$scratch/pace.lua" "$url" >"$scratch/wrk" 2>&1 &
    load=$!
}
# Ends the load: how many requests there were, and whether each of them was answered with 200.
load_lost_nothing() {
    local requests slowest
    kill -INT "$load" && wait "$load"
    load=''
    requests=$(awk '/requests in/ { print $1 }' "$scratch/wrk")
    slowest=$(awk '/Latency  / { print $4 }' "$scratch/wrk")
    detail="$requests requests, the slowest took $slowest"
    if grep -E 'Non-2xx|Socket errors' "$scratch/wrk" >"$scratch/bad"; then
        detail+=", $(tr -s ' \n' ' ' <"$scratch/bad")"
        return 1
    fi
    ((requests > 500))
}
all_answers_are() { # TEXT
    local i
    for ((i = 0; i < 6; i++)); do
        detail=$(ask)
        [[ $detail == "$1" ]] || return 1
    done
}
all_rondes_are() { # REVISION
    local i
    for ((i = 0; i < 4; i++)); do
        detail=$(ask -o /dev/null -D - | tr -d '\r' | sed -n 's/^x-revision: //Ip')
        [[ $detail == "$1" ]] || return 1
    done
}
updated() { # SERVICE STATE COMMAND...
    within 60 update_is "$1" "$2" && within 10 "${@:3}" && detail="$detail, $took ms later"
}
update_backends() {
    local start
    start=$(milliseconds)
    export APP_IMAGE=$stack-app:2
    deploy && updated app completed all_answers_are 'Backend Python 2' || return 1
    detail="$(($(milliseconds) - start)) ms"
}
update_rondes() {
    local start
    start=$(milliseconds)
    sed -i '1i set-response-header = { X-Revision = "2" }' "$scratch/ronde.toml"
    export REVISION=2 RONDE_IMAGE=$stack:2
    deploy && updated proxy completed all_rondes_are 2 || return 1
    detail="$(($(milliseconds) - start)) ms"
}
mistake_is_rolled_back() {
    local start
    start=$(milliseconds)
    sed 's/^health-path/helth-path/' -i "$scratch/ronde.toml"
    export REVISION=3
    deploy && updated proxy rollback_completed all_rondes_are 2 || return 1
    detail="$(($(milliseconds) - start)) ms"
}
published_port_answers() {
    detail=$(curl -sS --noproxy '*' --max-time 5 "http://127.0.0.1:$RONDE_PORT/" 2>&1)
    [[ $detail == 'Backend Python 2' ]]
}
# With one ronde, on the ports of this node.
has_host_ports() {
    sed 's/^helth-path/health-path/' -i "$scratch/ronde.toml"
    export REVISION=4 RONDE_NODES=1
    deploy -c "$scratch/host-ports.yaml" && within 60 runs 1 3 && within 20 published_port_answers
}
published_tls_answers() {
    detail=$(curl -sS --noproxy '*' --max-time 5 --cacert "$scratch/certificate.pem" \
        --resolve "www.example.com:$RONDE_TLS_PORT:127.0.0.1" "https://www.example.com:$RONDE_TLS_PORT/" 2>&1)
    [[ $detail == 'Backend Python 2' ]]
}

# ---- The run -----------------------------------------------------------------------------------------

quietly docker build -t "$stack:1" .
quietly docker build -t "$stack-app:1" backend
# The next version of both: other images, and backends that say so.
printf 'FROM %s:1\nLABEL version=2\n' "$stack" | quietly docker build -t "$stack:2" -
printf 'FROM %s-app:1\nENV BACKEND_NUMBER=2\n' "$stack" | quietly docker build -t "$stack-app:2" -
export RONDE_IMAGE=$stack:1 APP_IMAGE=$stack-app:1

cp packaging/swarm/* "$scratch"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=www.example.com \
    -addext subjectAltName=DNS:www.example.com -addext basicConstraints=critical,CA:FALSE \
    -keyout "$scratch/key.pem" -out "$scratch/certificate.pem" 2>>"$scratch/log"
# For the edge, which is no service of the stack.
printf 'version: "3.8"\nnetworks: {public: {attachable: true}}\n' >"$scratch/test.yaml"

quietly docker swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1
echo "swarm.sh: engine $(docker version -f '{{.Server.Version}}'), images built in $((($(milliseconds) - begin) / 1000)) s"
deploy || { failures=1; echo "FAIL docker stack deploy"; exit 1; }
check "2 of ronde and 3 backends run and are healthy" within 60 runs 2 3

edge=$(docker run -d --network "${stack}_public" -p 127.0.0.1::8080 "$stack:1" --listen :8080 --admin 127.0.0.1:9180 \
    --resolve-interval 1s --connect-timeout 1s tasks.proxy.:8080)
url=http://$(docker port "$edge" 8080/tcp | head -n 1)/
check "the 3 backends take turns behind both" becomes backends_share 30 '10 10 10'
check "both take turns" rondes_share
check "ronde status in one of them shows 3 backends in the round" one_ronde_sees 3

start_load
quietly docker service scale --detach "${stack}_app=5"
check "docker service scale app=5: 5 take turns" becomes so_many_share 5
quietly docker service scale --detach "${stack}_app=2"
check "docker service scale app=2: 2 take turns" becomes so_many_share 2
check "no request was lost meanwhile" load_lost_nothing

start_load
check "the backends are updated, one by one" update_backends
check "no request was lost meanwhile" load_lost_nothing
start_load
check "ronde is updated, with a new image and new settings" update_rondes
check "no request was lost meanwhile" load_lost_nothing
start_load
check "a mistake in ronde.toml is rolled back" mistake_is_rolled_back
check "no request was lost meanwhile" load_lost_nothing

if [[ -e /proc/net/ip_vs ]]; then check "the published port answers" within 10 published_port_answers
else echo "     the published port was NOT tried: this kernel has no ip_vs, and so no routing mesh"; fi
check "host-ports.yaml: the port of the node answers" has_host_ports
check "with TLS, by the certificate of the secret" published_tls_answers

conclude
