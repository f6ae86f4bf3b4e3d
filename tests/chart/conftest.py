"""What the checks of the chart share: the flag that writes snapshots anew, and the built server."""

import os
import shutil

import pytest


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
    """Where a program is; a missing one skips what needs it, and says so."""

    def find(name):
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not here: run .ci/charts on a Debian")
        return path

    return find
