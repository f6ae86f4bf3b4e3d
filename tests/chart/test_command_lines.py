"""The command lines in rendered pods: flags that exist, words that the server takes, times that add up."""

import re

import pytest
import render
import yaml
from server import alone, serving

REFERENCE = (render.ROOT / "docs/cli.md").read_text()
FLAGS = set(re.findall(r"(?m)^### `(?:-\w, )?(--[a-z-]+)", REFERENCE))
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
# What Kubernetes gets beyond what the flags say: the server itself, and the kubelet.
MARGIN = 5


def default(flag):
    entry = re.search(rf"(?ms)^### `{flag} .*?^Default: `([^`]*)`", REFERENCE)
    return seconds(entry.group(1))


def seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)([a-z]*)", text).groups()
    return float(number) * SECONDS[unit or "s"]


def words_of(container):
    return [str(word) for word in container.get("args", [])]


def flags_of(container):
    """The server's own words, before the program's."""
    words = words_of(container)
    return words[: words.index("--")] if "--" in words else words


def servers(spec):
    for container in spec.get("initContainers", []) + spec["containers"]:
        if (container.get("command") or [""])[0].endswith("/scalesocket") and words_of(container)[0] not in ("install", "probe"):
            yield container


ALL = [
    pytest.param(container, spec, id=f"{name}-{pod}")
    for name, text in render.everything()
    for _, pod, spec in render.pod_specs(render.objects(text))
    for container in servers(spec)
]


def value(container, flag):
    given = [word.partition("=")[2] for word in flags_of(container) if word.partition("=")[0] == flag]
    assert len(given) <= 1, f"{flag} is given twice"
    return given[0] if given else None


def pre_stop(container):
    return container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)


@pytest.mark.parametrize(("container", "spec"), ALL)
def test_every_flag_exists(container, spec):
    assert {word.partition("=")[0] for word in flags_of(container)} <= FLAGS


@pytest.mark.parametrize(("container", "spec"), ALL)
def test_the_grace_period_is_the_sum_of_what_may_pass(container, spec):
    times = {flag: value(container, flag) for flag in ("--drain-timeout", "--stop-eof", "--stop-grace")}
    own = sum(default(flag) if given is None else seconds(given) for flag, given in times.items())
    if container in spec["containers"]:
        before = pre_stop(container)
    else:
        # A sidecar is told to stop when the others have: their pause and their own end come first.
        before = max(pre_stop(other) + MARGIN for other in spec["containers"])
        drain = times["--drain-timeout"]
        assert pre_stop(spec["containers"][0]) >= (default("--drain-timeout") if drain is None else seconds(drain))
    assert spec["terminationGracePeriodSeconds"] == before + own + MARGIN


def test_the_chart_has_the_servers_own_ladder():
    server = yaml.safe_load((render.CHART / "values.yaml").read_text())["server"]
    assert server["stopEof"] == default("--stop-eof")
    assert server["stopGrace"] == default("--stop-grace")
    assert server["drainTimeout"] > default("--drain-timeout")


@pytest.mark.parametrize(("container", "spec"), ALL)
def test_probes_and_ports_lead_to_where_it_listens(container, spec):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name, flag in (("http", "--addr"), ("admin", "--admin-addr"), ("peer", "--peer-addr")):
        if name in ports or value(container, flag):
            assert value(container, flag) == f"0.0.0.0:{ports[name]}"
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "admin"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "admin"}


# Flags that name files, which somebody must have mounted.
FILES = ("--tls-cert", "--tls-key", "--tls-client-ca", "--auth-jwt", "--peer-secret-file", "--admin-token-file")


@pytest.mark.parametrize(("container", "spec"), ALL)
def test_files_that_flags_name_are_mounted_for_reading(container, spec):
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for flag in FILES:
        if (path := value(container, flag)) is None:
            continue
        directory, _, name = path.rpartition("/")
        mounts = [mount for mount in container["volumeMounts"] if mount["mountPath"] == directory]
        assert len(mounts) == 1 and mounts[0]["readOnly"], flag
        volume = volumes[mounts[0]["name"]]
        if secret := volume.get("secret"):
            assert secret["defaultMode"] & ~0o444 == 0
            assert name in [item["path"] for item in secret.get("items", [{"path": name}])]
        else:
            assert flag == "--auth-jwt" and "configMap" in volume


@pytest.mark.parametrize(("container", "spec"), ALL)
def test_the_server_takes_these_words(container, spec, binary):
    """It starts by them: with our ports, a program that is here, and an API server that nobody is."""
    with alone() as (flags, env):
        ours = {flag.partition("=")[0]: flag for flag in flags}
        words = []
        for word in flags_of(container):
            flag = word.partition("=")[0]
            if flag not in ("--addr", "--admin-addr", "--log"):
                words.append(ours.get(flag, word))
        if "--" in words_of(container):
            words += ["--", "cat"]
        with serving(binary, *words, env=env) as server:
            # As the kubelet does.
            assert "ok" in server.get("/health", container["livenessProbe"]["httpGet"]["port"])
