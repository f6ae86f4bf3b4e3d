"""Renders what a cluster would be given: the chart with each file of ci/, and each directory of deploy/.

As a program it writes them all into a directory, one file each, for a real API server to judge:
    python3 tests/chart/render.py DIR
"""

import base64
import functools
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/scalesocket"
DEPLOY = ROOT / "deploy"
MATRIX = sorted(CHART.glob("ci/*-values.yaml"))
# Directories that `kubectl apply -k` takes; components and files beside them are parts of these.
KUSTOMIZATIONS = sorted(path.parent for path in DEPLOY.glob("*/kustomization.yaml"))
RELEASE, NAMESPACE, KUBE_VERSION = "demo", "games", "1.35"
# What stands for the secret that each render makes anew.
CONSTANT = base64.b64encode(b"made at random, and constant here").decode()


class Refused(Exception):
    """The tool's own words."""


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode != 0:
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def helm(values=None, *flags, release=RELEASE):
    """The chart's manifests as text, with the random secret made constant."""
    files = ["--values", values] if values else []
    text = run(
        "helm", "template", release, CHART, "--namespace", NAMESPACE,
        "--kube-version", KUBE_VERSION, *files, *flags,
    )  # fmt: skip
    return re.sub(r"(?m)^(  secrets: )[A-Za-z0-9+/]{64}$", rf"\1{CONSTANT}", text)


def notes(values=None, *flags):
    files = ["--values", values] if values else []
    text = run(
        "helm", "install", RELEASE, CHART, "--namespace", NAMESPACE,
        "--dry-run=client", *files, *flags,
    )  # fmt: skip
    return text.partition("\nNOTES:\n")[2]


def kustomize(directory):
    return run("kubectl", "kustomize", directory)


def objects(text):
    return [each for each in yaml.safe_load_all(text) if each]


@functools.cache
def everything():
    """Name and text of all that can be rendered, once for all checks."""
    charts = [(f"chart-{path.name.removesuffix('-values.yaml')}", helm(path)) for path in MATRIX]
    directories = [(f"deploy-{path.name}", kustomize(path)) for path in KUSTOMIZATIONS]
    return (*charts, *directories)


def pod_specs(manifests):
    """Kind, name and pod spec of whatever makes pods."""
    for each in manifests:
        if each["kind"] == "Pod":
            yield each["kind"], each["metadata"]["name"], each["spec"]
        elif each["kind"] in ("Deployment", "StatefulSet"):
            yield each["kind"], each["metadata"]["name"], each["spec"]["template"]["spec"]


def main(directory):
    target = pathlib.Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in everything():
        (target / f"{name}.yaml").write_text(text)
        print(target / f"{name}.yaml")


if __name__ == "__main__":
    main(sys.argv[1])
