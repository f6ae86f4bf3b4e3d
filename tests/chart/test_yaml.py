"""YAML as it is written, and as it is rendered: yamllint finds nothing to say."""

import pathlib

import pytest
import render
from yamllint import linter
from yamllint.config import YamlLintConfig

HERE = pathlib.Path(__file__).parent
RULES = """
extends: default
rules:
  braces: {max-spaces-inside: 0}
  comments: {min-spaces-from-content: 1}
  document-start: disable
  line-length: {max: 140}
"""
# Helm's own printing puts lists where it likes and breaks no lines.
RENDERED = """
extends: default
rules:
  comments-indentation: disable
  document-start: disable
  indentation: disable
  line-length: disable
"""
WRITTEN = sorted(
    path
    for place in (render.CHART, render.DEPLOY, HERE)
    for path in place.rglob("*.yaml")
    if "templates" not in path.parts and "snapshots" not in path.parts
)


def problems(text, rules):
    lines = text.splitlines()
    for problem in linter.run(text, YamlLintConfig(rules)):
        # What describes a value is one line by the rules of the generator.
        if not (problem.rule == "line-length" and lines[problem.line - 1].startswith("## @param ")):
            yield str(problem)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(render.ROOT)))
def test_written(path):
    assert not list(problems(path.read_text(), RULES))


@pytest.mark.parametrize("values", render.MATRIX, ids=lambda path: path.stem)
def test_rendered(values):
    assert not list(problems(render.helm(values), RENDERED))


def test_the_cluster_of_kind_leads_to_the_node_port():
    """kind has no offline schema; what other files rely on is compared with them."""
    (cluster,) = render.objects((render.DEPLOY / "kind/cluster.yaml").read_text())
    assert (cluster["kind"], cluster["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    (mapping,) = [m for node in cluster["nodes"] for m in node.get("extraPortMappings", [])]
    services = render.objects(render.kustomize(render.DEPLOY / "kind"))
    ports = [p.get("nodePort") for s in services if s["kind"] == "Service" for p in s["spec"]["ports"]]
    assert mapping["containerPort"] in ports
    assert mapping["listenAddress"] == "127.0.0.1"
