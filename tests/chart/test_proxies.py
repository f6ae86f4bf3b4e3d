"""Real proxies by the configurations of deploy/: that they are valid, and what clients meet behind them.

Here nobody answers where rooms are, so that every proxy must lead to the door. That it leads straight to the
owner is for live_proxies.py, which tests/fleet runs with the pods of a fleet.
"""

import asyncio
import pathlib
import tempfile

import proxies
import pytest
import render
import websockets
import websockets.exceptions
from server import serving


@pytest.fixture
def place():
    """A directory with a short name, since those of sockets may have 107 bytes."""
    with tempfile.TemporaryDirectory() as directory:
        yield pathlib.Path(directory)


# The discard port.
NOBODY = "127.0.0.1:9"

each_proxy = pytest.mark.parametrize("proxy", proxies.PROXIES)


@each_proxy
def test_its_configuration_is_valid(proxy, tool, place):
    tool(proxy)
    proxies.check(proxy, place)


@each_proxy
def test_a_broken_configuration_would_be_seen(proxy, tool, place, monkeypatch):
    tool(proxy)
    broken = place / "deploy" / proxy
    broken.mkdir(parents=True)
    for file in (render.DEPLOY / proxy).iterdir():
        (broken / file.name).write_text(file.read_text() + "\nnonsense here\n")
    monkeypatch.setattr(render, "DEPLOY", place / "deploy")
    with pytest.raises(render.Refused):
        proxies.check(proxy, place)


@pytest.fixture
def behind(tool, place, binary):
    """Runs a coroutine with a server and a proxy before it."""

    def run(proxy, story, *flags):
        tool(proxy)
        with serving(binary, *flags, "cat") as server:
            with proxies.running(proxy, place, server.addresses["public"], NOBODY) as listener:
                return asyncio.run(story(server, listener))

    return run


def join(listener, path, **options):
    return websockets.unix_connect(str(listener), f"ws://rooms{path}", **options)


@each_proxy
def test_clients_of_a_room_meet(proxy, behind):
    async def story(_, listener):
        async with join(listener, "/lobby?x=1") as ann, join(listener, "/lobby") as bob:
            await ann.send("hello")
            assert await ann.recv() == await bob.recv() == "hello"
            await bob.send("x" * 500_000)
            assert len(await ann.recv()) == 500_000
        async with join(listener, "/lobby/with/more") as ann:
            await ann.send("deeper")
            assert await ann.recv() == "deeper"

    behind(proxy, story)


@each_proxy
def test_what_is_no_websocket_is_answered_by_the_door(proxy, behind):
    async def story(server, listener):
        status, body = await asyncio.to_thread(proxies.get, listener, "/health")
        assert (status, body) == (200, server.get("/health", "public"))
        assert (await asyncio.to_thread(proxies.get, listener, "/lobby"))[0] == 426

    behind(proxy, story)


@each_proxy
def test_refusals_and_close_codes_come_through(proxy, behind):
    async def story(_, listener):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await join(listener, "/~reserved")
        assert refused.value.response.status_code == 400
        async with join(listener, "/lobby") as ann:
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                # Small, so that it is all there when the answer comes: what is still on its way then makes proxies break off.
                await ann.send(b"x" * 600)
                await ann.recv()
            assert closed.value.rcvd.code == 1009

    behind(proxy, story, "--max-message=500")


@each_proxy
def test_a_client_cannot_say_where_it_is_led(proxy, behind):
    """To a port where nobody listens, it would not arrive."""
    elsewhere = {"Scalesocket-Endpoint": NOBODY}

    async def story(_, listener):
        async with join(listener, "/lobby", additional_headers=elsewhere) as ann:
            await ann.send("here")
            assert await ann.recv() == "here"
        status, _ = await asyncio.to_thread(proxies.get, listener, "/health", elsewhere)
        assert status == 200

    behind(proxy, story)
