# shellcheck shell=bash
# One line for each check, and waits that end: what tests/swarm.sh and tests/compose/demo.sh source.
#
# The script has a directory `scratch`, a `url` to ask, and a function `state` that prints what may explain a failure.

milliseconds() { echo $((${EPOCHREALTIME//[!0-9]/} / 1000)); }
failures=0 begin=$(milliseconds)

free_port() {
    local port
    for ((;;)); do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
quietly() { "$@" >>"$scratch/log" 2>&1; }
ask() { curl -sS --noproxy '*' --max-time 5 "$@" "$url" 2>&1; }

# within SECONDS COMMAND...: repeats the command until it succeeds or the time is over; sets `took` to milliseconds.
within() {
    local start deadline
    start=$(milliseconds) deadline=$(($(milliseconds) + $1 * 1000))
    shift
    until "$@"; do
        took=$(($(milliseconds) - start))
        (($(milliseconds) < deadline)) || return 1
        sleep 0.1
    done
    took=$(($(milliseconds) - start))
}

# check WHAT COMMAND...: prints one line. The command can add to it by setting `detail`.
check() {
    local what=$1
    shift
    detail=''
    if "$@"; then
        echo "ok   $what${detail:+ ($detail)}"
    else
        echo "FAIL $what${detail:+ ($detail)}"
        failures=$((failures + 1))
        # At the first failure only: later failures often follow from it.
        [[ -e $scratch/failed ]] || state >"$scratch/failed" 2>&1 || true
    fi
}

# The last line.
conclude() {
    local seconds=$((($(milliseconds) - begin) / 1000))
    if ((failures > 0)); then
        echo "${0##*/}: $failures failed, $seconds s"
        exit 1
    fi
    echo "${0##*/}: all ok, $seconds s"
}
