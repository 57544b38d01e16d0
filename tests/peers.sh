#!/bin/sh
# Plays the integration tests against ronde, nginx and HAProxy and prints who passes what.
# Not for CI: a peer that fails is a difference to know, not a fault to mend.
#
#   tests/peers.sh [test name ...]      NGINX and HAProxy are expected in /usr/sbin
set -u
cd "$(dirname "$0")/.." || exit 1
cargo build --tests --quiet || exit 1
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

for peer in ronde nginx haproxy; do
    RONDE_PEER=$peer RUST_BACKTRACE=0 cargo test --quiet --test integration -- \
        --format=pretty --show-output "$@" >"$results/$peer" 2>/dev/null
    # A test that is about ronde alone says so on its output, which stands under its name.
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
        END { printf "%s: %d pass, %d do not, %d are about ronde alone\n", peer, count["yes"], count["NO"], count["-"] }
    ' "$results/$peer.table"
done
