"""A real API server for the checks: etcd and kube-apiserver as processes on loopback, gone with the block.

The binaries are those of KUBEBUILDER_ASSETS. No controller and no kubelet run: it judges and keeps objects, that is all.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import render

DEADLINE = 120
ADMIN = "a-token-of-the-checks"
PR_SET_PDEATHSIG = 1


def free_ports(count):
    """Ports that were free a moment ago; who starts on them must be ready to try again."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def die_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def process(log, *command):
    with log.open("w") as out:
        child = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            preexec_fn=die_with_us,
        )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def kubeconfig(path, port, token):
    path.write_text(
        f"""{{apiVersion: v1, kind: Config, current-context: it,
contexts: [{{name: it, context: {{cluster: it, user: it}}}}],
clusters: [{{name: it, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}],
users: [{{name: it, user: {{token: "{token}"}}}}]}}
"""
    )
    return path


class Cluster:
    """Speaks to the server by kubectl and helm, as its administrator or by a token."""

    def __init__(self, directory, port):
        self.directory, self.port = directory, port
        self.admin = kubeconfig(directory / "admin", port, ADMIN)

    def run(self, *command, as_token=None, **options):
        config = self.admin
        if as_token:
            config = kubeconfig(self.directory / "other", self.port, as_token)
        env = {**os.environ, "KUBECONFIG": str(config), "KUBECACHEDIR": str(self.directory / "cache")}
        return render.run(*command, env=env, **options)


@contextlib.contextmanager
def started(assets, directory):
    etcd, peers, port = free_ports(3)
    key = directory / "account.key"
    render.run("openssl", "genrsa", "-out", key, "2048")
    (directory / "tokens").write_text(f'{ADMIN},admin,1,"system:masters"\n')
    client, peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
    with (
        process(
            directory / "etcd.log", assets / "etcd", "--data-dir", directory / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        ) as store,
        process(
            directory / "api.log", assets / "kube-apiserver", "--etcd-servers", client,
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", port,
            "--cert-dir", directory / "certs", "--token-auth-file", directory / "tokens",
            "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/16",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", key, "--service-account-signing-key-file", key,
            # It would wait for a controller to make accounts.
            "--disable-admission-plugins", "ServiceAccount",
        ) as server,
    ):  # fmt: skip
        cluster = Cluster(directory, port)
        until = time.monotonic() + DEADLINE
        while True:
            try:
                cluster.run("kubectl", "get", "--raw", "/readyz")
                break
            except render.Refused as refusal:
                ended = [each for each in (store, server) if each.poll() is not None]
                if ended or time.monotonic() > until:
                    log = (directory / "api.log").read_text()[-2000:]
                    raise ConnectionError(f"{refusal}\n{log}") from refusal
                time.sleep(0.2)
        yield cluster


@contextlib.contextmanager
def running(assets):
    """Tries again on other ports if somebody took one."""
    for attempt in range(3):
        directory = pathlib.Path(tempfile.mkdtemp())
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            try:
                cluster = stack.enter_context(started(pathlib.Path(assets), directory))
            except ConnectionError:
                if attempt == 2:
                    raise
                continue
            yield cluster
            return
