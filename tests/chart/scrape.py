"""Series for the queries to be tried on: scrapes of the real server, in which everything has happened once.

One server is alone; what takes other pods comes from a fleet on a real API server: see fleet.py.
"""

import asyncio
import contextlib
import json
import re

import websockets
from server import serving

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
    with contextlib.suppress(websockets.exceptions.InvalidStatus):
        await websockets.connect(f"{url}/unknown")
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


def series(binary, of_fleet):
    """Every series that a query may find: name, labels, value. `of_fleet` is what a pod's /metrics says."""
    found = {}
    for text in (scrape(binary), of_fleet):
        by_name = {}
        for each in samples(text):
            by_name.setdefault(each[0], []).append(each)
        found = {**by_name, **found}
    return [(name, {**labels, **TARGET}, value) for family in found.values() for name, labels, value in family]


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
