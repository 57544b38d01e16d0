#!/usr/bin/env bash
# Tests everything that the README promises about the compose demo, on a real Docker engine.
#
#   tests/compose/demo.sh
#
# Prints one line for each check, `ok` or `FAIL`, and exits 0 only if all are ok. Needs docker, Compose (v2, or
# docker-compose 1.27 and later), curl and bash 5. It uses a Compose project of its own beside other containers on the
# engine, on a free port (or on RONDE_PORT), and leaves only cached build layers.
#
# Every wait polls its condition until a deadline; no check relies on a fixed sleep.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/checks.sh

if docker compose version >/dev/null 2>&1; then compose_command=(docker compose)
elif command -v docker-compose >/dev/null; then compose_command=(docker-compose)
else echo "demo.sh: neither 'docker compose' nor 'docker-compose' is here" >&2; exit 2; fi
docker info >/dev/null 2>&1 || { echo "demo.sh: no Docker engine answers" >&2; exit 2; }

project=ronde-demo-$$
scratch=$(mktemp -d)
placeholders=()       # containers that this script starts itself, outside of Compose
foreground='' loop='' # background processes of this script

export RONDE_PORT=${RONDE_PORT:-$(free_port)}
url=http://localhost:$RONDE_PORT/

# ---- Helpers ---------------------------------------------------------------------------------------

compose() { "${compose_command[@]}" -p "$project" "$@"; }
state() { compose logs --no-color --tail 30; }
facts() { docker inspect -f "$1" "$2"; }

# The containers of a service, by the labels that both versions of Compose set; with -a also the stopped ones.
containers() {
    docker ps -q --no-trunc "${@:2}" --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.service=$1"
}

