"""Series for the queries to be tried on: a scrape of the real server, in which everything has happened once.

What only a fleet exports comes from a scrape of one, named by SCALESOCKET_SCRAPE, or else from cluster.prom,
which declares it.
"""

import asyncio
import json
import os
import pathlib
import re

import websockets
from server import serving

HERE = pathlib.Path(__file__).parent
DECLARED = (HERE / "cluster.prom").read_text()
SAMPLE = re.compile(r"^([a-z_:]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
# What Prometheus and the chart's monitors add.
TARGET = {"namespace": "games", "fleet": "demo", "pod": "demo-0", "instance": "10.0.0.1:9090"}


async def live(server):
    """Rooms start and end, clients are refused, messages are dropped; one room stays."""
    url = f"ws://{server.addresses['public']}"
    for _ in range(2):
        async with websockets.connect(f"{url}/gone") as client:
            await client.send("this is no JSON")
            await client.send('{"over": 1}')
            await client.recv()
    try:
        await websockets.connect(f"{url}/unknown")
    except websockets.exceptions.InvalidStatus:
        pass
    else:
        raise AssertionError("a room that is not on the list was opened")
    async with websockets.connect(f"{url}/stays") as client:
        await client.send('{"hi": 1}')
        await client.recv()
        for _ in range(1000):
            text = await asyncio.to_thread(server.get, "/metrics")
            if re.search(r"^scalesocket_child_exits_total\{.*\} 2$", text, re.MULTILINE):
                return text
        raise AssertionError(f"two rooms had clients that left, but their programs have not ended:\n{text}")


def scrape(binary):
    with serving(binary, "--frame=json", "--rooms=gone,stays", "--restart=on-failure", "cat") as server:
        return asyncio.run(live(server))


def samples(text):
    for line in text.splitlines():
        if match := SAMPLE.match(line):
            name, labels, value = match.groups()
            yield name, dict(LABEL.findall(labels or "")), value


def series(binary):
    """Every series that a query may find: name, labels, value."""
    found = list(samples(scrape(binary)))
    if fleet := os.environ.get("SCALESOCKET_SCRAPE"):
        found += list(samples(pathlib.Path(fleet).read_text()))
    names = {name for name, _, _ in found}
    found += [each for each in samples(DECLARED) if each[0] not in names]
    return [(name, {**labels, **TARGET}, value) for name, labels, value in found]


def unit_test(found, expressions):
    """A promtool test that holds if each expression has at least one result over these series."""
    written = [
        {
            "series": name + "{" + ",".join(f"{k}={json.dumps(v)}" for k, v in labels.items()) + "}",
            "values": f"{value}+0x30",
        }
        for name, labels, value in found
        if value != "NaN"
    ]
    checks = [{"expr": f"absent({e})", "eval_time": "20m", "exp_samples": []} for e in expressions]
    return {
        "rule_files": [],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": written, "promql_expr_test": checks}],
    }
