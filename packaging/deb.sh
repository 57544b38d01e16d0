#!/usr/bin/env bash
# Builds the Debian package of ronde, and prints its path. Needs cargo-deb and dpkg-dev:
#
#   apt install dpkg-dev && cargo install --locked cargo-deb     # once; cargo-deb takes three to four minutes
#   packaging/deb.sh                                             # a release build, and some seconds
#
# Man pages and completions are no files of the source: the program prints them.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-deb >/dev/null || { echo "deb.sh: cargo-deb is missing: cargo install --locked cargo-deb" >&2; exit 1; }
cargo build --release --locked --quiet
ronde=target/release/ronde
made=target/packaging
mkdir -p "$made"
"$ronde" --man ronde >"$made/ronde.1"
"$ronde" --man ronde.toml >"$made/ronde.toml.5"
"$ronde" --completions bash >"$made/ronde.bash"
"$ronde" --completions zsh >"$made/_ronde"
"$ronde" --completions fish >"$made/ronde.fish"
cargo-deb deb --no-build --quiet "$@"
