"""The proxies of docs/deploy.md, by the files of that page, before a server here.

What differs from the page: where the proxy listens (an address of 127/8 of its own, so that no port can be
taken), where the server does, where certificates lie, and that nobody changes users.
"""

import contextlib
import os
import pathlib
import random
import socket
import ssl
import subprocess
import tempfile

import pages
import proxies
from server import serving

NAME = "rooms.example.com"
PROXIES = ["Caddy", "HAProxy", "HAProxy, passing on bytes", "nginx", "Traefik"]
FILES = {
    "nginx": "/etc/nginx/conf.d/rooms.conf",
    "Caddy": "/etc/caddy/Caddyfile",
    "HAProxy": "/etc/haproxy/haproxy.cfg",
    "HAProxy, passing on bytes": "/etc/haproxy/haproxy.cfg, of bytes",
    "Traefik": "/etc/traefik/rooms.yml",
}
# What Traefik is started with; it names the file above.
STATIC = "/etc/traefik/traefik.yml"
PROGRAMS = {title: title.partition(",")[0].lower() for title in PROXIES}
# Around the page's file, which Debian's nginx.conf includes in the same way.
NGINX = """pid {place}/pid;
error_log stderr warn;
events {{ worker_connections 768; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    include {place}/rooms.conf;
}}
"""
UNPRIVILEGED = {"    user haproxy\n": "", "    group haproxy\n": "", "    chroot /var/lib/haproxy\n": ""}


class Front:
    """Where people come in, and who they are."""

    def __init__(self, directory, base=""):
        self.place, self.base = pathlib.Path(directory), base
        one, two = random.sample(range(1, 250), 2)
        self.host, self.client = f"127.{os.getpid() % 200 + 20}.{one}.1", f"127.3.{two}.9"
        self.port, self.plain = free(self.host), free(self.host)
        self.certificate()

    def certificate(self):
        chain, key = self.place / "fullchain.pem", self.place / "privkey.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", key, "-out", chain, "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"],
            check=True, capture_output=True,
        )  # fmt: skip
        (self.place / "both.pem").write_text(chain.read_text() + key.read_text())
        self.tls = ssl.create_default_context(cafile=chain)

    def listens(self):
        """Whether the server answers through it: Traefik listens before it knows whom it serves, and by what name."""
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), proxies.DEADLINE) as plain:
            with self.tls.wrap_socket(plain, server_hostname=NAME) as client:
                client.sendall(f"GET {self.base}/ready HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
                return client.recv(12) == b"HTTP/1.1 200"
        return False


def free(host):
    with socket.socket() as taken:
        taken.bind((host, 0))
        return taken.getsockname()[1]


def configured(title, text, front, door):
    """Writes the proxy's files; gives its command."""
    place, at = front.place, f"{front.host}:{front.port}"
    if title == "nginx":
        changes = {
            "listen 80;": f"listen {front.host}:{front.plain};",
            "listen 443 ssl;": f"listen {at} ssl;",
            "/etc/ssl/rooms/": f"{place}/",
            "/run/scalesocket.sock": place / "door",
        }
        (place / "rooms.conf").write_text(pages.replaced(text, changes))
        (place / "nginx.conf").write_text(NGINX.format(place=place))
        return ["nginx", "-p", place, "-e", "stderr", "-c", place / "nginx.conf", "-g", "daemon off; master_process off;"]
    if title == "Caddy":
        site = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}}\nhttps://{NAME}:{front.port} {{"
        site += f"\n\tbind {front.host}\n\ttls {place}/fullchain.pem {place}/privkey.pem"
        text = pages.replaced(text, {f"{NAME} {{": site, "127.0.0.1:9000": door})
        (place / "Caddyfile").write_text(text)
        return ["caddy", "run", "--adapter", "caddyfile", "--config", place / "Caddyfile"]
    if title == "Traefik":
        changes = {
            'address: ":80"': f'address: "{front.host}:{front.plain}"',
            'address: ":443"': f'address: "{at}"',
            FILES[title]: place / "rooms.yml",
            "/var/lib/traefik/": f"{place}/",
            "graceTimeOut: 30s": "graceTimeOut: 1s",
        }
        alone = "global: {checkNewVersion: false}\n"
        (place / "traefik.yml").write_text(pages.replaced(pages.file(title, STATIC), changes) + alone)
        # No authority that gives certificates is reached from here.
        own = f"\ntls:\n  certificates:\n    - {{certFile: {place}/fullchain.pem, keyFile: {place}/privkey.pem}}\n"
        resolver = "tls:\n        certResolver: own\n"
        text = pages.replaced(text, {resolver: "tls: {}\n", "127.0.0.1:9000": door})
        (place / "rooms.yml").write_text(text + own)
        return ["traefik", f"--configFile={place}/traefik.yml"]
    changes = {**UNPRIVILEGED, "bind :443": f"bind {at}", "127.0.0.1:9000": door}
    if title == "HAProxy":
        changes |= {"bind :80": f"bind {front.host}:{front.plain}", "/etc/ssl/rooms/": f"{place}/"}
    (place / "haproxy.cfg").write_text(pages.replaced(text, changes))
    return ["haproxy", "-db", "-f", place / "haproxy.cfg"]


def trusting(title):
    """What the chapter gives the server; people are on this machine, too, and must not be believed."""
    settings = pages.settings(title)
    if title == "HAProxy, passing on bytes":
        assert settings["SCALESOCKET_PROXY_PROTOCOL"] == "true"
    trusted = settings["SCALESOCKET_TRUSTED_PROXY"].replace("loopback", "127.0.0.1")
    return settings | {"SCALESOCKET_TRUSTED_PROXY": trusted}


@contextlib.contextmanager
def running(title, binary, *words, change=()):
    """A server with these flags and program, and the proxy before it; gives the front."""
    # A short name, since those of sockets may have 107 bytes.
    with tempfile.TemporaryDirectory() as directory:
        bases = [word.partition("=")[2] for word in words if word.startswith("--base-path=")]
        front = Front(directory, *bases)
        text = pages.file(title, FILES[title])
        if change:
            text = pages.replaced(text, dict([change]))
        flags = [f"--addr=unix:{front.place}/door"] if title == "nginx" else []
        if title == "HAProxy, passing on bytes":
            flags += [f"--tls-cert={directory}/fullchain.pem", f"--tls-key={directory}/privkey.pem"]
        with serving(binary, *flags, *words, env=os.environ | trusting(title), admin=False) as server:
            command = configured(title, text, front, server.addresses["public"])
            home = {"HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory}
            with proxies.started(title, directory, command, front.listens, env=os.environ | home):
                yield front
