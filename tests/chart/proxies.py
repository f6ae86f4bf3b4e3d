"""Real nginx, HAProxy and Envoy by the configurations of deploy/, on sockets of their own in front of servers here."""

import contextlib
import http.client
import pathlib
import socket
import subprocess
import time

import apiserver
import render

DEADLINE = 30
# The names that a configuration has for the Services, and where it listens.
DOOR, RESOLVER = "scalesocket:80", "scalesocket-admin:9090"
LISTEN = {
    "nginx": ("listen 8080;", "listen unix:{};"),
    "haproxy": ("bind :8080", "bind unix@{}"),
    "envoy": ("socket_address: {address: 0.0.0.0, port_value: 8080}", "pipe: {path: %s}"),
}
PROXIES = sorted(LISTEN)


def split(address):
    host, _, port = address.rpartition(":")
    return host, port


def configure(proxy, directory, door, resolver):
    """Writes the proxy's configuration for these addresses; returns the command and the socket."""
    source = render.DEPLOY / proxy
    listener = directory / "socket"
    for file in source.iterdir():
        if file.suffix in (".conf", ".cfg", ".lua") or file.name == "envoy.yaml":
            text = file.read_text().replace(" /tmp/", f" {directory}/")
            old, new = LISTEN[proxy]
            text = text.replace(old, new.replace("{}", str(listener)).replace("%s", str(listener)))
            text = text.replace(RESOLVER, resolver).replace(DOOR, door)
            for name, address in ((RESOLVER, resolver), (DOOR, door)):
                (host, port), (to, at) = split(name), split(address)
                text = text.replace(
                    f"{{address: {host}, port_value: {port}}}", f"{{address: {to}, port_value: {at}}}"
                )
            text = text.replace("/usr/local/etc/haproxy", str(directory))
            (directory / file.name).write_text(text)
    command = {
        "nginx": ["nginx", "-p", directory, "-e", "stderr", "-c", directory / "nginx.conf", "-g", "daemon off; master_process off;"],
        "haproxy": ["haproxy", "-db", "-f", directory / "haproxy.cfg"],
        "envoy": ["envoy", "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "-c", directory / "envoy.yaml"],
    }[proxy]  # fmt: skip
    return command, listener


CHECK = {"nginx": ["-t"], "haproxy": ["-c"], "envoy": ["--mode", "validate"]}


def check(proxy, directory):
    """The proxy's own word on its configuration, with names that resolve here."""
    command, _ = configure(proxy, directory, "127.0.0.1:80", "127.0.0.1:9090")
    render.run(*command, *CHECK[proxy])


@contextlib.contextmanager
def running(proxy, directory, door, resolver):
    """Runs the proxy for the block; gives the socket that it listens on."""
    command, listener = configure(proxy, pathlib.Path(directory), door, resolver)
    with started(proxy, directory, command, lambda: accepts(listener)):
        yield listener


@contextlib.contextmanager
def started(name, directory, command, listens, env=None):
    """Runs a proxy's command for the block, from when it listens; its log lies in the directory."""
    log = (pathlib.Path(directory) / "log").open("w+")
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
        preexec_fn=apiserver.die_with_us,
    )  # fmt: skip
    try:
        until = time.monotonic() + DEADLINE
        while not listens():
            log.seek(0)
            assert process.poll() is None, f"{name} ended: {log.read()}"
            assert time.monotonic() < until, f"{name} does not listen: {log.read()}"
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        finally:
            process.kill()
            log.close()


def accepts(listener):
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(listener))
        return True
    return False


def get(listener, path, headers=None):
    """Status and body of a plain request."""
    connection = http.client.HTTPConnection("rooms", timeout=DEADLINE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(DEADLINE)
    connection.sock.connect(str(listener))
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
