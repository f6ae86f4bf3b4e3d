#!/usr/bin/env bash
# Fetches the programs that the benchmark compares with, from package registries, into a cache
# outside the checkout; what is there already is left alone. One that cannot be had does not end
# the script: why is written beside the others, and the benchmark's page says it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/scalesocket/peers
mkdir -p "$cache"

PREDECESSOR=0.2.4  # crates.io
WEBSOCKETD=0.4.1   # Debian's, or the Go module of that version
SOCKETIFY=0.0.31   # PyPI; ships µWebSockets as a shared library

# peer NAME STAMP: runs the function NAME in a directory of its own, unless that was done for STAMP.
peer() {
    local name=$1 stamp=$2
    [[ -s $cache/$name/version && $(cat "$cache/$name/stamp" 2>/dev/null) == "$stamp" ]] && return
    echo "peers: $name ..." >&2
    rm -rf "${cache:?}/$name"
    mkdir -p "$cache/$name"
    # A shell of its own, because errexit is off in what `if` tests.
    if (cd "$cache/$name" && export here PREDECESSOR WEBSOCKETD SOCKETIFY &&
        bash -euo pipefail -c "$(declare -f "$name" fetch); $name") >"$cache/$name/log" 2>&1; then
        echo "$stamp" >"$cache/$name/stamp"
    else
        tail -n 1 "$cache/$name/log" >"$cache/$name/absent"
        echo "peers: $name cannot be had: $(cat "$cache/$name/absent") ($cache/$name/log)" >&2
    fi
}

# A Debian package's files, here; nothing is installed.
fetch() {
    apt-get download "$1" || { apt-get update --quiet && apt-get download "$1"; }
    dpkg-deb --extract "$1"_*.deb .
}

predecessor() {
    cargo install --quiet --locked --root . --target-dir build --version "=$PREDECESSOR" scalesocket
    rm -rf build
    ln -s bin/scalesocket run
    echo "scalesocket $PREDECESSOR (crates.io)" >version
}

websocketd() {
    if fetch websocketd; then
        ln -s usr/bin/websocketd run
        echo "websocketd $(dpkg-deb --field websocketd_*.deb Version) (Debian)" >version
    else
        GOBIN=$PWD go install "github.com/joewalnes/websocketd@v$WEBSOCKETD"
        ln -s websocketd run
        echo "websocketd $WEBSOCKETD (Go module)" >version
    fi
}

uwebsockets() {
    python3 -m venv venv
    venv/bin/pip install --quiet --no-deps "socketify==$SOCKETIFY"
    cp venv/lib/python3*/site-packages/socketify/libsocketify_linux_amd64.so .
    rm -rf venv
    local libraries=(libsocketify_linux_amd64.so)
    # It wants libuv, which not every machine has.
    if [[ $(ldd "${libraries[0]}") == *'libuv.so.1 => not found'* ]]; then
        fetch libuv1
        cp -L usr/lib/*/libuv.so.1 .
        libraries+=(libuv.so.1)
    fi
    cc -O2 -o run "$here/pubsub.c" -Wl,--no-as-needed "${libraries[@]}" -Wl,-rpath,"\$ORIGIN"
    echo "µWebSockets as in socketify $SOCKETIFY (PyPI)" >version
}

peer predecessor "$PREDECESSOR"
peer websocketd "$WEBSOCKETD"
peer uwebsockets "$SOCKETIFY $(cksum <"$here/pubsub.c")"
