"""The values: what the schema refuses, what contradicts, what is warned about, what the README says."""

import copy
import json
import re
import shutil

import jsonschema
import pytest
import render
import yaml

SCHEMA = json.loads((render.CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((render.CHART / "values.yaml").read_text())
README = render.CHART / "README.md"


def objects_of(schema, path=()):
    yield path, schema
    for key, below in schema.get("properties", {}).items():
        yield from objects_of(below, (*path, key))


CLOSED = [path for path, schema in objects_of(SCHEMA) if "properties" in schema]


def at(values, path):
    for key in path:
        values = values[key]
    return values


@pytest.mark.parametrize("path", CLOSED, ids=".".join)
def test_unknown_keys_are_refused_everywhere(path):
    values = copy.deepcopy(VALUES)
    jsonschema.validate(values, SCHEMA)
    holder = at(values, path)
    holder["nonsense"] = 1
    with pytest.raises(jsonschema.ValidationError, match="nonsense"):
        jsonschema.validate(values, SCHEMA)


def test_helm_itself_refuses_them():
    with pytest.raises(render.Refused, match="not allowed"):
        render.helm(None, "--set", "server.drainTimout=5")


def test_the_schema_knows_every_value():
    def keys(values, path=()):
        for key, below in values.items():
            yield (*path, key)
            if isinstance(below, dict) and (*path, key) in CLOSED:
                yield from keys(below, (*path, key))

    described = {path for path, _ in objects_of(SCHEMA)}
    assert not [path for path in keys(VALUES) if path not in described]


@pytest.mark.parametrize("values", render.MATRIX, ids=lambda path: path.stem)
def test_helm_finds_nothing_to_say(values):
    render.run("helm", "lint", "--strict", render.CHART, "--values", values)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("autoscaling.hpa.enabled=true,autoscaling.keda.enabled=true", "enable one of them"),
        ("podMonitor.enabled=true,serviceMonitor.enabled=true", "enable one of them"),
        ("autoscaling.hpa.enabled=true,autoscaling.minReplicas=0", "does not scale to zero"),
        ("autoscaling.keda.enabled=true,autoscaling.minReplicas=0", "only a gateway knows"),
        ("autoscaling.keda.enabled=true,cluster.claims=off", "fleet's figures"),
        ("autoscaling.keda.enabled=true,autoscaling.keda.trigger=prometheus", "serverAddress"),
        ("autoscaling.keda.enabled=true,autoscaling.spareRooms=5", "roomsPerPod instead"),
        ("autoscaling.hpa.enabled=true,autoscaling.minReplicas=11", "above"),
        ("program.command=null", "set program.command"),
        ("program.mode=connect", "program.port"),
        ("gateway.enabled=true,cluster.claims=off", "a gateway only proxies"),
        ("gateway.enabled=true,cluster.route=reject", "a gateway only proxies"),
        ("cluster.peer.existingSecret=x,cluster.peer.secrets={0123456789abcdef}", "contradict"),
        ("cluster.peer.secrets={short}", "cluster/peer/secrets/0"),
        ("cluster.claims=fenced,cluster.fenceMargin=40", "more than half"),
        ("server.extraArgs={--drain-timeout=1h}", "value of its own"),
        ("server.extraArgs={--tls-cert=/x}", "value of its own"),
        ("server.extraArgs={--limit-memory=1GiB}", "value of its own"),
        ("gateway.extraArgs={--trusted-proxy=10.0.0.1}", "value of its own"),
        ("tls.clientCa.existingSecret=x", "set tls.existingSecret too"),
        ("auth.jwt.existingSecret=x,auth.jwt.existingConfigMap=y", "contradict each other"),
        ("auth.jwt.existingSecret=x,auth.url=http://auth/", "exclude each other"),
        ("auth.jwt.leeway=5", "does nothing without keys"),
        ("auth.copy={x-user}", "do nothing without auth.url"),
        ("auth.url=http://auth/", "add --same-origin"),
        ("console.write=true", "do nothing without console.enabled"),
        ("console.existingSecret=x", "do nothing without console.enabled"),
        ("server.extraArgs={--console}", "value of its own"),
        ("server.extraArgs={--admin-token-file=/x}", "value of its own"),
        ("auth.url=http://auth/,gateway.enabled=true,server.extraArgs={--same-origin}", "to gateway.extraArgs"),
        ("auth.jwt.existingSecret=x,auth.jwt.cookie=y", "to server.extraArgs"),
        ("program.mode=connect,program.port=1,program.limits.memory=1GiB", "program.resources"),
        ("server.basePath=games", "server/basePath"),
        ("program.spawnRate=20", "program/spawnRate"),
        ("server.drainTimeout=5m", "got string, want integer"),
        ("commonLabels.app\\.kubernetes\\.io/name=x", "invalid propertyName"),
    ],
)
def test_contradictions_are_refused_with_what_to_do(flags, words):
    with pytest.raises(render.Refused, match=re.escape(words)):
        render.helm(None, "--set", flags)


