#!/usr/bin/env bash
# The tests of the cage under a kernel of their own, whose cgroups (version 2) have controllers of
# memory and processes: for machines whose own have none. Needs root, and Debian's package
# user-mode-linux. The same file is the first process of that kernel.
set -euo pipefail

if [[ $$ -eq 1 ]]; then
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/run
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t tmpfs tmpfs /run
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ln -sf /proc/self/fd /dev/fd
    ln -sf /proc/self/fd/1 /dev/stdout
    ln -sf /proc/self/fd/2 /dev/stderr
    ip link set lo up
    echo "+memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
    # CAGE_TESTS and CAGE_SOURCE come from the command line of the kernel.
    cd "${CAGE_SOURCE:?}"
    # What they say is the answer: who reads the log below decides by it.
    "${CAGE_TESTS:?}" cage:: --test-threads 1 --color never 2>&1 || true
    echo o >/proc/sysrq-trigger
    sleep 10
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --locked --example puppet
tests=$(cargo test --locked --test contract --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
linux.uml mem=2G root=/dev/root rootfstype=hostfs rootflags=/ rw quiet con=null con0=fd:0,fd:1 \
    init="$PWD/tests/cgroups.sh" CAGE_SOURCE="$PWD" CAGE_TESTS="$(realpath "$tests")" </dev/null |
    tee "$log"
grep -q 'test result: ok' "$log"
if grep -q 'skipped:' "$log"; then
    echo "something was skipped where nothing should be" >&2
    exit 1
fi
