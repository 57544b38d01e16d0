#!/bin/sh
# Plays the tests that need a browser. Not for CI: Chromium is some hundreds of megabytes with what it brings along.
#
#   tests/chromium.sh                   Chromium (apt-get install chromium) and python3 with websockets are expected
set -eu
cd "$(dirname "$0")/.."
RONDE_REAL_CLIENTS=1 exec cargo test --test integration m_real_clients::chromium -- --ignored
