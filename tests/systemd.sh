#!/usr/bin/env bash
# The units of deploy/systemd under a systemd that boots: start, a room as the user of its own and in its
# cgroup, reload, restart with a drain, programs as another user. Needs root and Debian's packages
# user-mode-linux and systemd. The same file is the first process of that kernel, whose root is ours
# and read-only, and what is tried there.
set -euo pipefail
inside=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Not to be called where a failure is asked for: then it would go on behind one.
tried() {
    says() { timeout 60 scalesocket connect --wait 6s ws://127.0.0.1:9000/lobby 2>&1 <<<"hello" | tee /dev/stderr; }
    has() { grep --quiet --fixed-strings --line-regexp -- "$1" <<<"$heard"; }
    drop_in=/etc/systemd/system/scalesocket.service.d
    set -x
    # The socket alone is there: the first client starts the service.
    [[ $(systemctl is-active scalesocket) == inactive ]]
    heard=$(says)
    has 'user scalesocket'
    has 'files 1024'
    has 'may write'
    has hello
    grep -E '^cgroup 0::/system.slice/scalesocket.service/room-' <<<"$heard"
    [[ $(systemctl show --property StatusText scalesocket) == *'ws://127.0.0.1:9000/lobby' ]]
    main=$(systemctl show --property MainPID scalesocket)
    systemctl reload scalesocket
    [[ $(systemctl show --property MainPID scalesocket) == "$main" ]]
    # A drain that is longer than systemd would wait by itself.
    sleep infinity | timeout 100 scalesocket connect ws://127.0.0.1:9000/stays >/run/keep/stays 2>&1 &
    until grep '^may write' /run/keep/stays; do sleep 0.1; done
    systemctl restart scalesocket
    until grep '1012 server draining' /run/keep/stays; do sleep 0.1; done
    [[ $(systemctl show --property MainPID scalesocket) != "$main" ]]
    heard=$(says)
    has hello
    cp /run/keep/users.conf "$drop_in"
    echo SCALESOCKET_USER=nobody >>/etc/default/scalesocket
    systemctl daemon-reload
    systemctl restart scalesocket
    heard=$(says)
    has 'user nobody'
    has 'may not write'
    has hello
    systemctl stop scalesocket.socket scalesocket
    [[ $(systemctl show --property Result scalesocket) == Result=success ]]
    if journalctl --unit scalesocket --output cat | grep -E ' (WARN|ERROR) '; then return 1; fi
    : the units hold
}

if [[ ${1:-} == try ]]; then
    export PATH=$inside
    trap 'set +x; journalctl --unit scalesocket --no-pager --output cat | tail -n 30; poweroff -f -f' EXIT
    tried
elif [[ $$ -eq 1 ]]; then
    export PATH=$inside
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ln -sf /proc/self/fd /dev/fd
    ip link set lo up
    # From the command line of the kernel. What is needed of the root is copied before parts of it are hidden.
    mkdir /run/keep
    cp "${UNIT_BINARY:?}" /run/keep/scalesocket
    cp -r "${UNIT_SOURCE:?}/deploy/systemd" /run/keep/units
    cp "$UNIT_SOURCE/tests/systemd.sh" /run/keep/
    awk '/^# .*users.conf$/ { on = 1 } /^[^[:alnum:]#[]+$/ { on = 0 } on' "$UNIT_SOURCE/docs/deploy.md" >/run/keep/users.conf
    for hidden in /usr/local/bin /etc/default /etc/systemd/system /var/lib /var/log /var/tmp /tmp; do
        mount -t tmpfs -o mode=755 tmpfs "$hidden"
    done
    chmod 1777 /tmp /var/tmp
    cp /run/keep/scalesocket /usr/local/bin/
    cp /run/keep/units/* /etc/systemd/system/
    cat >/run/keep/program <<'END'
#!/bin/sh
echo "cgroup $(cat /proc/self/cgroup)"
echo "user $(id --user --name)"
echo "files $(ulimit -n)"
if touch state 2>/dev/null; then echo may write; else echo may not write; fi
exec cat
END
    chmod 755 /run/keep/program
    cat >/etc/default/scalesocket <<'END'
COMMAND=/run/keep/program
SCALESOCKET_LIMIT_MEMORY=64MiB
SCALESOCKET_LIMIT_PROCESSES=20
SCALESOCKET_DRAIN_TIMEOUT=8s
END
    # Less than the drain takes: the server asks for more.
    mkdir /etc/systemd/system/scalesocket.service.d
    printf '[Service]\nTimeoutStopSec=2\n' >/etc/systemd/system/scalesocket.service.d/short.conf
    cat >/etc/systemd/system/trial.service <<'END'
[Unit]
After=scalesocket.socket
[Service]
Type=oneshot
TimeoutStartSec=150
ExecStart=/bin/bash /run/keep/systemd.sh try
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
END
    printf '[Unit]\nRequires=trial.service scalesocket.socket\n' >/etc/systemd/system/trial.target
    exec /lib/systemd/systemd --unit=trial.target --log-target=kmsg --show-status=0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --locked --bin scalesocket
binary=${CARGO_TARGET_DIR:-$PWD/target}/debug/scalesocket
log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout 300 linux.uml mem=1G root=/dev/root rootfstype=hostfs rootflags=/ ro quiet con=null con0=fd:0,fd:1 \
    init="$PWD/tests/systemd.sh" UNIT_SOURCE="$PWD" UNIT_BINARY="$binary" </dev/null | tee "$log"
grep -q '^+ : the units hold' "$log"