clean_up() {
    local status=$? process
    # A second Ctrl-C must not interrupt the clean-up, and neither must a closed standard output.
    trap - EXIT
    trap '' INT TERM HUP PIPE
    set +e
    for process in $loop ${foreground:+-$foreground}; do kill -- "$process" 2>/dev/null; done
    ((${#placeholders[@]} == 0)) || quietly docker rm -f "${placeholders[@]}"
    cp "$scratch/log" "$scratch/tail" 2>/dev/null
    quietly compose down --rmi local --volumes --remove-orphans --timeout 2
    if ((failures > 0 || status > 0)); then
        echo "---- output of the services up to the first failure"
        cat "$scratch/failed"
        echo "---- last output of Compose"
        tail -n 40 "$scratch/tail"
    fi 2>/dev/null
    rm -rf "$scratch"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP PIPE

# ---- The checks ------------------------------------------------------------------------------------

is_answer() { [[ $1 =~ ^"Backend Python "[12]$ ]]; }
answers() { detail=$(ask) && is_answer "$detail"; }

# Two responses in a row from two backends: both are in the round.
both_answer() {
    local one two
    one=$(ask) && two=$(ask) || return 1
    detail="$one, $two"
    is_answer "$one" && is_answer "$two" && [[ $one != "$two" ]]
}

# strict_turn N [COMMAND...]: N responses, never the same twice in a row. The command runs between them.
strict_turn() {
    local i count=$1 before='' answer
    shift
    for ((i = 1; i <= count; i++)); do
        answer=$(ask) || { detail="answer $i: $answer"; return 1; }
        is_answer "$answer" || { detail="answer $i is '$answer'"; return 1; }
        [[ $answer != "$before" ]] || { detail="answer $i is '$answer' again"; return 1; }
        before=$answer
        "$@" || { detail="after answer $i: $detail"; return 1; }
    done
    detail="$count answers"
}

# A browser gets a page in one turn, and the page keeps it from requesting an icon, which would take the next turn.
browser_page() {
    local before page after
    before=$(ask) && page=$(ask -H 'Accept: text/html,*/*;q=0.8') && after=$(ask) || return 1
    detail="around it: $before, $after"
    [[ $page == *'<link rel="icon" href="data:,">'* && $page == *'Backend Python'* ]] && is_answer "$before" \
        && [[ $before == "$after" && $page != *"<title>$before</title>"* ]]
}

config_is_clean() { detail=$(compose config --quiet 2>&1) && [[ -z $detail ]]; }

answers_or_never_will() {
    answers || process_ended "$foreground" || [[ -n $(containers proxy -a --filter status=exited) ]]
}
first_response() {
    # A first build downloads and compiles the dependencies. A failed build or a stopped proxy ends the wait.
    within "${RONDE_DEMO_BUILD_SECONDS:-900}" answers_or_never_will || return 1
    is_answer "$detail" && detail="$detail, $took ms after the command, build included"
}

process_ended() { ! kill -0 "$1" 2>/dev/null; }

# all_ended_well: every container of the project exited by itself with 0, and none was killed.
all_ended_well() {
    local id codes=''
    for id in $(docker ps -aq --filter "label=com.docker.compose.project=$project"); do
        codes+=$(facts '{{.Name}} {{.State.Status}} {{.State.ExitCode}}' "$id")$'\n'
    done
    detail=$(grep -v ' exited 0$' <<<"${codes%$'\n'}") || detail=''
    [[ -n $codes && -z $detail ]]
}

ctrl_c_ends_all() {
    local id
    id=$(containers proxy)
    kill -INT -- "-$foreground" # like a terminal: to the whole process group
    within 20 process_ended "$foreground" || { detail='still running after 20 s'; return 1; }
    [[ -n $id ]] || { detail='the proxy had stopped before'; return 1; }
    all_ended_well || { detail="$took ms, but: $detail"; return 1; }
    detail="$took ms, with Compose's own time"
    ((took < 4000))
}

# Without backends the proxy responds with 503 and the reason, and its health check fails with the reason.
says_no_backend() {
    local status
    status=$(ask -o "$scratch/body" -w '%{http_code}') || return 1
    detail="$status: $(head -c 100 "$scratch/body" | tr '\n' ' ')"
    [[ $status == 503 ]]
}
unhealthy_with_reason() {
    local code=0
    [[ -n $(containers proxy) ]] || return 1
    detail=$(docker exec "$(containers proxy)" /ronde health 2>&1) || code=$?
    [[ $code == 1 && -n $detail ]]
}
follows_its_backends() {
    quietly compose up -d backend1 backend2 || return 1
    within 10 both_answer || return 1
    detail="$took ms after they started"
}

proxy_is_healthy() { detail=$(docker exec "$(containers proxy)" /ronde health 2>&1); }
all_healthy() {
    local id
    detail=''
    for id in $(containers proxy) $(containers backend1) $(containers backend2); do
        detail+=$(facts '{{.State.Health.Status}} ' "$id")
    done
    [[ $detail == 'healthy healthy healthy ' ]]
}
becomes_healthy() { within 30 all_healthy; }

# The health check of an image sees no argument of its container.
is_healthy() { [[ $(facts '{{.State.Health.Status}}' "$1") == healthy ]]; }
health_follows_arguments() {
    placeholders+=("$(docker run -d --init --label com.docker.compose.project= "$image" --listen :9000 127.0.0.1:1)")
    within 20 is_healthy "${placeholders[-1]}" || { detail=$(docker exec "${placeholders[-1]}" /ronde health 2>&1); return 1; }
    detail="$took ms"
}

image_holds_one_file() {
    detail=$(docker export "$(containers proxy)" | tar -t | grep -vE '^(\.dockerenv|dev/|etc/|proc/|sys/)' | tr '\n' ' ')
    # The filtered paths are mount points that Docker creates in every container.
    [[ $detail == 'ronde ' ]] && [[ $(docker image inspect -f '{{len .RootFS.Layers}}' "$image") == 1 ]]
}
image_is_small() {
    local bytes
    bytes=$(docker image inspect -f '{{.Size}}' "$image")
    detail="$((bytes / 1000)) kB"
    ((bytes > 0 && bytes < 6000000))
}
no_shell() {
    local said
    said=$(docker exec "$(containers proxy)" /bin/sh -c : 2>&1) && return 1
    [[ $said == *'no such file'* ]]
}
user_is_a_number() {
    detail=$(docker image inspect -f '{{.Config.User}}' "$image")
    [[ $detail =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ ]]
}
locked_down() {
    local id
    [[ -n $(containers proxy) && -n $(containers backend1) && -n $(containers backend2) ]] || return 1
    for id in $(containers proxy) $(containers backend1) $(containers backend2); do
        detail=$(facts '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.Privileged}} {{.HostConfig.SecurityOpt}}' "$id")
        [[ $detail == 'true [ALL] [] false [no-new-privileges:true]' ]] || return 1
    done
}
# The kernel's view of the process: no root, no capability, and no way to get either.
kernel_agrees() {
    local status
    [[ -n $(containers proxy) ]] || return 1
    status=/proc/$(facts '{{.State.Pid}}' "$(containers proxy)")/status
    [[ -r $status ]] || { detail='not visible from here'; return 0; }
    detail=$(awk '/^(Uid|CapEff|CapBnd|NoNewPrivs):/ { printf "%s%s ", $1, $2 }' "$status")
    [[ $detail =~ ^Uid:[1-9][0-9]*\ CapEff:0+\ CapBnd:0+\ NoNewPrivs:1\ $ ]]
}
config_mount_is_read_only() {
    detail=$(facts '{{range .Mounts}}{{.Destination}} {{.RW}} {{end}}' "$(containers proxy)")
    [[ $detail == '/etc/ronde/ronde.toml false ' ]]
}

# A loop of curls in the background, one line for each: status, seconds, error or body.
start_loop() {
    : >"$scratch/loop"
    rm -f "$scratch/stop"
    (
        while [[ ! -e $scratch/stop ]]; do
            line=$(curl -sS --noproxy '*' --max-time 5 -w '%{http_code} %{time_total}' -o "$scratch/loop.body" "$url" 2>&1) || line="000 $line"
            echo "$line $(<"$scratch/loop.body")" >>"$scratch/loop"
            : >"$scratch/loop.body"
        done
    ) &
    loop=$!
}
# loop_saw PATTERN COUNT: of the last 12 lines of the loop, COUNT match the pattern.
mark=0
loop_saw() {
    local lines
    (($(wc -l <"$scratch/loop") >= mark + 12)) || return 1
    lines=$(tail -n 12 "$scratch/loop" | grep -c -- "$1") || true
    [[ $lines == "$2" ]]
}
loop_sees() { # SECONDS PATTERN COUNT
    mark=$(wc -l <"$scratch/loop")
    if within "$1" loop_saw "$2" "$3"; then
        detail="$took ms"
    else
        detail="last: $(tail -n 12 "$scratch/loop" | cut -c1-60 | tr '\n' ';')"
        return 1
    fi
}
loop_had_no_error() {
    local count bad slowest
    : >"$scratch/stop"
    wait "$loop" || true
    loop=''
    count=$(wc -l <"$scratch/loop")
    bad=$(grep -vcE '^200 [0-9.,]+ Backend Python [12]$' "$scratch/loop") || true
    slowest=$(awk '{ if ($2 > most) most = $2 } END { printf "%.0f", most * 1000 }' "$scratch/loop")
    detail="$count requests, $bad errors, the slowest took $slowest ms"
    ((bad == 0)) || detail+="; first: $(grep -m 1 -vE '^200 [0-9.,]+ Backend Python [12]$' "$scratch/loop")"
    ((count >= 20 && bad == 0 && slowest < 2000))
}

# even_round SHARES: twelve responses, and the number of them that each container gave.
even_round() {
    local i
    : >"$scratch/served"
    for ((i = 0; i < 12; i++)); do
        ask -o /dev/null -D - | tr -d '\r' | sed -n 's/^x-served-by: //Ip' >>"$scratch/served"
    done
    detail=$(sort "$scratch/served" | uniq -c | awk '{ printf "%s ", $1 }')
    [[ $detail == "$1" ]]
}
becomes_even() { # SHARES
    within 10 even_round "$1" && detail="shares of 12: $detail$took ms after the start"
}

address() { facts '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }
# Recreates backend1 while placeholders take its old address, so that it must get a new one.
follows_new_address() {
    local old new='' network image i
    old=$(address "$(containers backend1)")
    image=$(facts '{{.Image}}' "$(containers backend1)")
    # shellcheck disable=SC2016 # the variables belong to the template
    network=$(facts '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$(containers backend1)")
    quietly compose rm --stop --force backend1 || return 1
    for ((i = 0; i < 8; i++)); do
        # Compose v2 labels its images, and a container inherits the label: without an empty one Compose would adopt it.
        placeholders+=("$(docker run -d --label com.docker.compose.project= --network "$network" --entrypoint sleep "$image" 600)")
        [[ $(address "${placeholders[-1]}") != "$old" ]] || break
    done
    quietly compose up -d --no-deps backend1 || return 1
    new=$(address "$(containers backend1)")
    [[ $new != "$old" ]] || { detail="could not get another address than $old"; return 1; }
    within 10 both_answer || return 1
    detail="$old became $new, $took ms after the start"
}

stops_at_once() {
    local id start after
    id=$(containers proxy)
    # One client stays connected: it has its response and is idle.
    exec 3<>"/dev/tcp/localhost/$RONDE_PORT"
    printf 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3
    IFS= read -r -t 5 -u 3 detail || return 1
    start=$(milliseconds)
    docker stop "$id" >/dev/null || return 1
    after=$(($(milliseconds) - start))
    exec 3>&-
    detail="$after ms, exit code $(facts '{{.State.ExitCode}}' "$id")"
    ((after < 2000)) && [[ $(facts '{{.State.ExitCode}}' "$id") == 0 ]]
}
down_at_once() {
    local start after
    quietly compose up -d || return 1
    within 15 answers || return 1
    start=$(milliseconds)
    quietly compose down || return 1
    after=$(($(milliseconds) - start))
    detail="$after ms, with Compose's own time"
    [[ -z $(docker ps -aq --filter "label=com.docker.compose.project=$project") ]] && ((after < 6000))
}

# ---- The run, in the order of a walk through the README ---------------------------------------------

echo "demo.sh: $("${compose_command[@]}" version --short), engine $(docker version -f '{{.Server.Version}}'), $url"

for file in ronde.toml backend/server.py; do
    # The containers run as other users. After a clone with a strict umask they cannot read the files.
    [[ -n $(find "$file" -perm -o=r) ]] || echo "demo.sh: $file is not readable for other users: chmod o+r $file" >&2
done
check "compose.yaml is valid, without a warning" config_is_clean

# Like a command in the foreground of a terminal. Without `set -m` bash makes the command ignore Ctrl-C.
set -m
compose up --build >>"$scratch/log" 2>&1 &
foreground=$!
set +m
check "up --build: the first response" first_response
check "both backends respond" within 15 both_answer
check "they take strict turns" strict_turn 20
check "a browser gets a page, in one turn" browser_page
check "Ctrl-C stops everything at once, with exit code 0" ctrl_c_ends_all
foreground=''
quietly compose down || true

quietly compose up -d --no-deps proxy || true
check "without backends the proxy responds with 503 and the reason" within 5 says_no_backend
check "its health check fails with a reason" unhealthy_with_reason
check "the proxy serves as soon as its backends start" follows_its_backends

image=$(facts '{{.Image}}' "$(containers proxy)") || image=none
check "the image holds one file, in one layer" image_holds_one_file
check "the image is smaller than 6 MB" image_is_small
check "the image has no shell" no_shell
check "the user of the image is a number, not root" user_is_a_number
check "docker run IMAGE --listen :9000 becomes healthy" health_follows_arguments
check "read-only, no capability, no new privileges: all three services" locked_down
check "the kernel confirms it" kernel_agrees
check "the settings are mounted read-only" config_mount_is_read_only

check "all three become healthy" becomes_healthy
check "ronde health confirms it" proxy_is_healthy
check "a health check takes no backend's turn" strict_turn 12 proxy_is_healthy

start_loop
check "stop backend1: a loop of curls goes on with backend2" eval 'quietly compose stop backend1 && loop_sees 15 "Python 2" 12'
check "start backend1: it takes its turns again" eval 'quietly compose start backend1 && loop_sees 15 "Python 1" 6'
check "no request failed meanwhile" loop_had_no_error

start_loop
check "up --scale backend2=3: four backends in the round" eval 'quietly compose up -d --scale backend2=3 && loop_sees 10 "Python 1" 3'
check "up --scale backend2=1: two backends again" eval 'quietly compose up -d --scale backend2=1 && loop_sees 10 "Python 1" 6'
check "no request failed meanwhile" loop_had_no_error
quietly compose up -d --scale backend2=3 || true
check "all four have the same share" becomes_even '3 3 3 3 '
quietly compose up -d --scale backend2=1 || true
check "back to two" becomes_even '6 6 '

check "the proxy follows backend1 to a new address" follows_new_address
check "both take strict turns" strict_turn 12
quietly docker rm -f "${placeholders[@]}" || true
placeholders=()

check "the proxy stops at once, with an idle client connected" stops_at_once
check "down stops everything and leaves no container" down_at_once

conclude
