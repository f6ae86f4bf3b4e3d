"""The proxies of docs/deploy.md, as the page has them: what people meet who come by them."""

import asyncio
import contextlib
import http.client
import json
import pathlib
import re
import socket
import sys

import behind
import pages
import proxies
import pytest
import render
import websockets
import websockets.exceptions
import yaml

PROGRAM = ["--frame=json", "--", sys.executable, str(pathlib.Path(__file__).with_name("rooms.py"))]
# Those that write headers.
SPEAKERS = [title for title in behind.PROXIES if title != "HAProxy, passing on bytes"]
# --ping and --ping-timeout by default.
SILENCE = 25 + 20


@pytest.fixture
def front(tool, binary):
    """The context of a server behind the proxy of that chapter."""

    def run(title, *flags, change=()):
        tool(behind.PROGRAMS[title])
        return behind.running(title, binary, *flags, *PROGRAM, change=change)

    return run


def join(front, path="/lobby", **options):
    return websockets.connect(
        f"wss://{behind.NAME}:{front.port}{path}", host=front.host, port=front.port, ssl=front.tls,
        local_addr=(front.client, 0), open_timeout=proxies.DEADLINE, **options,
    )  # fmt: skip


async def says(client, **message):
    await client.send(json.dumps(message))


async def hears(client):
    return json.loads(await asyncio.wait_for(client.recv(), proxies.DEADLINE))


async def closed(client):
    """Code and reason."""
    with pytest.raises(websockets.exceptions.ConnectionClosed) as end:
        await hears(client)
    return end.value.rcvd.code, end.value.rcvd.reason


@contextlib.contextmanager
def answered(front, path, port=None, **headers):
    """The answer to a plain request, for as long as it is looked at."""
    if port is None:
        connection = http.client.HTTPSConnection(behind.NAME, front.port, timeout=proxies.DEADLINE, context=front.tls)
    else:
        connection = http.client.HTTPConnection(behind.NAME, port, timeout=proxies.DEADLINE)
    # By its address; the name is for Host and for TLS.
    connection._create_connection = lambda at, *rest: socket.create_connection((front.host, at[1]), *rest)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        yield connection.getresponse()


@pytest.mark.parametrize("title", behind.PROXIES)
def test_a_room_is_as_if_nothing_were_between(title, front):
    async def story(at):
        own = f"https://{behind.NAME}:{at.port}"
        # Nothing that a client makes up is believed.
        lies = [("Forwarded", "for=192.0.2.1;proto=http"), ("X-Forwarded-For", "192.0.2.2"),
                ("X-Forwarded-Port", "1"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "evil.example")]  # fmt: skip
        async with join(at, origin=own, additional_headers=lies) as ann:
            await says(ann, who=1)
            room = await hears(ann)
            assert (room["REMOTE_ADDR"], room["SERVER_NAME"]) == (at.client, behind.NAME)
            assert (room["HTTPS"], room["SERVER_PORT"]) == ("on", str(at.port))
            await says(ann, text="x" * 65536)
            assert (await hears(ann))["text"] == "x" * 65536
            async with join(at, origin=own) as bob:
                await says(bob, close="not today")
                assert await closed(bob) == (4000, "not today")
            await says(ann, end=1)
            code, _ = await closed(ann)
            assert code == 1000
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await join(at, origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403
        # A long token.
        async with join(at, additional_headers={"Authorization": "Bearer " + "x" * 24_000}) as ann:
            await says(ann, text="in")
            assert (await hears(ann))["text"] == "in"

    with front(title, "--same-origin") as at:
        asyncio.run(story(at))


@pytest.mark.parametrize("title", SPEAKERS)
def test_plain_requests_and_events_pass_as_they_come(title, front):
    with front(title, "--api", f"--host={behind.NAME}") as at:
        for path, status in [("/ready", 200), ("/lobby", 426)]:
            with answered(at, path) as answer:
                assert answer.status == status
        with answered(at, "/api/events", Accept="text/event-stream") as events:
            assert events.status == 200

            async def opened():
                async with join(at):
                    # What is told comes while the stream goes on.
                    return await asyncio.to_thread(events.readline)

            assert asyncio.run(opened()) == b"event: started\n"


@pytest.mark.parametrize("title", ["nginx", "HAProxy", "Traefik"])
def test_plain_http_is_sent_to_https(title, front):
    with front(title) as at:
        with answered(at, "/lobby?x=1", port=at.plain) as answer:
            assert answer.status in (301, 308)
            assert re.fullmatch(rf"https://{behind.NAME}(:\d+)?/lobby\?x=1", answer.headers["Location"])


@pytest.mark.parametrize("title", SPEAKERS)
def test_below_a_path(title, front):
    (base,) = pages.settings("Below a path").values()
    change = tuple(pages.table("Below a path")[title])

    async def story(at):
        async with join(at, f"{base}/lobby") as ann:
            await says(ann, who=1)
            room = await hears(ann)
            assert (room["SCRIPT_NAME"].startswith(base), room["ROOM"]) == (True, "lobby")
        with pytest.raises(websockets.exceptions.InvalidHandshake):
            await join(at, "/lobby")

    with front(title, f"--base-path={base}", change=change) as at:
        asyncio.run(story(at))


@pytest.mark.parametrize("title", behind.PROXIES)
def test_silence_is_awaited_longer_than_pings(title):
    text = pages.file(title, behind.FILES[title])
    if title == "Traefik":
        text = pages.file(title, behind.STATIC)
        # Of requests that follow another, not of websockets.
        text = text.replace("idleTimeout", "").replace("graceTimeOut", "").replace("respondingTimeouts", "")
    if title in ("Caddy", "Traefik"):
        assert "timeout" not in text.lower()
        return
    of_websockets = {
        "nginx": r"proxy_(?:read|send)_timeout (\d+)s;",
        "HAProxy": r"timeout tunnel (\d+)s",
        "HAProxy, passing on bytes": r"timeout (?:client|server) (\d+)s",
    }
    found = re.findall(of_websockets[title], text)
    assert found and all(int(seconds) > SILENCE for seconds in found)


def test_the_files_of_traefik_agree_with_each_other_and_with_the_unit():
    static = yaml.safe_load(pages.file("Traefik", "/etc/traefik/traefik.yml"))
    rooms = yaml.safe_load(pages.file("Traefik", static["providers"]["file"]["filename"]))["http"]
    assert static["providers"]["file"]["filename"] == "/etc/traefik/rooms.yml"
    for router in rooms["routers"].values():
        assert set(router["entryPoints"]) <= set(static["entryPoints"])
        assert set(router["middlewares"]) <= set(rooms["middlewares"])
        assert router["service"] in rooms["services"]
        assert router["tls"]["certResolver"] in static["certificatesResolvers"]
    redirection = static["entryPoints"]["web"]["http"]["redirections"]["entryPoint"]
    assert redirection["to"] in static["entryPoints"]
    (server,) = rooms["services"]["rooms"]["loadBalancer"]["servers"]
    listens = (render.DEPLOY / "systemd/scalesocket.socket").read_text()
    assert f"ListenStream={server['url'].removeprefix('http://')}\n" in listens
    # What the table puts below a path is in the file.
    old, new = pages.table("Below a path")["Traefik"]
    assert old in pages.file("Traefik", "/etc/traefik/rooms.yml")
    assert new.startswith(old)
