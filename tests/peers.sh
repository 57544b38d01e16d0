#!/bin/sh
# Runs the integration tests against ronde, nginx and HAProxy and prints which of them passes which test.
# Not for CI: a test that a peer fails shows a difference, not a bug.
#
#   tests/peers.sh [test name ...]      needs nginx and HAProxy in /usr/sbin
set -u
cd "$(dirname "$0")/.." || exit 1
cargo build --tests --quiet || exit 1
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

for peer in ronde nginx haproxy; do
    RONDE_PEER=$peer RUST_BACKTRACE=0 cargo test --quiet --test integration -- \
        --format=pretty --show-output "$@" >"$results/$peer" 2>/dev/null
    # A test of a promise that only ronde makes prints so. The output is listed under the name of the test.
    awk '
        /^test .* \.\.\. / { state[$2] = $NF == "ok" ? "yes" : "NO" }
        /^---- .* stdout ----$/ { name = $2 }
        /^skipped: / { state[name] = "-" }
        END { for (name in state) print name, state[name] }
    ' "$results/$peer" | sort >"$results/$peer.table"
done

{
    echo "test ronde nginx haproxy"
    join "$results/ronde.table" "$results/nginx.table" | join - "$results/haproxy.table"
} | column -t
for peer in ronde nginx haproxy; do
    awk -v peer=$peer '
        { count[$2]++ }
        END { printf "%s: %d passed, %d failed, %d apply to ronde only\n", peer, count["yes"], count["NO"], count["-"] }
    ' "$results/$peer.table"
done
