#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kube-controller-manager from the modules pinned in go.mod into a cache outside
# the checkout, and prints the directory that holds them as the last line of stdout. What is there already is not
# built again; with KUBEBUILDER_ASSETS set nothing is built at all.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
programs=(etcd kube-apiserver kube-controller-manager)

say() { printf 'control-plane: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    for program in "${programs[@]}"; do
        [[ -x $KUBEBUILDER_ASSETS/$program ]] || die "KUBEBUILDER_ASSETS has no $program: $KUBEBUILDER_ASSETS"
    done
    printf '%s\n' "$KUBEBUILDER_ASSETS"
    exit 0
fi

command -v go >/dev/null || die "Go is missing; install it or set KUBEBUILDER_ASSETS"
export GOTOOLCHAIN=local # the Go that is here, never one fetched for the occasion
export CGO_ENABLED=0     # no C compiler needed
cd -- "$here"

kubernetes=$(sed -n 's|^[[:space:]]*k8s.io/kubernetes ||p' go.mod)
[[ $kubernetes =~ ^v1\.([0-9]+)\.[0-9]+$ ]] || die "go.mod pins no release of k8s.io/kubernetes"
minor=${BASH_REMATCH[1]}

# The server reports this version, and its feature gates are those of this version: without it they are those of an
# unreleased build.
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$minor"
flags+=" -X $version.gitTreeState=clean"

# The key covers all that decides the binaries: the sources here, every pinned module, the flags, the compiler.
key=$kubernetes-$(
    {
        cat -- go.mod go.sum ./*/main.go
        printf '%s\n' "$flags"
        go env GOVERSION GOOS GOARCH
    } | sha256sum | cut -c1-12
)
assets=${XDG_CACHE_HOME:-$HOME/.cache}/scalesocket/control-plane/$key
mkdir -p -- "$assets"

# One build at a time: parallel test runs wait for the first one's binaries instead of building their own.
exec 9>"$assets/.lock"
if command -v flock >/dev/null; then flock 9; fi

missing=()
for program in "${programs[@]}"; do
    [[ -x $assets/$program ]] || missing+=("$program")
done

if ((${#missing[@]})); then
    say "building ${missing[*]} $kubernetes with $(go env GOVERSION); a cold build takes many minutes"
    began=$SECONDS
    fresh=$(mktemp -d -p "$assets")
    trap 'rm -rf -- "$fresh"' EXIT
    # One call, so that the packages all three share are compiled once and in parallel.
    go build -mod=readonly -trimpath -buildvcs=false -ldflags="$flags" -o "$fresh/" "${missing[@]/#/./}" >&2
    # A rename is whole or nothing: an interrupted build leaves no half a binary behind.
    for program in "${missing[@]}"; do mv -- "$fresh/$program" "$assets/$program"; done
    say "built in $((SECONDS - began)) s"
fi

printf '%s\n' "$assets"
