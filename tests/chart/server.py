"""A scalesocket of the tests' own, on ports that the system picks."""

import contextlib
import json
import os
import pathlib
import signal
import ssl
import subprocess
import tempfile
import threading
import urllib.request

DEADLINE = 30


class Server:
    """What runs: its addresses by listener, and what it logged."""

    def __init__(self, binary, args, env, wanted):
        self.wanted = wanted
        self.addresses = {}
        self.log = []
        self.listening = threading.Event()
        self.process = subprocess.Popen(
            [binary, *args], env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.log.append(line)
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("message") == "listening":
                    # The first of several.
                    self.addresses.setdefault(entry["listener"], entry["addr"])
                    if self.wanted <= set(self.addresses):
                        self.listening.set()
        self.listening.set()

    def get(self, path, listener="admin", scheme="http", **headers):
        request = urllib.request.Request(f"{scheme}://{self.addresses[listener]}{path}", headers=headers)
        # Like the kubelet, it believes every certificate.
        context = ssl._create_unverified_context() if scheme == "https" else None
        with urllib.request.urlopen(request, timeout=DEADLINE, context=context) as answer:
            return answer.read().decode()


@contextlib.contextmanager
def serving(binary, *args, env=None, admin=True):
    """Serves with `args`, which must leave --addr and --admin-addr to us; ends with the block.

    Without an admin listener its endpoints are at the public one.
    """
    ours = ["--addr=127.0.0.1:0", "--log=json"] + ["--admin-addr=127.0.0.1:0"] * admin
    wanted = {"public", "admin"} if admin else {"public"}
    server = Server(binary, [*ours, *args], env, wanted)
    try:
        assert server.listening.wait(DEADLINE), "it neither listened nor ended"
        assert wanted <= set(server.addresses), "".join(server.log)
        yield server
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGINT)
        try:
            server.process.wait(DEADLINE)
        finally:
            server.process.kill()
            server.reader.join()


# The discard port: nobody listens there.
KUBECONFIG = """{apiVersion: v1, kind: Config, current-context: nobody,
contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}],
clusters: [{name: nobody, cluster: {server: "http://127.0.0.1:9"}}],
users: [{name: nobody, user: {}}]}
"""


def identified(directory, kubeconfig, identity):
    """Flags and environment of a pod in a fleet."""
    directory.mkdir(exist_ok=True)
    (directory / "secrets").write_text("a secret of the tests\n")
    (directory / "kubeconfig").write_text(kubeconfig)
    return (
        ["--peer-addr=127.0.0.1:0", f"--peer-secret-file={directory / 'secrets'}"],
        {**os.environ, **identity, "KUBECONFIG": str(directory / "kubeconfig")},
    )


@contextlib.contextmanager
def alone():
    """Of one whose API server does not answer."""
    identity = {"POD_NAME": "pod", "POD_NAMESPACE": "games", "POD_UID": "0-0-0", "POD_IP": "127.0.0.1"}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        flags, env = identified(directory, KUBECONFIG, identity)
        yield flags + secrets(directory), env


def secrets(directory):
    """What Secrets would hold: a certificate, which is its own authority, and what tokens are signed with."""
    key, chain, tokens = directory / "tls.key", directory / "tls.crt", directory / "tokens"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    tokens.write_text("a secret that signs the tokens of the tests\n")
    (directory / "console").write_text("the token of the tests' console\n".replace(" ", "-"))
    console = f"--admin-token-file={directory / 'console'}"
    return [console, f"--tls-cert={chain}", f"--tls-key={key}", f"--tls-client-ca={chain}", f"--auth-jwt={tokens}"]
