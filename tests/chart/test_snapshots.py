"""What each combination of values and each directory of deploy/ renders to, word for word."""

import difflib
import pathlib

import pytest
import render

SNAPSHOTS = pathlib.Path(__file__).parent / "snapshots"
RENDERED = dict(render.everything())


@pytest.mark.parametrize("name", RENDERED)
def test_it_renders_what_it_did(name, regenerate):
    path = SNAPSHOTS / f"{name}.yaml"
    if regenerate:
        SNAPSHOTS.mkdir(exist_ok=True)
        path.write_text(RENDERED[name])
    before = path.read_text() if path.exists() else ""
    diff = "\n".join(difflib.unified_diff(before.splitlines(), RENDERED[name].splitlines(), lineterm=""))
    assert before == RENDERED[name], f"{diff}\nif that is meant: .ci/charts --regenerate"


def test_no_snapshot_is_left_behind(regenerate):
    stale = {path.stem for path in SNAPSHOTS.glob("*.yaml")} - set(RENDERED)
    if regenerate:
        for name in stale:
            (SNAPSHOTS / f"{name}.yaml").unlink()
        stale = set()
    assert not stale
