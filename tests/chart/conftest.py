"""What the checks of the chart share: the flag that writes snapshots anew, the built server, a real API server."""

import os
import shutil

import apiserver
import fleet
import pytest
import render

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_addoption(parser):
    parser.addoption("--regenerate", action="store_true", help="write snapshots and tables anew")


@pytest.fixture(scope="session")
def regenerate(request):
    return request.config.getoption("--regenerate")


@pytest.fixture(scope="session")
def binary():
    """The scalesocket under test."""
    return os.environ["SCALESOCKET_BIN"]


@pytest.fixture(scope="session")
def tool():
    """Where a program is. By hand a missing one skips what needs it, and says so; in CI nothing is missing."""

    def find(name):
        path = shutil.which(name)
        if path is None:
            fail = pytest.fail if os.environ.get("CI") else pytest.skip
            fail(f"{name} is not here: .ci/run fetches it on a Debian")
        return path

    return find


@pytest.fixture(scope="session")
def cluster():
    """An API server with the namespaces that manifests are rendered for."""
    if "KUBEBUILDER_ASSETS" not in os.environ:
        pytest.skip("takes etcd and kube-apiserver: KUBEBUILDER_ASSETS")
    with apiserver.running(os.environ["KUBEBUILDER_ASSETS"]) as running:
        for namespace in (render.NAMESPACE, "scalesocket"):
            running.run("kubectl", "create", "namespace", namespace)
            running.run("kubectl", "label", "namespace", namespace, RESTRICTED)
        yield running


@pytest.fixture(scope="session")
def told(cluster, binary):
    """What a pod of a fleet of two says: its metrics, as text, and its stats."""
    return fleet.told(binary, cluster)