@pytest.mark.parametrize(
    ("flags", "warning"),
    [
        ("cluster.claims=off", "the same room may run on each of them"),
        ("cluster.enabled=false,autoscaling.hpa.enabled=true", "the same room may run on each of them"),
        ("autoscaling.keda.enabled=true,server.drainTimeout=5", "without time to drain"),
        ("autoscaling.hpa.enabled=true,cluster.placement=spread", "none becomes empty"),
        ("podMonitor.enabled=true", "networkPolicy.adminFrom"),
        ("networkPolicy.enabled=false,service.type=LoadBalancer", "can drain pods"),
        ("ingress.enabled=true", "Pages of any site may connect"),
        ("gateway.enabled=true,httpRoute.enabled=true,server.extraArgs={--same-origin}", "to gateway.extraArgs"),
        ("cluster.claims=fenced", "every room ends"),
        ("cluster.route=reject", "clients that do not follow"),
        ("cluster.enabled=false", "protects nothing"),
        ("rbac.create=false", "no pod becomes ready"),
        ("tls.existingSecret=x,ingress.enabled=true", "backend-protocol=HTTPS"),
        ("console.enabled=true,networkPolicy.enabled=false", "reads its token"),
        ("tls.existingSecret=x,httpRoute.enabled=true", "BackendTLSPolicy"),
    ],
)
def test_notes_warn(flags, warning):
    text = render.notes(None, "--set", flags)
    assert [line for line in text.splitlines() if line.startswith("WARNING: ") and warning in line]


def test_what_has_no_cookies_needs_no_pages():
    render.helm(None, "--set", "auth.url=http://auth/,auth.forward={authorization}")
    render.helm(None, "--set", "auth.jwt.existingConfigMap=keys")


def test_notes_lead_to_the_console():
    assert "console" not in render.notes(None)
    assert "in the pod's log" in render.notes(None, "--set", "console.enabled=true")
    text = render.notes(None, "--set", "console.enabled=true,console.existingSecret=operators")
    assert "in the Secret operators" in text and "http://127.0.0.1:9090/console" in text


def test_notes_lead_through_tls_and_below_the_base_path():
    text = render.notes(None, "--set", "tls.existingSecret=x,server.basePath=/games")
    assert "wss://demo-scalesocket.games.svc:80/games/<room>" in text
    assert "wss://127.0.0.1:9000/games/lobby" in text


def test_notes_of_the_default_warn_of_nothing_and_say_where_to_go():
    text = render.notes()
    assert "WARNING" not in text
    assert "ws://demo-scalesocket.games.svc:80/<room>" in text
    assert "helm test demo" in text


def test_the_readme_has_the_table_of_these_values(tmp_path, regenerate):
    made = tmp_path / "README.md"
    shutil.copy(README, made)
    render.run("readme-generator", "--values", render.CHART / "values.yaml", "--readme", made)
    if regenerate:
        shutil.copy(made, README)
    assert README.read_text() == made.read_text(), "stale: .ci/charts --regenerate"
