#!/bin/sh
# Runs the tests that need a browser. No part of `cargo test`: Chromium and its dependencies take several hundred megabytes.
#
#   tests/chromium.sh                   needs Chromium (apt-get install chromium) and python3 with websockets
set -eu
cd "$(dirname "$0")/.."
RONDE_REAL_CLIENTS=1 exec cargo test --test integration m_real_clients::chromium -- --ignored
