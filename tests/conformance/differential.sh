#!/usr/bin/env bash
# The cases of tests/conformance with a second implementation on either side: Python's websockets,
# from PyPI into the cache of .ci/run. Its last line says how many were judged the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

PEER=websockets==17.4

cache=${XDG_CACHE_HOME:-$HOME/.cache}/scalesocket/conformance
if [[ $(cat "$cache/versions" 2>/dev/null) != "$PEER" ]]; then
    rm -rf "$cache"
    python3 -m venv "$cache"
    "$cache/bin/pip" install --quiet "$PEER"
    echo "$PEER" >"$cache/versions"
fi
export CONFORMANCE_PYTHON=$cache/bin/python

log=$(mktemp)
trap 'rm -f "$log"' EXIT
verdict=passed
cargo build --quiet --locked "$@" --example puppet
cargo test --quiet --locked "$@" --test conformance differential -- \
    --ignored --nocapture --test-threads=1 2>&1 | tee "$log" || verdict=FAILED
sums=$(grep -oP 'differential: \K.*' "$log" | paste -sd ';' || true)
printf 'conformance with %s %s: %s\n' "$PEER" "$verdict" "${sums//;/; }"
[[ $verdict == passed ]]
