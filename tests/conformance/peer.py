"""The second implementation: Python's websockets, as a server that echoes, and as a client.

`peer.py serve` tells its port and echoes every message until its standard input ends.
`peer.py speak` reads cases as lines of JSON, plays each against the server that it names, first as
the very bytes and then in the library's own calls, and answers with a line of what it heard.
"""

import asyncio
import base64
import json
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode

LIMIT = 1 << 20
PATIENCE = 10
FENCE = bytes([0x81, 0x87, 1, 2, 3, 4]) + bytes(
    byte ^ key for byte, key in zip(b"the end", [1, 2, 3, 4, 1, 2, 3])
)


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass


async def serve_until_told():
    # Our offers want no context, and so do we: the same form for all messages.
    async with serve(echo, "127.0.0.1", 0, max_size=LIMIT, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


class Recorder(ClientConnection):
    """A connection that keeps every frame, as the library understood it."""

    def connection_made(self, transport):
        self.frames = asyncio.Queue()
        super().connection_made(transport)

    def process_event(self, event):
        super().process_event(event)
        names = {Opcode.TEXT: "text", Opcode.BINARY: "binary", Opcode.PONG: "pong"}
        data = bytes(getattr(event, "data", b""))
        match getattr(event, "opcode", None):
            case Opcode.CLOSE:
                code = int.from_bytes(data[:2], "big") if data else None
                self.frames.put_nowait(["close", code])
            case Opcode.PING | None:
                pass
            case opcode:
                name = names.get(opcode, "fragment")
                if name == "text":
                    data.decode()  # raises what makes the library fail
                self.frames.put_nowait([name, base64.b64encode(data).decode()])

    def connection_lost(self, error):
        super().connection_lost(error)
        self.frames.put_nowait(["end"])


def options(packed):
    offer = ClientPerMessageDeflateFactory(
        server_no_context_takeover=True, client_no_context_takeover=True
    )
    return {
        "create_connection": Recorder,
        "compression": None,
        "extensions": [offer] if packed else None,
        "max_size": None,
        "max_queue": None,
        "ping_interval": None,
        "close_timeout": PATIENCE,
    }


async def play(case):
    """The bytes of the case, and what the library makes of the answers."""
    heard = []
    async with connect(case["url"], **options(case["packed"])) as socket:

        async def hear(last=None):
            while True:
                frame = await asyncio.wait_for(socket.frames.get(), PATIENCE)
                if last is None or frame[0] != "pong":
                    heard.append(frame)
                    return
                if frame[1] == last:
                    heard.append(["last pong", last])
                    return

        def over():
            return heard and heard[-1][0] in ("close", "end")

        for step in case["steps"]:
            match step:
                case ["send", data, piece]:
                    data = base64.b64decode(data)
                    for at in range(0, len(data), max(piece, 1)):
                        socket.transport.write(data[at : at + piece])
                case ["hear last pong", last]:
                    await hear(last)
                case _:
                    await hear()
            if over():
                break
        if not over():
            if case["open"]:
                socket.transport.write(FENCE)
            await hear()
        if heard[-1][0] == "close":
            await hear()
    return heard


async def converse(case):
    """The same in the library's own calls; what is wrong with the answers."""
    if case["close"] is not None:
        async with connect(case["url"], **options(case["packed"])) as socket:
            await socket.close(case["close"], "as the case says")
            if socket.close_code != case["close"]:
                return f"closed with {socket.close_code}"
    if not case["open"] or not case["says"]:
        return None
    async with connect(case["url"], **options(case["packed"])) as socket:
        for kind, data in case["says"]:
            message = base64.b64decode(data)
            message = message.decode() if kind == "text" else message
            third = len(message) // 3
            for form in (message, [message[:third], message[third : 2 * third], message[2 * third :]]):
                await socket.send(form)
                heard = await asyncio.wait_for(socket.recv(), PATIENCE)
                if heard != message:
                    return f"{len(message)} said, {len(heard)} heard"
        await asyncio.wait_for(await socket.ping(b"are you there?"), PATIENCE)
    if socket.close_code != 1000:
        return f"closed with {socket.close_code}"
    return None


async def speak():
    for line in iter(sys.stdin.readline, ""):
        case = json.loads(line)
        heard, trouble = [], None
        try:
            heard = await play(case)
            trouble = await converse(case)
        except Exception as error:  # whatever it is, it is for the one who asked
            trouble = repr(error)
        print(json.dumps({"heard": heard, "trouble": trouble}), flush=True)


if __name__ == "__main__":
    asyncio.run(serve_until_told() if sys.argv[1] == "serve" else speak())
