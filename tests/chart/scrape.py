"""Series for the queries to be tried on: scrapes of the real server, in which everything has happened once.

What only a server in a fleet exports comes from one whose API server does not answer, and what takes other pods from
cluster.prom, which declares it. SCALESOCKET_SCRAPE may name a scrape of a pod of a real fleet.
"""

import asyncio
import contextlib
import functools
import json
import os
import pathlib
import re

import websockets
from server import DEADLINE, alone, serving

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


def scrape_of_fleet(binary):
    """A pod whose API server does not answer: it asks, and gets no session and no claims."""
    with alone() as (flags, env), serving(binary, "--kube", *flags, "cat", env=env) as server:
        return asyncio.run(asked(server))


async def asked(server):
    with contextlib.suppress(websockets.exceptions.InvalidStatus, TimeoutError):
        async with asyncio.timeout(DEADLINE):
            await websockets.connect(f"ws://{server.addresses['public']}/lobby")
            raise AssertionError("a room was opened without a claim")
    for _ in range(1000):
        text = await asyncio.to_thread(server.get, "/metrics")
        if "scalesocket_api_requests_total{" in text:
            return text
    raise AssertionError(f"it has asked for nothing:\n{text}")


def samples(text):
    for line in text.splitlines():
        if match := SAMPLE.match(line):
            name, labels, value = match.groups()
            yield name, dict(LABEL.findall(labels or "")), value


@functools.cache
def exported(binary):
    """What the server really exports: alone, in a fleet, and in the fleet whose scrape is given."""
    texts = [scrape(binary), scrape_of_fleet(binary)]
    if given := os.environ.get("SCALESOCKET_SCRAPE"):
        texts.append(pathlib.Path(given).read_text())
    found = {}
    for text in texts:
        by_name = {}
        for each in samples(text):
            by_name.setdefault(each[0], []).append(each)
        found = {**by_name, **found}
    return [each for family in found.values() for each in family]


def series(binary):
    """Every series that a query may find: name, labels, value."""
    found = [*exported(binary), *samples(DECLARED)]
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
