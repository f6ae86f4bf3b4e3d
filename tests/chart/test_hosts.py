"""The names by which others ask for metrics, stats and rooms: a server answers only to names that are its own."""

import re
import urllib.error

import pytest
import render
from server import serving

# What stands in configurations, and what pages tell to ask.
PAGES = [*render.DEPLOY.rglob("*.*"), render.ROOT / "docs/kubernetes.md", render.CHART / "README.md"]
TEXTS = [text for _, text in render.everything()] + [path.read_text() for path in PAGES if path.is_file()]
ASKED = re.compile(r"https?://([a-z0-9.-]*scalesocket[a-z0-9.-]*):(?:9090|80|443)\b")
HOSTS = sorted({host for text in TEXTS for host in ASKED.findall(text)})
# Prometheus and KEDA ask pods by address; `kubectl port-forward` is asked at this machine.
ADDRESSES = ["10.1.2.3:9090", "[fd00::17]:9090", "127.0.0.1:9090", "localhost:9090"]
PATHS = ["/metrics", "/stats", "/api/rooms/"]


def status(server, path, host, listener="admin"):
    try:
        server.get(path, listener, Host=host)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def test_there_are_names_of_each_kind():
    assert any(host.endswith(".svc") for host in HOSTS) and any("." not in host for host in HOSTS), HOSTS


def test_whoever_asks_by_these_names_is_answered(binary):
    with serving(binary, "--stats", "--metrics", "--api", "cat") as server:
        for host in [*HOSTS, *ADDRESSES]:
            assert [status(server, path, host) for path in PATHS] == [200] * 3, host
        # A name that anybody could own, also one that begins like a Service.
        for stranger in ("rebound.example", "scalesocket-admin.games"):
            assert [status(server, path, stranger) for path in PATHS] == [421] * 3, stranger
            # Balancers ask by whatever name an Ingress has.
            assert status(server, "/health", stranger, "public") == 200, stranger


@pytest.mark.parametrize("name", ["play.example.com", "admin.example.com"])
def test_a_name_of_ones_own_is_a_value(binary, name):
    flags = [
        word
        for _, pod, spec in render.pod_specs(render.objects(dict(render.everything())["chart-door"]))
        if pod == "demo-scalesocket"
        for word in spec["containers"][0]["args"]
        if word.startswith("--host=")
    ]
    with serving(binary, *flags, "--stats", "--metrics", "--api", "cat") as server:
        assert [status(server, path, f"{name}:9090") for path in PATHS] == [200] * 3
