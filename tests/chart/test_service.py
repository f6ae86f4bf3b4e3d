"""The units of deploy/systemd and what docs/deploy.md puts beside them; the files for containers.

systemd itself runs nowhere here: its tools judge the units, and its socket activation starts the command
that the unit has.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tempfile
import time

import apiserver
import behind
import pages
import proxies
import pytest
import render
import websockets
import yaml
from server import serving

UNITS = render.DEPLOY / "systemd"
SERVICE = "scalesocket.service"
BINARY = "/usr/local/bin/scalesocket"
# systemd's own scale, on which 10 is a service without any of it.
EXPOSURE = 25  # tenths
DROP_INS = [("As a service", "users.conf"), ("HAProxy, passing on bytes", "tls.conf")]


@pytest.fixture
def place():
    """A directory with a short name, since those of sockets may have 107 bytes."""
    with tempfile.TemporaryDirectory() as directory:
        yield pathlib.Path(directory)


@pytest.fixture
def units(place, binary):
    """Copies of the units whose binary is there."""
    for unit in UNITS.iterdir():
        (place / unit.name).write_text(unit.read_text().replace(BINARY, binary))
    return place


def verify(units):
    files = [units / unit.name for unit in UNITS.iterdir()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False
    )
    # What is told of units is told on stderr, at times with a status of 0. Other units are not ours.
    told = [line for line in done.stderr.splitlines() if "scalesocket" in line or str(units) in line]
    return done.returncode, told


def test_the_units_are_valid(units, tool):
    tool("systemd-analyze")
    assert verify(units) == (0, [])
    for title, name in DROP_INS:
        directory = units / f"{SERVICE}.d"
        directory.mkdir(exist_ok=True)
        (directory / name).write_text(pages.file(title, f"/etc/systemd/system/{SERVICE}.d/{name}"))
        assert verify(units) == (0, []), name


def test_a_broken_unit_would_be_seen(units, tool):
    tool("systemd-analyze")
    with (units / SERVICE).open("a") as unit:
        unit.write("[Service]\nNoSuchSetting=yes\n")
    assert verify(units)[1]


def test_the_service_may_do_little(units, tool):
    tool("systemd-analyze")
    render.run(
        "systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", units / SERVICE
    )


def of_unit(key):
    """The values of a setting of the service."""
    lines = (UNITS / SERVICE).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def test_the_sockets_of_the_unit_are_handed_over_and_serve_what_the_page_says(binary, tool, place):
    activate = tool("systemd-socket-activate")
    environment = dict(pair.split("=", 1) for pair in of_unit("Environment"))
    (file,) = of_unit("EnvironmentFile")
    lines = pages.file("As a service", file.lstrip("-")).splitlines()[1:]
    environment |= dict(line.split("=", 1) for line in lines)
    # Ours: the program of the page is nobody's, and its port may be taken.
    program = pathlib.Path(__file__).with_name("rooms.py")
    environment["COMMAND"] = f"{sys.executable} {program}"
    environment["SCALESOCKET_ADMIN_ADDR"] = "127.0.0.1:0"
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(place / "notify"))
    notify.settimeout(proxies.DEADLINE)
    environment["NOTIFY_SOCKET"] = str(place / "notify")
    (command,) = of_unit("ExecStart")
    # As systemd does it: a word that is a variable becomes its words.
    words = [
        part for word in shlex.split(command)
        for part in (environment[word[1:]].split() if word.startswith("$") else [word.replace(BINARY, binary)])
    ]  # fmt: skip
    port = behind.free("127.0.0.1")
    listens = (UNITS / "scalesocket.socket").read_text()
    assert listens.count("\nListenStream=") == 2
    settings = [f"--setenv={name}={value}" for name, value in environment.items()]
    settings.append(f"--setenv=PATH={os.environ['PATH']}")
    command = [activate, f"--listen=127.0.0.1:{port}", f"--listen={place}/door", *settings, *words]

    async def story():
        origin = f"http://127.0.0.1:{port}"
        async with (
            websockets.connect(f"ws://127.0.0.1:{port}/lobby", origin=origin) as ann,
            websockets.unix_connect(str(place / "door"), f"ws://127.0.0.1:{port}/lobby") as bob,
        ):
            for client in (ann, bob):
                await client.send('{"who":1}')
                assert json.loads(await client.recv())["ROOM"] == "lobby"

    with running(command, place / "log"):
        until(lambda: proxies.accepts(place / "door"))
        asyncio.run(story())
        assert notify.recv(4096).startswith(b"READY=1\nSTATUS=Serving ")
    assert b"STOPPING=1" in notify.recv(4096)
    notify.close()


@contextlib.contextmanager
def running(command, log):
    """Runs it for the block, then ends it as a service is ended; it must end well."""
    with log.open("w+") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=apiserver.die_with_us
        )
        try:
            yield process
            process.terminate()
            status = process.wait(proxies.DEADLINE)
            out.seek(0)
            assert status == 0, out.read()
        finally:
            process.kill()
            process.wait()


def until(holds):
    deadline = time.monotonic() + proxies.DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listens(host, port):
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def dockerfile():
    """The words of its instructions that are lists, and of the others."""
    text = pages.file("In containers", "Dockerfile").replace("\\\n", " ")
    found = {}
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(" ")
        start = rest.find("[")
        found[name] = json.loads(rest[start:]) if start >= 0 else rest.split()
    return found


def test_the_image_of_a_program_is_linted(tool):
    tool("hadolint")
    render.run("hadolint", "-", input=pages.file("In containers", "Dockerfile"))


def test_the_image_serves_the_program_of_the_quickstart_and_asks_it(binary, place):
    words = dockerfile()
    ours = (render.ROOT / "Dockerfile").read_text()
    assert f"COPY --from=build /out/scalesocket {BINARY}\n" in ours
    assert f"COPY --from=scalesocket {BINARY} " in pages.PAGE
    version = render.run(binary, "--version").split()[1]
    assert f"FROM scalesocket:{version} AS" in pages.PAGE
    quickstart = (render.ROOT / "docs/quickstart.md").read_text()
    (place / "count.py").write_text(quickstart.partition("\n```python\n")[2].partition("\n```")[0])
    _, address, *rest = [word.replace("/srv/", f"{place}/") for word in words["ENTRYPOINT"]]
    assert address == f"--addr=0.0.0.0:{words['EXPOSE'][0]}"
    # An address of its own, whose port nobody takes meanwhile.
    host = f"127.{os.getpid() % 200 + 20}.7.1"
    port = behind.free(host)

    async def story():
        async with websockets.connect(f"ws://{host}:{port}/lobby") as ann:
            await ann.send("hello")
            assert await ann.recv() == "1: hello"

    with running([binary, f"--addr={host}:{port}", *rest], place / "log") as process:
        until(lambda: listens(host, port))
        asyncio.run(story())
        probe = [binary if word == "scalesocket" else word for word in words["HEALTHCHECK"]]
        probe[probe.index("--pid") + 1] = str(process.pid)
        render.run(*probe)


def test_the_compose_file_is_valid_and_the_server_knows_its_settings(binary, tool, place):
    text = pages.file("In containers", "compose.yaml")
    (place / "compose.yaml").write_text(text)
    render.run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", place / "compose.yaml")
    rooms = yaml.safe_load(text)["services"]["rooms"]
    environment = rooms["environment"]
    with serving(binary, "cat", env=os.environ | environment):
        pass
    # The drain; --stop-eof twice, --stop-grace.
    ends = seconds(environment["SCALESOCKET_DRAIN_TIMEOUT"]) + 2 * 2 + 5
    assert seconds(rooms["stop_grace_period"]) > ends


def seconds(text):
    assert text.endswith("s")
    return int(text[:-1])
